"""Spatio-temporal transport: features move with the keypoints, and only the source is shown."""

from functools import partial

from keypoint_perception.learning.objectives.spatio_temporal_transport import (
    shifted,
    SpatioTemporalTransport,
    transport,
)
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.learning.reconstruction import motion_weight
from keypoint_perception.model.heatmaps import gaussian_maps, variance
import pytest
from shifted_views import shifted_errors, shifted_points, shifted_view
import torch
from torch.nn import functional

SIGMA = 1.6


@pytest.fixture
def objective(make_objective):
    return partial(make_objective, SpatioTemporalTransport, still_weight=1.0)


def features(batch=1, seed=0):
    """Return a map of 8 rows and 12 columns, (B, 4, 8, 12)."""
    return torch.rand(batch, 4, 8, 12, generator=torch.Generator().manual_seed(seed))


def point(*xy):
    return torch.tensor([xy]).view(1, -1, 2).float()


def slowly(features, source, target, sigma):
    """Return the same as the paper writes it: whole maps, shifted one keypoint at a time."""
    height, width = features.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    cells = torch.stack([x, y], dim=-1).float()
    moved = list(torch.zeros_like(features))
    for i in range(len(features)):
        for k in range(source.shape[1]):
            bump = torch.exp(-(cells - target[i, k]).square().sum(-1) / sigma**2)
            read = cells - (target[i, k] - source[i, k])
            # align_corners=True on purpose: another way to the same positions
            grid = 2 * read / torch.tensor([width - 1, height - 1]) - 1
            shift = functional.grid_sample(
                features[i : i + 1], grid[None], padding_mode='border', align_corners=True
            )
            moved[i] = moved[i] + bump * shift[0]
    return torch.stack(moved)


def frames_from_each_other(terms, batch):
    """Return the second frames from the first ones and the first from the second, (3, 3, H, W)."""
    sigma = terms.config.sigma * 6
    answers = []
    points, images = batch.points.chunk(2), (batch.image0, batch.image1)
    for source, target, image in ((*points, images[0]), (*points[::-1], images[1])):
        features, source = terms.features(image), source.detach()
        bumps = gaussian_maps(target, 8, 12, sigma)
        left = (1 - gaussian_maps(source, 8, 12, sigma)).prod(dim=1, keepdim=True)
        left = left * (1 - bumps).prod(dim=1, keepdim=True)
        brought = slowly(features, source, target, sigma)
        answers.append(terms.refine(left * features + brought / bumps.sum(1, True).clamp(min=1)))
    return answers


@pytest.mark.parametrize('both_ways', [True, False])
def test_the_terms_are_those_of_the_equations(make_objective, triple, check_terms, both_ways):
    settings = {'still_weight': 0.4, 'sigma': 0.3, 'both_ways': both_ways}
    terms = make_objective(SpatioTemporalTransport, change=3.0, **settings)

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
    """Return the same of frames whose camera moved: features and keypoints follow its view."""
    sigma = terms.config.sigma * 6
    points, images = batch.points.chunk(2), (batch.image0, batch.image1)
    answers = []
    for target, source, sign in ((1, 0, 1), (0, 1, -1)):
        features = shifted_view(terms.features(images[source]), sign)
        start = shifted_points(points[source].detach(), sign)
        bumps = gaussian_maps(points[target], 8, 12, sigma)
        left = (1 - gaussian_maps(start, 8, 12, sigma)).prod(dim=1, keepdim=True)
        left = left * (1 - bumps).prod(dim=1, keepdim=True)
        brought = slowly(features, start, points[target], sigma)
        answers.append(terms.refine(left * features + brought / bumps.sum(1, True).clamp(min=1)))
    return answers


@pytest.mark.parametrize('both_ways', [True, False])
def test_with_a_moved_camera_the_terms_are_those_in_the_view_of_the_target(
    make_objective, shifted_triple, check_terms, both_ways
):
    settings = {'still_weight': 0.4, 'sigma': 0.3, 'both_ways': both_ways}
    terms = make_objective(SpatioTemporalTransport, change=3.0, **settings)

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
    terms = make_objective(SpatioTemporalTransport, sigma=0.3)
    expected = frames_from_each_other(terms, triple)[0]
    torch.testing.assert_close(terms.reconstruct(triple), expected, rtol=0, atol=1e-3)


