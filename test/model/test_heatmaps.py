"""Maps and points, on maps whose answer can be seen."""

import math

from keypoint_perception.model.heatmaps import (
    covariance,
    divergence,
    expectation,
    gaussian_maps,
    overlap,
    peak_curvature,
    separable_expectation,
    softmax_2d,
    union,
    variance,
    windowed_expectation,
)
import pytest
import torch


def one_map(rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def test_expectation_gives_column_then_row():
    # all mass in row 1, column 2
    maps = one_map([[0, 0, 0, 0], [0, 0, 1, 0]])
    torch.testing.assert_close(expectation(maps), torch.tensor([[[2.0, 1.0]]]))
    halves = one_map([[0, 0], [0.5, 0.5]])
    torch.testing.assert_close(expectation(halves), torch.tensor([[[0.5, 1.0]]]))


def test_variance_is_the_mean_squared_distance():
    # half the mass one cell to the left, half one to the right: 1 along x, 0 along y
    maps = one_map([[0.5, 0, 0.5], [0, 0, 0]])
    torch.testing.assert_close(variance(maps, expectation(maps)), torch.tensor([[1.0]]))
    # about a point one cell below it is one more
    below = torch.tensor([[[1.0, 1.0]]])
    torch.testing.assert_close(variance(maps, below), torch.tensor([[2.0]]))


@pytest.mark.parametrize('middle', [(3.0, 2.0), (3.4, 2.3), (2.6, 1.9)])
def test_steepness_of_a_bump_is_that_of_its_width_wherever_it_is(middle):
    x, y = torch.arange(6.0), torch.arange(5.0)[:, None]
    square = (x - middle[0]) ** 2 + (y - middle[1]) ** 2
    logits = torch.stack([-square / (2 * 0.5**2), 7 - square / (2 * 2.0**2)])[None]
    torch.testing.assert_close(peak_curvature(logits), torch.tensor([[2.0, 0.125]]))


def test_steepness_at_the_border_sees_the_border_once_more():
    logits = torch.zeros(1, 1, 3, 3)
    logits[0, 0, 0, 2] = 8.0
    # above it and to its right is itself, below and to its left nothing
    assert peak_curvature(logits).item() == 8.0 - (8.0 + 8.0 + 0.0 + 0.0) / 4


def test_covariance_by_hand():
    # half the mass 2 to the left and 1 up, half 2 to the right and 1 down, as images have it
    maps = torch.zeros(1, 1, 5, 9)
    maps[0, 0, 1, 2] = maps[0, 0, 3, 6] = 0.5
    found = covariance(maps, expectation(maps))
    torch.testing.assert_close(found, torch.tensor([[[[4.0, 2.0], [2.0, 1.0]]]]))
    # along x only, and about a point one row below: xx is that of the first, yy is 1
    maps = one_map([[0.5, 0, 0.5], [0, 0, 0]])
    found = covariance(maps, torch.tensor([[[1.0, 1.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]]))


def test_the_trace_of_the_covariance_is_the_variance():
    maps = softmax_2d(torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0)))
    xy = expectation(maps)
    trace = covariance(maps, xy).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    torch.testing.assert_close(trace, variance(maps, xy))


def test_softmax_is_over_both_axes():
    maps = softmax_2d(torch.zeros(2, 3, 4, 5))
    torch.testing.assert_close(maps, torch.full((2, 3, 4, 5), 1 / 20))


def test_separable_read_out_averages_logits_first():
    # one cell of 8 in a 2 x 2 map: each axis sees a mean of 4 against 0
    logits = one_map([[0.0, 8.0], [0.0, 0.0]])
    along = torch.tensor([0.0, 4.0]).softmax(0)[1].item()
    found = separable_expectation(logits)
    torch.testing.assert_close(found, torch.tensor([[[along, 1 - along]]]))


def test_window_does_not_see_far_mass():
    maps = torch.zeros(1, 1, 8, 12)
    maps[0, 0, 2, 9], maps[0, 0, 3, 9], maps[0, 0, 7, 0] = 0.4, 0.2, 0.4 - 1e-4
    xy, mass = windowed_expectation(maps, radius=1)
    # (0.4 * 2 + 0.2 * 3) / 0.6 rows down
    torch.testing.assert_close(xy, torch.tensor([[[9.0, 1.4 / 0.6]]]))
    torch.testing.assert_close(mass, torch.tensor([[0.6]]))
    assert expectation(maps)[0, 0, 0] < 6


def test_window_has_two_sides_along_each_axis():
    maps = torch.zeros(1, 1, 9, 9)
    maps[0, 0, 4, 4], maps[0, 0, 3, 5] = 0.3, 0.2
    for row, column in ((0, 4), (8, 4), (4, 0), (4, 8)):
        maps[0, 0, row, column] = 0.1
    xy, mass = windowed_expectation(maps, radius=1)
    torch.testing.assert_close(xy, torch.tensor([[[4.4, 3.6]]]))
    torch.testing.assert_close(mass, torch.tensor([[0.5]]))


