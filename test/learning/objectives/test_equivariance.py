"""The equivariance objective says what its two papers say."""

from functools import partial

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.data.photometric import jitter_colours
from keypoint_perception.learning.data.warps import make_warp, random_warp, WarpConfig
from keypoint_perception.learning.objectives.equivariance import (
    _vectors,
    alignment,
    diversity,
    Equivariance,
    EquivarianceConfig,
    exchanged_distance,
    to_half_sides,
)
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.model.heatmaps import softmax_2d
from keypoint_perception.model.network import NetworkConfig
import pytest
import torch

HW = (8, 12)


@pytest.fixture
def objective(make_objective):
    return partial(make_objective, Equivariance)


def random_maps(count, *, seed):
    generator = torch.Generator().manual_seed(seed)
    return softmax_2d(3 * torch.randn(count, 3, *HW, generator=generator))


def one_cell(*cells):
    """Return maps (1, K, 8, 12), each with all its mass in one cell (x, y)."""
    maps = torch.zeros(1, len(cells), *HW)
    for k, (x, y) in enumerate(cells):
        maps[0, k, y, x] = 1
    return maps


def shift_right(cells):
    warp = make_warp(torch.zeros(1), torch.ones(1), torch.tensor([[-cells / 6, 0.0]]))
    return to_half_sides(warp.sources(HW), HW)


def test_the_terms_are_those_of_the_equations(objective, triple, check_terms):
    terms = objective(
        exchange=True, angle=40.0, scale=0.2, shift=0.7, bend=0.02, colour=0.3, pool=0.3
    )
    u = torch.cartesian_prod(torch.arange(8), torch.arange(12)).flip(-1)
    u = (u - torch.tensor([5.5, 3.5])) / 6  # of each cell, half image sides

    def vectors(features):
        return 20 * features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)

    def equations(batch):
        warp = random_warp(6, HW, terms.config)
        warped = jitter_colours(warp.images(batch.images), 0.3)
        p, q = batch.maps.flatten(2), softmax_2d(batch.network.logits(warped)).flatten(2)
        g = (warp.sources(HW).flatten(1, 2) - torch.tensor([5.5, 3.5])) / 6  # (6, cells, 2)
        mean, mean_warped = p @ u, q @ g
        within = (p * (u - mean[:, :, None]).square().sum(dim=-1)).sum(dim=-1)
        away = (g[:, None] - mean_warped[:, :, None]).square().sum(dim=-1)
        seen = warp.inside(p @ (6 * u + torch.tensor([5.5, 3.5])), HW)
        assert 6 < seen.sum() < 18

        def of_seen(values):
            return ((values * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1)).view(2, 3).mean(0)

        def apart(maps):  # windows of 2 x 2 cells, also those that reach over the border
            padded = torch.nn.functional.pad(maps.unflatten(2, HW), (1, 1, 1, 1))
            pooled = (padded[..., :-1, :] + padded[..., 1:, :]) / 2
            pooled = (pooled[..., :-1] + pooled[..., 1:]) / 2
            return 1 - pooled.amax(dim=1).sum(dim=(1, 2)) / 3

        phi, phi_warped = (vectors(terms.features(i)).flatten(2) for i in (batch.images, warped))
        f = vectors(torch.einsum('bku,bcu->bck', p, phi))
        y = torch.cat([phi[3:], phi[:3]])
        e = (torch.einsum('bck,bcw->bkw', f, y)).softmax(dim=-1) @ y.transpose(1, 2)
        found = (e @ phi_warped).softmax(dim=-1)
        missed = (g[:, None] - mean[:, :, None]).detach().norm(dim=-1).sqrt()
        return {
            'align': of_seen((mean - mean_warped).square().sum(dim=-1)),
            'spread': of_seen(within + (q * away).sum(dim=-1)),
            'diversity': ((apart(p) + apart(q)) / 2).view(2, 3).mean(dim=0),
            'exchange': of_seen((found * missed).sum(dim=-1)),
        }

    check_terms(terms, triple, equations)


def test_sharp_maps_that_follow_cost_nothing():
    found = alignment(one_cell((2, 3), (5, 1)), one_cell((5, 3), (8, 1)), shift_right(3))
    for part in found:
        torch.testing.assert_close(part, torch.zeros(1, 2), atol=1e-5, rtol=0)


