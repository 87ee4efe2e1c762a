"""The structural representation objective says what the paper says."""

from functools import partial

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.data.photometric import jitter_colours
from keypoint_perception.learning.data.warps import random_warp
from keypoint_perception.learning.objectives.structural_representation import (
    DESCRIPTION,
    detection_maps,
    draw,
    StructuralRepresentation,
    StructuralRepresentationConfig,
    WIDTHS,
)
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.model.heatmaps import expectation, variance
from keypoint_perception.model.network import NetworkConfig
import pytest
import torch

HW = (8, 12)
PAIRS = ((0, 1), (0, 2), (1, 2))


@pytest.fixture
def objective(make_objective):
    return partial(make_objective, StructuralRepresentation)


def described(terms, image, logits):
    """Return the image of its points and descriptors, and the points."""
    odds = torch.cat([torch.ones_like(logits[:, :1]), logits.exp()], dim=1)
    shares = odds / odds.sum(dim=1, keepdim=True)
    shares = shares / shares.sum(dim=(2, 3), keepdim=True)
    y, x = torch.arange(8.0)[:, None].expand(8, 12), torch.arange(12.0).expand(8, 12)
    points = torch.stack([(shares[:, 1:] * axis).sum(dim=(2, 3)) for axis in (x, y)], dim=-1)
    pooled = torch.einsum('bkhw,bchw->bkc', shares, terms.features(image))
    drawn = []
    for i in range(5):
        away = (x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2
        bumps = torch.exp(-away / (2 * (terms.config.sigma * 2 ** (i / 2) * 6) ** 2))
        maps = torch.cat([torch.full_like(bumps[:, :1], 0.1), bumps], dim=1)
        maps = maps / maps.sum(dim=1, keepdim=True)
        spread = torch.einsum('bkhw,bkc,kcd,kde->behw', maps, pooled, terms.describe, terms.unfold)
        drawn += [maps, spread]
    return terms.decode(torch.cat(drawn, dim=1)), points, shares[:, 1:]


def test_the_terms_are_those_of_the_equations(objective, triple, check_terms):
    terms = objective(
        change=0.3, angle=40.0, shift=0.7, bend=0.02, colour=0.3, sigma=0.2, apart=0.4
    )

    def equations(batch):
        image, points, shares = described(terms, batch.images, batch.logits)
        warp = random_warp(6, HW, terms.config)
        warped = jitter_colours(warp.images(batch.images), 0.3)
        points_warped = described(terms, warped, batch.network.logits(warped))[1]
        seen = warp.inside(points.detach(), HW)
        assert 6 < seen.sum() < 18
        missed = (warp.back(points_warped, HW) - points).square().sum(dim=-1) / 36
        pairs = [(points[:, i] - points[:, j]).square().sum(dim=-1) for i, j in PAIRS]
        near = torch.stack([torch.exp(-d / (2 * (0.4 * 6) ** 2)) for d in pairs]).mean(dim=0)
        found = {
            'pixel': (image - batch.images).square().mean(dim=(1, 2, 3)) / 0.3,
            'concentration': variance(shares, points).mean(dim=1) / 36,
            'separation': near,
            'equivariance': (missed * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1),
            'readout': variance(batch.maps, points.detach()).mean(dim=1) / 36,
        }
        return {name: (value[:3] + value[3:]) / 2 for name, value in found.items()}

    check_terms(terms, triple, equations)
    expected = described(terms, triple.images, triple.logits)[0][3:]
    torch.testing.assert_close(terms.reconstruct(triple), expected, rtol=1e-3, atol=1e-4)


def test_the_error_is_zero_for_a_perfect_image_and_in_units_of_change(
    batch, objective, fixed_output
):
    terms = objective(change=0.25)
    terms.decode = fixed_output(batch.images)
    torch.testing.assert_close(terms(batch)['pixel'], torch.zeros(2))
    # 0.5 too bright in the first frames only: 0.25 / 0.25, the mean of both frames
    terms.decode = fixed_output(torch.cat([batch.image0 + 0.5, batch.image1]))
    torch.testing.assert_close(terms(batch)['pixel'], torch.full((2,), 0.5))


def test_maps_and_background_share_every_cell():
    # odds of two keypoints against the background: 3 and 1 in the first cell, 1 and 4 in the next
    logits = torch.tensor([[[[3.0, 1.0]], [[1.0, 4.0]]]]).log()
    shares = detection_maps(logits)[0, :, 0]
    # cells: (1/5, 3/5, 1/5) and (1/6, 1/6, 4/6); each then divided by its sum over the cells
    background = torch.tensor([1 / 5, 1 / 6]) / (1 / 5 + 1 / 6)
    first = torch.tensor([3 / 5, 1 / 6]) / (3 / 5 + 1 / 6)
    second = torch.tensor([1 / 5, 4 / 6]) / (1 / 5 + 4 / 6)
    torch.testing.assert_close(shares, torch.stack([background, first, second]))


def test_a_keypoint_that_lost_every_cell_still_has_a_place():
    logits = torch.zeros(1, 2, *HW)
    logits[0, 0] = 200.0
    shares = detection_maps(logits)
    assert shares.isfinite().all()
    torch.testing.assert_close(shares.sum(dim=(2, 3)), torch.ones(1, 3))


def test_a_point_is_the_centre_of_mass_of_its_share():
    logits = torch.full((1, 1, *HW), -30.0)
    logits[0, 0, 2, 7] = logits[0, 0, 5, 9] = 5.0
    points = expectation(detection_maps(logits)[:, 1:])
    torch.testing.assert_close(points, torch.tensor([[[8.0, 3.5]]]), atol=1e-4, rtol=0)


def test_drawn_maps_by_hand():
    # one point at column 4, row 2; the background's is 0.1 everywhere
    maps = draw(torch.tensor([[[4.0, 2.0]]]), HW, sigma=2.0)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(1, *HW))
    torch.testing.assert_close(maps[0, 1, 2, 4], torch.tensor(1 / 1.1))
    # two columns away: exp(-4 / (2 * 4)) = 0.60653
    torch.testing.assert_close(maps[0, 1, 2, 6], torch.tensor(0.60653 / 0.70653))