def test_a_narrow_bump_between_cells_is_read_on_both_sides():
    # 0.3 cells wide: its four cells are half a cell away along each axis
    for place in ((4.5, 3.5), (5.5, 2.5)):
        source, target = point(2.0, 4.0), point(*place)
        expected = slowly(features(), source, target, 0.3)
        assert expected.amax() > 0.001
        found = shifted(features(), source, target, 0.3)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_keypoints_that_stay_leave_the_features_where_they_are():
    where = point(3.3, 2.7)
    bump = gaussian_maps(where, 8, 12, SIGMA)
    found = shifted(features(), where, where, SIGMA)
    torch.testing.assert_close(found, bump * features(), atol=2e-4, rtol=0)


def test_a_whole_cell_is_moved_as_it_is():
    # two columns to the right and one row up: cell (7, 3) shows what cell (5, 4) had
    found = shifted(features(), point(5.0, 4.0), point(7.0, 3.0), SIGMA)
    torch.testing.assert_close(found[0, :, 3, 7], features()[0, :, 4, 5])
    # its neighbour to the right, where the bump is exp(-1 / sigma^2)
    bump = torch.tensor(-1 / SIGMA**2).exp()
    torch.testing.assert_close(found[0, :, 3, 8], bump * features()[0, :, 4, 6])


def test_half_a_cell_is_the_mean_of_two():
    found = shifted(features(), point(5.0, 4.0), point(5.5, 4.0), SIGMA)
    bump = torch.tensor(-0.25 / SIGMA**2).exp()
    expected = bump * (features()[0, :, 4, 4] + features()[0, :, 4, 5]) / 2
    torch.testing.assert_close(found[0, :, 4, 5], expected)


@pytest.mark.parametrize('sigma', [0.7, 1.6, 3.0])
def test_windows_hold_all_that_whole_maps_would(sigma):
    """Also past the border, where it is repeated, and where keypoints lie outside."""
    generator = torch.Generator().manual_seed(1)
    around = torch.tensor([16.0, 12.0])
    source, target = (torch.rand(3, 5, 2, generator=generator) * around - 2 for _ in range(2))
    found = shifted(features(3), source, target, sigma)
    torch.testing.assert_close(
        found, slowly(features(3), source, target, sigma), atol=1e-3, rtol=0
    )


def test_transport_by_hand():
    # a single cell is left of the source's and of the target's bump; all features are 1
    ones = torch.ones(1, 4, 8, 12)
    found = transport(ones, point(2.0, 3.0), point(8.0, 3.0), 1.0)
    torch.testing.assert_close(found[0, 0, 3, 2].item(), 0.0, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[0, 0, 3, 8].item(), 1.0)
    # one cell beside the target: (1 - S)(1 - T) + H with S = 0 and T = H = exp(-1)
    torch.testing.assert_close(found[0, 0, 3, 9].item(), 1.0)
    # one cell beside the source only (1 - exp(-1)) is left
    torch.testing.assert_close(found[0, 0, 3, 1].item(), 1 - 0.36788, rtol=1e-4, atol=0)


def test_two_keypoints_on_one_thing_do_not_bring_it_twice():
    source, target = point(2.0, 3.0, 2.0, 3.0), point(8.0, 3.0, 8.0, 3.0)
    found = transport(features(), source, target, SIGMA)
    torch.testing.assert_close(found[0, :, 3, 8], features()[0, :, 3, 2])
    # three cells away, where the sum of both bumps is below one, both count
    ones = torch.ones(1, 1, 8, 12)
    far = torch.exp(torch.tensor(-9 / SIGMA**2))
    expected = (1 - far) ** 2 + 2 * far  # (1 - T) + sum of H, far from the source
    found = transport(ones, source, target, SIGMA)
    torch.testing.assert_close(found[0, 0, 3, 11], expected, atol=1e-5, rtol=0)


def test_the_gradient_moves_the_target_towards_its_thing():
    """The target's keypoint is one cell left of where the source's thing went."""
    x = torch.arange(12.0)
    blob = torch.exp(-((x - 4) ** 2) / 2).expand(1, 1, 8, 12)
    goal = torch.exp(-((x - 6) ** 2) / 2).expand(1, 1, 8, 12)
    source, target = point(4.0, 4.0), point(5.5, 4.0).requires_grad_()
    ((shifted(blob, source, target, SIGMA) - goal)[0, 0, 4, 4:8]).square().sum().backward()
    assert target.grad[0, 0, 0] < -0.1  # to the right
    assert target.grad[0, 0, 1].abs() < 1e-3


