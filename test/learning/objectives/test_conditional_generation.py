"""Conditional generation: the appearance of one frame, the keypoints of the other."""

from functools import partial

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.objectives.conditional_generation import (
    ConditionalGeneration,
    ConditionalGenerationConfig,
)
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.learning.reconstruction import motion_weight
from keypoint_perception.model.heatmaps import gaussian_maps, variance
import pytest
import torch


@pytest.fixture
def objective(make_objective):
    return partial(make_objective, ConditionalGeneration, still_weight=1.0)


@pytest.mark.parametrize('both_ways', [True, False])
def test_the_terms_are_those_of_the_equations(make_objective, triple, check_terms, both_ways):
    settings = {'still_weight': 0.4, 'sigma': 0.3, 'both_ways': both_ways}
    terms = make_objective(ConditionalGeneration, change=4.0, **settings)

    def generate(image, points):
        bumps = gaussian_maps(points, 8, 12, 0.3 * 6)
        return terms.decode(torch.cat([terms.features(image), bumps], dim=1))

    def equations(batch):
        points0, points1 = batch.points.chunk(2)
        answers = [generate(batch.image0, points1), generate(batch.image1, points0)][
            : 1 + both_ways
        ]
        goals = [batch.image1, batch.image0][: 1 + both_ways]
        weight = motion_weight(batch.image0, batch.image1, 0.4)
        pairs = list(zip(answers, goals, strict=True))
        pixel = sum((weight * (a - g) ** 2).mean(dim=(1, 2, 3)) / 4.0 for a, g in pairs)
        layers = terms.compare.eval()(
            torch.cat(answers), batch.images, weight.repeat(len(pairs), 1, 1, 1)
        )
        perceptual = layers.view(-1, 3).mean(dim=0)
        pixel = pixel / len(pairs)
        spread = (variance(batch.maps, batch.points).mean(dim=1) / 36).view(2, 3)
        spread = spread.mean(dim=0) if both_ways else spread[1]
        gate = 1 - 2 * pixel.detach()
        return {'pixel': pixel, 'perceptual': perceptual, 'spread': gate * spread}

    check_terms(terms, triple, equations)
    assert terms.one_way == (not both_ways)
    expected = generate(triple.image0, triple.points[3:])
    torch.testing.assert_close(terms.reconstruct(triple), expected)


def test_a_perfect_picture_has_no_error(network, objective, images, fixed_output):
    image0, image1 = images(1), images(2)
    terms = objective()
    terms.decode = fixed_output(torch.cat([image1, image0]))
    found = terms(PairBatch(network, image0, image1))
    for name in ('pixel', 'perceptual'):
        torch.testing.assert_close(found[name], torch.zeros(2))
    assert (found['spread'] > 0).all()


def test_the_source_as_the_answer_has_an_error_of_one(network, objective, fixed_output):
    # both pairs differ by 0.6: in pixels 0.36 / 0.36, and in every layer as much as it changes
    image0 = torch.zeros(2, 3, 64, 96)
    terms = objective(change=0.36)
    terms.decode = fixed_output(torch.cat([image0, image0 + 0.6]))
    found = terms(PairBatch(network, image0, image0 + 0.6))
    torch.testing.assert_close(found['pixel'], torch.ones(2))
    torch.testing.assert_close(found['perceptual'], torch.ones(2))
    assert found['spread'].tolist() == [0.0, 0.0]


def test_pixels_alone_have_no_layers(network, objective, images):
    terms = objective(compare='pixels')
    found = terms(PairBatch(network, images(1), images(2)))
    assert found['perceptual'].tolist() == [0.0, 0.0]
    assert (found['pixel'] > 0).all()


def test_both_ways_reconstruct_each_from_the_other(network, objective, fixed_output):
    # the answer is always 0: right for the way back, wrong by 0.5 and 0.1 for the way forth
    image0 = torch.zeros(2, 3, 64, 96)
    image1 = image0 + torch.tensor([0.5, 0.1])[:, None, None, None]
    terms = objective(change=0.5)
    terms.decode = fixed_output(torch.zeros(4, 3, 64, 96))
    found = terms(PairBatch(network, image0, image1))['pixel']
    torch.testing.assert_close(found, torch.tensor([0.25 / 2 / 0.5, 0.01 / 2 / 0.5]))