def test_the_decoder_sees_points_and_descriptions_at_five_widths(batch, objective, fixed_output):
    terms = objective(sigma=0.2)
    terms.decode = fixed_output(batch.images)
    points = torch.tensor([[[9.0, 2.0], [1.0, 1.0], [3.0, 6.0]]]).expand(4, 3, 2)
    shares = detection_maps(torch.zeros(4, 3, *HW))
    terms.render(batch.images, shares, points, 6.0)
    seen = terms.decode.seen.view(4, WIDTHS, -1, *HW)
    maps, spread = seen[:, :, :4], seen[:, :, 4:]
    for i in range(WIDTHS):
        torch.testing.assert_close(maps[:, i], draw(points, HW, 0.2 * 6 * 2 ** (i / 2)))
    # flat shares: every description is of the mean of the features
    mean = terms.features(batch.images).mean(dim=(2, 3))
    described = torch.einsum('bc,kcd->bkd', mean, terms.describe)
    assert described.shape == (4, 4, DESCRIPTION)
    unfolded = torch.einsum('bkd,kde->bke', described, terms.unfold)
    expected = torch.einsum('bke,bk->be', unfolded, maps[:, 2, :, 2, 9])
    torch.testing.assert_close(spread[:, 2, :, 2, 9], expected, atol=1e-5, rtol=1e-4)


def test_known_terms_of_flat_maps(batch, objective):
    network = batch.network
    network.stacks = lambda images: [torch.zeros(len(images), 3, *HW)]
    network.logits = lambda images: torch.zeros(len(images), 3, *HW)
    terms = objective(angle=0, scale=0, shift=0, bend=0, colour=0)(batch)
    # all points in the middle; variances (64 - 1) / 12 + (144 - 1) / 12 cells^2, half a side is 6
    flat = torch.full((2,), (63 + 143) / 12 / 36)
    torch.testing.assert_close(terms['concentration'], flat)
    torch.testing.assert_close(terms['readout'], flat)
    torch.testing.assert_close(terms['separation'], torch.ones(2))
    torch.testing.assert_close(terms['equivariance'], torch.zeros(2), atol=1e-6, rtol=0)