def test_what_learns_and_what_does_not(network, objective, images):
    terms = objective(both_ways=False)
    source = point(3.0, 2.0, 8.0, 5.0, 1.0, 6.0).expand(2, 3, 2).clone().requires_grad_()
    target = point(4.0, 2.0, 7.0, 5.5, 1.0, 4.0).expand(2, 3, 2).clone().requires_grad_()
    terms.render(terms.features(images(1)), source, target, SIGMA).square().sum().backward()
    assert source.grad is None
    assert (target.grad.abs().sum(dim=-1) > 0).all()
    assert all(p.grad.abs().sum() > 0 for p in terms.features.parameters())


def test_keypoint_net_feature_net_and_refinement_all_learn(network, objective, images):
    terms = objective()
    found = terms(PairBatch(network, images(1), images(2)))
    assert found['pixel'].shape == found['spread'].shape == (2,)
    found['pixel'].sum().backward()
    for part in (network, terms.features, terms.refine):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_only_the_keypoint_net_sees_the_target(network, objective, images):
    terms = objective(both_ways=False)
    seen = []
    terms.features.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    terms(PairBatch(network, images(1), images(2)))
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], images(1))
    # and with keypoints that are the same in all frames, the answer does not depend on it
    network.points = lambda logits: point(4.0, 2.0, 7.0, 5.5, 1.0, 4.0).expand(len(logits), 3, 2)
    answers = []
    terms.refine.register_forward_hook(lambda module, inputs, output: answers.append(output))
    terms(PairBatch(network, images(1), images(2)))
    terms(PairBatch(network, images(1), images(3)))
    torch.testing.assert_close(answers[0], answers[1])


def test_the_target_is_rebuilt_and_not_the_source(network, objective, images, fixed_output):
    source, target = images(1), images(2)
    terms = objective(both_ways=False)
    terms.refine = fixed_output(target)
    torch.testing.assert_close(terms(PairBatch(network, source, target))['pixel'], torch.zeros(2))
    assert (terms(PairBatch(network, target, source))['pixel'] > 0.1).all()


def test_both_ways_reconstruct_each_from_the_other(network, objective, fixed_output):
    # the answer is always 0: right for the way back, wrong by 0.5 for the way forth
    image0 = torch.zeros(2, 3, 64, 96)
    terms = objective(both_ways=True, change=0.5)
    terms.refine = fixed_output(torch.zeros(4, 3, 64, 96))
    found = terms(PairBatch(network, image0, image0 + 0.5))['pixel']
    torch.testing.assert_close(found, torch.full((2,), 0.25 / 2 / 0.5))
    # the two ways of one pair are averaged, not those of two pairs
    image1 = image0 + torch.tensor([0.5, 0.1])[:, None, None, None]
    found = terms(PairBatch(network, image0, image1))['pixel']
    torch.testing.assert_close(found, torch.tensor([0.25, 0.01]))


def test_columns_are_not_rows(network, objective, images):
    """The first keypoint goes from column 3, row 2 to column 10, row 5 of 12 x 8."""
    terms = objective(both_ways=False)
    seen = {}

    def remember(images, source, target, sigma):
        seen.update(source=source, target=target, sigma=sigma)
        return torch.zeros(2, 3, 64, 96)

    terms.render = remember
    network.points = lambda logits: torch.cat(
        [point(3.0, 2.0).expand(2, 3, 2), point(10.0, 5.0).expand(2, 3, 2)]
    )
    terms(PairBatch(network, images(1), images(2)))
    assert seen['source'][0, 0].tolist() == [3.0, 2.0]
    assert seen['target'][0, 0].tolist() == [10.0, 5.0]
    # 0.1 of half the longer side, 6 cells
    assert seen['sigma'] == pytest.approx(0.6)
    moved = shifted(features(), seen['source'][:1], seen['target'][:1], 1.0)
    torch.testing.assert_close(moved[0, :, 5, 10] / 3, features()[0, :, 2, 3])