def test_one_way_reconstructs_the_second_frame(network, objective, images, fixed_output):
    image0, image1 = images(1), images(2)
    terms = objective(both_ways=False)
    terms.decode = fixed_output(image1)
    found = terms(PairBatch(network, image0, image1))
    torch.testing.assert_close(found['pixel'], torch.zeros(2))
    torch.testing.assert_close(found['perceptual'], torch.zeros(2))
    assert (terms(PairBatch(network, image1, image0))['pixel'] > 0.1).all()


def test_appearance_is_of_one_frame_and_keypoints_are_of_the_other(network, objective, images):
    terms = objective()
    given = {}
    terms.decode.register_forward_hook(
        lambda module, inputs, output: given.update(maps=inputs[0], answer=output)
    )
    image0, image1 = images(1), images(2)
    batch = PairBatch(network, image0, image1)
    terms(batch)
    features, bumps = given['maps'].split([8, 3], dim=1)
    torch.testing.assert_close(features, terms.features(torch.cat([image0, image1])))
    expected = gaussian_maps(batch.points, 8, 12, 0.6)
    torch.testing.assert_close(bumps, torch.cat([expected[2:], expected[:2]]))
    assert given['answer'].shape == (4, 3, 64, 96)


def test_everything_learns_and_nothing_is_held_back(network, objective, images):
    terms = objective()
    found = terms(PairBatch(network, images(1), images(2)))
    assert all(value.shape == (2,) for value in found.values())
    for name in ('pixel', 'perceptual'):
        for part in (network, terms):
            part.zero_grad()
        found[name].sum().backward(retain_graph=True)
        for part in (network, terms.features, terms.decode):
            for parameter_name, parameter in part.named_parameters():
                assert parameter.grad is not None and parameter.grad.any(), (name, parameter_name)


def test_one_way_gives_the_sources_keypoints_no_gradient(network, objective, images):
    terms = objective(both_ways=False, compare='pixels')
    batch = PairBatch(network, images(1), images(2))
    points = torch.rand(4, 3, 2) * 8
    batch.points = points.requires_grad_()
    terms(batch)['pixel'].sum().backward()
    assert not points.grad[:2].any()
    assert (points.grad[2:].abs().sum(dim=-1) > 0).all()


def test_columns_are_not_rows(network, objective, images):
    """A bump for a keypoint at (x, y) is drawn at column x, row y of a map that is not square."""
    terms = objective(both_ways=False)
    seen = {}

    def remember(images, bumps):
        seen['bumps'] = bumps
        return torch.zeros(2, 3, 64, 96)

    terms.render = remember
    network.points = lambda logits: torch.tensor([[10.0, 2.0]]).expand(len(logits), 3, 2)
    terms(PairBatch(network, images(1), images(2)))
    assert seen['bumps'].shape == (2, 3, 8, 12)
    assert int(seen['bumps'][0, 0].argmax()) == 2 * 12 + 10
    # sigma is 0.1 of half the longer side: 0.6 cells
    torch.testing.assert_close(
        seen['bumps'][0, 0, 2, 11], torch.tensor(-1 / 0.36).exp(), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'compare': 'resnet'}, "compare: must be one of pixels, random, vgg16, got 'resnet'"),
        ({'compare': 'vgg16'}, "compare: got 'vgg16' with vgg16: ''; compare: vgg16 requires"),
        (
            {'vgg16': 'a.safetensors'},
            "compare: got 'random' with vgg16: 'a.safetensors'",
        ),
        ({'sigma': 2.0}, r'sigma: must be a number above 0 and at most 1, got 2\.0'),
    ],
)
def test_settings_must_make_sense(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        ConditionalGenerationConfig(**settings)


def test_weights_of_vgg16_must_be_there(objective, tmp_path):
    path = tmp_path / 'vgg16.pth'
    with pytest.raises(ConfigError, match=r"vgg16\.pth' is a pickle"):
        objective(compare='vgg16', vgg16=str(path))