def test_readout_sees_a_peak_that_another_keypoint_has_won(network, objective):
    # keypoint 0 is highest where keypoint 1 is higher still: it has won column 2, its run-time
    # map peaks at column 9
    logits = torch.full((1, 2, *HW), -20.0)
    logits[0, 0, 4, 2], logits[0, 0, 4, 9] = 6.0, 8.0
    logits[0, 1, 4, 9] = 30.0
    network.stacks = lambda images: [logits.expand(len(images), 2, *HW)]
    network.logits = lambda images: logits.expand(len(images), 2, *HW)
    terms = objective()
    terms._pixel = lambda images, *rest: torch.zeros(len(images))
    image = torch.zeros(1, 3, 64, 96)
    points = expectation(detection_maps(logits)[:, 1:])
    torch.testing.assert_close(points[0, 0], torch.tensor([2.0, 4.0]), atol=1e-2, rtol=0)
    found = terms(PairBatch(network, image, image))['readout']
    # 7 cells away with e^8 / (e^8 + e^6) = 0.8808 of the mass; the other keypoint has none
    torch.testing.assert_close(found, torch.tensor([0.8808 * 49 / 36 / 2]), atol=1e-3, rtol=0)


def test_all_parts_are_trained(batch, objective, check_gradients):
    check_gradients(objective(), batch, trains_objective='pixel')


def test_what_is_shown_is_the_second_frame_drawn_from_itself(batch, objective):
    terms = objective()
    seen = {}
    terms.render = lambda *given: seen.setdefault('given', given)[0]
    assert terms.reconstruct(batch) is batch.image1
    _, shares, points, half_side = seen['given']
    torch.testing.assert_close(shares, detection_maps(batch.logits)[2:])
    torch.testing.assert_close(points, expectation(shares[:, 1:]))
    assert half_side == 6


def test_readout_does_not_move_the_points(batch, objective):
    logits = batch.logits.detach().requires_grad_()
    batch.network.stacks = lambda images: [logits]
    fresh = PairBatch(batch.network, batch.image0, batch.image1)
    gradient = torch.autograd.grad(objective()(fresh)['readout'].sum(), logits)[0]
    # the run-time map does not change with a constant, nor with what the background has
    torch.testing.assert_close(gradient.sum(dim=(2, 3)), torch.zeros(4, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'colour': -0.1}, 'colour: must be a number from 0 to 1, got -0.1'),
        ({'sigma': 0.0}, 'sigma: must be a number above 0 and at most 1, got 0.0'),
        ({'apart': 2.0}, 'apart: must be a number above 0 and at most 1, got 2.0'),
        ({'bend': 0.5}, 'bend: must be a number from 0 to 0.09, got 0.5'),
    ],
)
def test_settings_must_make_sense(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        StructuralRepresentationConfig(**settings)


def test_a_network_that_reads_each_axis_alone_is_refused(objective):
    network = NetworkConfig(network='paper', keypoints=3, input_hw=(64, 96))
    with pytest.raises(ConfigError, match='structural_representation needs 2-D heatmaps'):
        objective(network=network)


def test_descriptors_begin_at_the_size_of_the_features(objective):
    # eight numbers each, of three keypoints and the background, unfolded to sixteen
    terms = objective(network=NetworkConfig(keypoints=3, input_hw=(64, 96), width=32))
    for matrix, shape in ((terms.describe, (4, 32, 8)), (terms.unfold, (4, 8, 16))):
        assert matrix.shape == shape
        # an output has the variance of the inputs
        assert matrix.std().item() == pytest.approx(shape[1] ** -0.5, rel=0.15)
        assert matrix.mean().abs() < 0.05
