"""The temporal transport objective says what the paper says."""

from functools import partial

from keypoint_perception.learning.objectives.temporal_transport import (
    TemporalTransport,
    transport,
)
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.learning.reconstruction import motion_weight
from keypoint_perception.model.heatmaps import gaussian_maps, variance
import pytest
from shifted_views import shifted_errors, shifted_view
import torch


@pytest.fixture
def objective(make_objective):
    return partial(make_objective, TemporalTransport, still_weight=1.0)


def frames_from_each_other(terms, batch):
    """Return the second frames from the first ones and the first from the second, (3, 3, H, W)."""
    sigma = terms.config.sigma * 6
    covered0, covered1 = (
        1 - (1 - gaussian_maps(points, 8, 12, sigma)).prod(dim=1, keepdim=True)
        for points in (batch.points[:3], batch.points[3:])
    )
    features0, features1 = terms.features(batch.image0), terms.features(batch.image1)
    forth = (1 - covered0.detach()) * (1 - covered1) * features0.detach() + covered1 * features1
    back = (1 - covered1.detach()) * (1 - covered0) * features1.detach() + covered0 * features0
    return terms.refine(forth), terms.refine(back)


@pytest.mark.parametrize('both_ways', [True, False])
def test_the_terms_are_those_of_the_equations(make_objective, triple, check_terms, both_ways):
    settings = {'still_weight': 0.4, 'sigma': 0.3, 'both_ways': both_ways}
    terms = make_objective(TemporalTransport, change=3.0, **settings)

    def equations(batch):
        weight = motion_weight(batch.image0, batch.image1, 0.4)
        goals = (batch.image1, batch.image0)
        answers = zip(frames_from_each_other(terms, batch), goals, strict=True)
        pixels = [(weight * (a - g) ** 2).mean(dim=(1, 2, 3)) / 3.0 for a, g in answers]
        pixel = (pixels[0] + pixels[1]) / 2 if both_ways else pixels[0]
        spread = variance(batch.maps, batch.points).mean(dim=1) / 36
        spread = (spread[:3] + spread[3:]) / 2 if both_ways else spread[3:]
        return {'pixel': pixel, 'spread': (1 - 2 * pixel.detach()) * spread}

    check_terms(terms, triple, equations)
    assert terms.one_way == (not both_ways)


def seen_by_a_moved_camera(terms, batch):
    """Return the same of frames whose camera moved."""
    sigma = terms.config.sigma * 6
    covered = 1 - (1 - gaussian_maps(batch.points, 8, 12, sigma)).prod(dim=1, keepdim=True)
    covered, features = covered.chunk(2), terms.features(batch.images).chunk(2)
    answers = []
    for target, source, sign in ((1, 0, 1), (0, 1, -1)):
        hidden = shifted_view(covered[source].detach(), sign)
        left = (1 - hidden) * (1 - covered[target])
        brought = shifted_view(features[source].detach(), sign)
        answers.append(terms.refine(left * brought + covered[target] * features[target]))
    return answers


@pytest.mark.parametrize('both_ways', [True, False])
def test_with_a_moved_camera_the_terms_are_those_in_the_view_of_the_target(
    make_objective, shifted_triple, check_terms, both_ways
):
    settings = {'still_weight': 0.4, 'sigma': 0.3, 'both_ways': both_ways}
    terms = make_objective(TemporalTransport, change=3.0, **settings)

    def equations(batch):
        errors = shifted_errors(batch, seen_by_a_moved_camera(terms, batch), 0.4)
        pixel = errors[: 2 if both_ways else 1].mean(dim=0) / 3.0
        spread = variance(batch.maps, batch.points).mean(dim=1) / 36
        spread = (spread[:3] + spread[3:]) / 2 if both_ways else spread[3:]
        return {'pixel': pixel, 'spread': (1 - 2 * pixel.detach()) * spread}

    check_terms(terms, shifted_triple, equations)
    expected = seen_by_a_moved_camera(terms, shifted_triple)[0]
    torch.testing.assert_close(terms.reconstruct(shifted_triple), expected, rtol=0, atol=1e-3)


def test_what_is_shown_is_the_second_frame_made_of_the_first(make_objective, triple):
    terms = make_objective(TemporalTransport)
    torch.testing.assert_close(terms.reconstruct(triple), frames_from_each_other(terms, triple)[0])


def test_a_perfect_reconstruction_has_no_error(network, objective, images, fixed_output):
    image = images(1)
    terms = objective()
    terms.refine = fixed_output(image)
    found = terms(PairBatch(network, image, image))
    torch.testing.assert_close(found['pixel'], torch.zeros(2))


def test_the_error_is_in_units_of_the_recordings_change(network, objective, fixed_output):
    # the refinement answers 0 and both images are 0.6 throughout: 0.36 / 0.09
    image = torch.full((2, 3, 64, 96), 0.6)
    terms = objective(change=0.09)
    terms.refine = fixed_output(torch.zeros_like(image))
    torch.testing.assert_close(
        terms(PairBatch(network, image, image))['pixel'], torch.full((2,), 4.0)
    )


def test_the_target_is_rebuilt_and_not_the_source(network, objective, images, fixed_output):
    source, target = images(1), images(2)
    terms = objective(both_ways=False)
    terms.refine = fixed_output(target)
    torch.testing.assert_close(terms(PairBatch(network, source, target))['pixel'], torch.zeros(2))
    assert (terms(PairBatch(network, target, source))['pixel'] > 0.1).all()