def test_align_and_spread_by_hand():
    # the first stays behind by 3 cells of 6 to half a side; the second follows, but half of it
    # lies 2 cells too far in y: the mean by 1, and 1 to either side of it
    warped = one_cell((2, 3), (8, 1))
    warped[0, 1, 1, 8] = warped[0, 1, 3, 8] = 0.5
    align, spread = alignment(one_cell((2, 3), (5, 1)), warped, shift_right(3))
    torch.testing.assert_close(align, torch.tensor([[9 / 36, 1 / 36]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(spread, torch.tensor([[0.0, 1 / 36]]), atol=1e-5, rtol=0)


def test_the_parts_sum_to_the_distance_over_all_pairs_of_cells():
    maps, warped = random_maps(2, seed=0), random_maps(2, seed=1)
    warp = random_warp(2, HW, WarpConfig(), generator=torch.Generator().manual_seed(2))
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing='ij')
    cells = torch.stack([x, y], dim=-1).view(1, -1, 1, 2)
    pairs = (cells - warp.sources(HW).view(2, 1, -1, 2)).square().sum(dim=-1) / 36
    expected = torch.einsum('bku,bkv,buv->bk', maps.flatten(2), warped.flatten(2), pairs)
    found = sum(alignment(maps, warped, to_half_sides(warp.sources(HW), HW)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_diversity_by_hand():
    assert diversity(one_cell((2, 2), (8, 6)), 3).item() == pytest.approx(0.0, abs=1e-6)
    assert diversity(one_cell((0, 0), (0, 0)), 3).item() == pytest.approx(0.5)
    # windows of 2 x 2: each sum of pooled mass is 1; one column apart the two share half of
    # their windows, so the maxima sum to 1.5 of 2
    assert diversity(one_cell((4, 4), (5, 4)), 2).item() == pytest.approx(0.25)
    # two rows apart no window holds both
    assert diversity(one_cell((4, 4), (4, 6)), 2).item() == pytest.approx(0.0, abs=1e-6)


def test_diversity_is_that_of_the_public_code_away_from_the_border():
    # K - sum of the maxima of maps averaged over windows that lie inside, by NumPy in float64
    maps = torch.zeros(1, 3, *HW)
    for k in range(3):
        for i in range(4):
            maps[0, k, 3 + (k + i) % 3, 4 + (2 * k + i) % 4] += 0.1 * (i + 1)
    assert 3 * diversity(maps, 2).item() == pytest.approx(1.175, abs=1e-5)


def test_exchange_is_that_of_the_authors():
    # dense_correlation_loss_dve of the authors' release in float64, all cells as queries
    values = torch.arange(2 * 2 * 3 * 4 * 6, dtype=torch.float64)
    features = torch.sin(values * 0.7 + 0.3 * values.sqrt()).view(4, 3, 4, 6)
    first, warped = features[0::2], features[1::2]
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing='ij')
    places = torch.stack([x, y], dim=-1).double().view(1, -1, 2)
    belongs = torch.cat([places + torch.tensor([1.5, -0.5]), places + torch.tensor([0.0, 2.0])])
    away = torch.cdist(belongs, places.expand(2, -1, -1)).sqrt()
    other = _vectors(first.roll(-1, 0))
    found = exchanged_distance(_vectors(first), other, _vectors(warped), away)
    assert found.mean().item() == pytest.approx(1.7508550882, abs=1e-6)


def test_all_parts_are_trained(batch, objective, check_gradients):
    check_gradients(objective(exchange=True), batch, trains_objective='exchange')


def test_both_detections_are_moved_alike():
    maps, warped = (random_maps(1, seed=s).requires_grad_() for s in (0, 1))
    still = shift_right(0)
    align, _ = alignment(maps, warped, still)
    mine, theirs = torch.autograd.grad(align.sum(), [maps, warped])
    assert mine.abs().sum() > 0
    # without a warp the distance of the means depends on their difference alone
    torch.testing.assert_close(mine, -theirs, atol=1e-4, rtol=1e-4)


def test_vectors_are_exchanged_for_those_of_the_other_frame(batch, objective):
    terms = objective(exchange=True)
    sources = shift_right(0).expand(4, -1, -1, -1)
    seen = torch.ones(4, 3, dtype=torch.bool)

    def exchanged(image1):
        images = torch.cat([batch.image0, image1])
        return terms._exchange(images, batch.images, batch.maps, sources, seen).detach()

    before, after = exchanged(batch.image1), exchanged(-batch.image1)
    assert not torch.isclose(before[:2], after[:2]).any()


def test_a_sample_knows_nothing_of_its_neighbours(batch, objective):
    torch.manual_seed(5)
    both = objective(exchange=True)(batch)
    changed = PairBatch(
        batch.network, batch.image0, torch.cat([batch.image1[:1], -batch.image1[1:]])
    )
    again = objective(exchange=True)(changed)
    for name in both:
        torch.testing.assert_close(again[name][0], both[name][0])
        assert not torch.isclose(again[name][1], both[name][1]), name


def test_without_exchange_there_is_no_feature_net_and_no_such_term(batch, objective):
    terms = objective()
    assert list(terms.parameters()) == []
    assert terms(batch)['exchange'].tolist() == [0.0, 0.0]


def test_without_a_warp_a_flat_map_costs_its_variance(batch, objective):
    # flat maps of 8 x 12: twice (63 / 12 + 143 / 12) cells^2, half a side is 6
    batch.network.logits = batch.network.stacks = None
    network = batch.network
    network.stacks = lambda images: [torch.zeros(len(images), 3, *HW)]
    network.logits = lambda images: network.stacks(images)[-1]
    terms = objective(angle=0, scale=0, shift=0, bend=0, colour=0)(batch)
    torch.testing.assert_close(terms['align'], torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(terms['spread'], torch.full((2,), 2 * (63 + 143) / 12 / 36))
    torch.testing.assert_close(terms['diversity'], torch.full((2,), 2 / 3))


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'colour': 1.5}, 'colour: must be a number from 0 to 1, got 1.5'),
        ({'pool': 0.0}, 'pool: must be a number above 0 and at most 1, got 0.0'),
        ({'shift': 0.95}, 'or the centre of the image may leave it; got shift 0.95'),
    ],
)
def test_settings_must_make_sense(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        EquivarianceConfig(**settings)


def test_a_network_that_reads_each_axis_alone_is_refused(objective):
    paper = NetworkConfig(network='paper', keypoints=3, input_hw=(64, 96))
    with pytest.raises(ConfigError, match="needs 2-D heatmaps, but network 'paper'"):
        objective(network=paper)


def test_the_window_is_a_cell_at_least(objective, triple):
    # narrower than half a cell: a share of 0.01 of 6 cells
    terms = objective(pool=0.01, angle=0.0, scale=0.0, shift=0.0, bend=0.0, colour=0.0)
    expected = 1 - triple.maps.amax(dim=1).sum(dim=(1, 2)) / 3
    found = terms(triple)['diversity']
    torch.testing.assert_close(found, (expected[:3] + expected[3:]) / 2, rtol=1e-3, atol=1e-5)