def test_each_map_has_its_own_window():
    logits = 3 * torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    maps = softmax_2d(logits)
    xy, mass = windowed_expectation(maps, radius=2)
    assert xy.shape == (2, 3, 2) and mass.shape == (2, 3)
    for b, k in ((0, 0), (0, 2), (1, 1)):
        alone_xy, alone_mass = windowed_expectation(maps[b : b + 1, k : k + 1], radius=2)
        torch.testing.assert_close((xy[b, k], mass[b, k]), (alone_xy[0, 0], alone_mass[0, 0]))


def test_window_at_the_border_is_cut_off_not_wrapped():
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 0, 3], maps[0, 0, 1, 0] = 0.9, 0.1
    xy, mass = windowed_expectation(maps, radius=1)
    torch.testing.assert_close(xy, torch.tensor([[[3.0, 0.0]]]))
    torch.testing.assert_close(mass, torch.tensor([[0.9]]))


def test_rounding_does_not_bring_the_confidence_past_one():
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 1, 1], maps[0, 0, 1, 2] = 0.6, 0.400001
    xy, mass = windowed_expectation(maps, radius=1)
    assert mass.item() == 1.0
    torch.testing.assert_close(xy, torch.tensor([[[1.4, 1.0]]]))


def test_nan_maps_stay_nan():
    xy, _ = windowed_expectation(torch.full((1, 1, 4, 4), torch.nan), radius=1)
    assert xy.isnan().all()


def test_bump_is_one_at_its_point_and_1_over_e_at_sigma():
    maps = gaussian_maps(torch.tensor([[[5.0, 2.0]]]), height=6, width=9, sigma=3.0)
    assert maps.shape == (1, 1, 6, 9) and maps[0, 0, 2, 5] == 1.0
    torch.testing.assert_close(maps[0, 0, 2, 8], torch.tensor(-1.0).exp())
    # (2, 1) away: exp(-(4 + 1) / 9)
    torch.testing.assert_close(maps[0, 0, 3, 7], torch.tensor(-5 / 9).exp())


def test_divergence_by_hand():
    # two cells, the point between them: a bump of a half and a half, a map of 1/4 and 3/4
    logits = one_map([[1.0, 3.0]]).log()
    found = divergence(logits, torch.tensor([[[0.5, 0.0]]]), sigma=1.0)
    torch.testing.assert_close(found, torch.tensor([[0.5 * math.log(4 / 3)]]))
    # of two bumps of width s, d apart and far from the border: d^2 / (2 s^2)
    place = torch.arange(12.0)
    away = (place[None, :] - 4) ** 2 + (place[:, None] - 7) ** 2
    found = divergence(-away[None, None] / 2, torch.tensor([[[5.0, 5.0]]]), sigma=1.0)
    torch.testing.assert_close(found, torch.tensor([[(1 + 4) / 2]]), rtol=1e-3, atol=0)
    place = torch.arange(32.0)
    away = (place[None, :] - 14) ** 2 + (place[:, None] - 17) ** 2
    found = divergence(-away[None, None] / 8, torch.tensor([[[15.0, 15.0]]]), sigma=2.0)
    torch.testing.assert_close(found, torch.tensor([[(1 + 4) / 8]]), rtol=1e-3, atol=0)


def test_the_bump_of_a_point_beyond_the_border_is_at_the_border():
    logits = one_map([[0.0, 50.0], [0.0, 0.0]])
    found = divergence(logits, torch.tensor([[[400.0, -90.0]]]), sigma=0.6)
    torch.testing.assert_close(found, torch.zeros(1, 1))


def test_half_width_of_the_papers_bump():
    # sigma 0.1 of half a side of 128 cells is 6.4; half the height at sigma * sqrt(ln 2) = 5.33,
    # which is 0.0833 of half a side
    maps = gaussian_maps(torch.tensor([[[0.0, 0.0]]]), height=1, width=128, sigma=6.4)
    assert maps[0, 0, 0, 5] > 0.5 > maps[0, 0, 0, 6]


def test_union_is_bounded_and_does_not_know_the_order():
    points = torch.rand(4, 7, 2, generator=torch.Generator().manual_seed(0)) * 8
    maps = gaussian_maps(points, 8, 8, sigma=3.0)
    joined = union(maps)
    assert joined.shape == (4, 1, 8, 8)
    assert joined.min() >= 0 and joined.max() <= 1
    torch.testing.assert_close(union(maps[:, torch.randperm(7)]), joined)
    # two maps of one half: 1 - 0.5 * 0.5
    torch.testing.assert_close(union(torch.full((1, 2, 1, 1), 0.5)).item(), 0.75)


def test_overlap_by_hand():
    # the first map shares half its mass with a half of the second: two ordered pairs of 1/2
    maps = torch.zeros(2, 3, 2, 4)
    maps[0, 0, 0, 1] = maps[0, 2, 1, 3] = 1.0
    maps[0, 1, 0, 0] = maps[0, 1, 0, 1] = 0.5
    maps[1, :, 1, 2] = 1.0
    # all three in one cell: six ordered pairs of one
    torch.testing.assert_close(overlap(maps), torch.tensor([2 * 0.5 / 3, 6 / 3]))