def test_both_ways_reconstruct_each_from_the_other(network, objective, fixed_output):
    # the answer is always image0: right for the way back, wrong by 0.5 for the way forth
    image0 = torch.zeros(2, 3, 64, 96)
    terms = objective(both_ways=True)
    terms.refine = fixed_output(image0)
    found = terms(PairBatch(network, image0, image0 + 0.5))['pixel']
    torch.testing.assert_close(found, torch.full((2,), 0.25 / 2))


def test_the_weight_multiplies_the_error(network, objective, fixed_output):
    image0 = torch.zeros(1, 3, 64, 96)
    terms = objective(still_weight=0.25)
    terms.refine = fixed_output(image0 + 0.6)
    # both frames are the same, so everything stands still: 0.25 * 0.36
    torch.testing.assert_close(
        terms(PairBatch(network, image0, image0))['pixel'], torch.tensor([0.09])
    )


def test_transport_by_hand():
    # source features 2, target features 5; cells: neither, source only, target only, both
    source = torch.tensor([[[[0.0, 1.0, 0.0, 1.0]]]])
    target = torch.tensor([[[[0.0, 0.0, 1.0, 1.0]]]])
    moved = transport(source, target, torch.full((1, 1, 1, 4), 2.0), torch.full((1, 1, 1, 4), 5.0))
    torch.testing.assert_close(moved, torch.tensor([[[[2.0, 0.0, 5.0, 5.0]]]]))
    # half way: (1 - 0.5)(1 - 0.5) * 2 + 0.5 * 5
    half = torch.full((1, 1, 1, 1), 0.5)
    moved = transport(half, half, torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 5.0))
    torch.testing.assert_close(moved.item(), 3.0)


def test_nothing_flows_back_into_the_source(objective):
    terms = objective()
    source = torch.rand(1, 1, 8, 12, requires_grad=True)
    target = torch.rand(1, 1, 8, 12, requires_grad=True)
    features_s = torch.rand(1, 8, 8, 12, requires_grad=True)
    features_t = torch.rand(1, 8, 8, 12, requires_grad=True)
    terms.render(source, target, features_s, features_t).square().sum().backward()
    assert source.grad is None and features_s.grad is None
    assert target.grad.abs().sum() > 0 and features_t.grad.abs().sum() > 0


def test_keypoint_net_feature_net_and_refinement_all_learn(network, objective, images):
    terms = objective()
    found = terms(PairBatch(network, images(1), images(2)))
    assert found['pixel'].shape == found['spread'].shape == (2,)
    found['pixel'].sum().backward()
    for part in (network, terms.features, terms.refine):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_one_way_gives_the_source_no_gradient_at_all(network, objective, images):
    terms = objective(both_ways=False)
    source = images(1).requires_grad_()
    terms(PairBatch(network, source, images(2)))['pixel'].sum().backward()
    assert source.grad is None or not source.grad.any()


def test_columns_are_not_rows(network, objective, images):
    """A bump drawn at (x, y) must be seen at column x, row y of a map that is not square."""
    seen = {}
    terms = objective(both_ways=False)

    def remember(source, target, features_s, features_t):
        seen['target'] = target
        return torch.zeros(2, 3, 64, 96)

    terms.render = remember
    network.points = lambda logits: torch.tensor([[10.0, 2.0]]).expand(len(logits), 3, 2)
    terms(PairBatch(network, images(1), images(2)))
    assert seen['target'].shape == (2, 1, 8, 12)
    assert int(seen['target'][0, 0].argmax()) == 2 * 12 + 10


def test_sigma_is_in_half_image_sides(network, objective, images):
    # half the longer side of a 8 x 12 map is 6 cells: sigma 0.5 is 3 cells
    seen = {}
    terms = objective(both_ways=False, sigma=0.5)

    def remember(source, target, features_s, features_t):
        seen['target'] = target
        return torch.zeros(2, 3, 64, 96)

    terms.render = remember
    network.points = lambda logits: torch.tensor([[4.0, 4.0]]).expand(len(logits), 1, 2)
    terms(PairBatch(network, images(1), images(2)))
    torch.testing.assert_close(seen['target'][0, 0, 4, 7], torch.tensor(-1.0).exp())


def test_spread_weighs_in_as_far_as_transport_explains(network, objective, images, fixed_output):
    image = images(1)
    terms = objective(change=1.0)
    terms.refine = fixed_output(torch.full_like(image, 9.0))  # far worse than the source
    assert (terms(PairBatch(network, image, image))['spread'] == 0).all()
    # 0.25 / 0.5: an error of one half is had without keypoints
    terms.refine, terms.change = fixed_output(image + 0.5), 0.5
    assert (terms(PairBatch(network, image, image))['spread'] < 1e-6).all()
    terms.refine, terms.change = fixed_output(image), 1.0
    spread = terms(PairBatch(network, image, image))['spread']
    # flat maps of 8 x 12 cells: variances (64 - 1) / 12 + (144 - 1) / 12, half a side is 6
    network.logits = lambda image: torch.zeros(len(image), 3, 8, 12)
    flat = terms(PairBatch(network, image, image))['spread']
    torch.testing.assert_close(flat, torch.full((2,), (63 / 12 + 143 / 12) / 36))
    assert (spread <= flat + 1e-3).all()
    # 0.25 / 1: half way between one half and nothing
    terms.refine = fixed_output(image + 0.5)
    torch.testing.assert_close(terms(PairBatch(network, image, image))['spread'], flat / 2)
