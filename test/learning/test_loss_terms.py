"""The terms that objectives share, against figures worked out by hand."""

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.data.warps import make_warp
from keypoint_perception.learning.loss_terms import (
    concentration,
    equivariance,
    masked_mean,
    refuse_separable_reading,
    separation,
)
from keypoint_perception.model.network import NetworkConfig
import pytest
import torch

HW = (8, 12)


def shift_right(cells):
    """Return a warp that moves everything to the right; half the longer side of HW is 6."""
    return make_warp(torch.zeros(1), torch.ones(1), torch.tensor([[-cells / 6, 0.0]]))


def test_separation_by_hand():
    # three points: one pair 2 apart, two pairs far away; exp(-4 / 2) over 3 pairs
    points = torch.tensor([[[1.0, 1.0], [1.0, 3.0], [500.0, 1.0]]])
    expected = torch.exp(torch.tensor([-2.0])) / 3
    torch.testing.assert_close(separation(points, 1.0), expected)


def test_separation_is_one_where_all_points_are_one_and_zero_where_they_are_far():
    points = torch.full((2, 5, 2), 3.0)
    torch.testing.assert_close(separation(points, 1.0), torch.ones(2))
    far = torch.arange(10.0).view(1, 5, 2) * 100
    assert separation(far, 1.0).item() == pytest.approx(0.0, abs=1e-7)
    assert separation(points[:, :1], 1.0).tolist() == [0.0, 0.0]


def test_separation_pushes_points_apart():
    points = torch.tensor([[[1.0, 1.0], [2.0, 1.0]]], requires_grad=True)
    separation(points, 1.0).sum().backward()
    left, right = points.grad[0]
    # d/dx exp(-x^2 / 2) at distance 1: exp(-0.5), on each of the two
    torch.testing.assert_close(left, torch.tensor([0.60653, 0.0]))
    torch.testing.assert_close(right, -left)


# values of separation_loss of the release of BKinD for K = 3 points in [-1, 1]
@pytest.mark.parametrize(
    ('points', 'bkind'),
    [
        ([[0.1, 0.2], [0.15, 0.2], [-0.4, 0.9]], 0.0091397507),
        ([[0.0, 0.0], [0.0, 0.08], [0.08, 0.0]], 0.0175660085),
    ],
)
def test_separation_is_that_of_bkind(points, bkind):
    # BKinD takes the mean over all K^2 entries with the diagonal at zero, times 0.05
    found = separation(torch.tensor([points]), 0.08) * 0.05 * 6 / 9
    torch.testing.assert_close(found, torch.tensor([bkind]))


def test_concentration_by_hand():
    # half the mass 2 cells to either side of the point: variance 4; half a side is 6 cells
    maps = torch.zeros(1, 2, *HW)
    maps[0, 0, 3, 2] = maps[0, 0, 3, 6] = 0.5
    maps[0, 1, 5, 7] = 1.0
    points = torch.tensor([[[4.0, 3.0], [7.0, 5.0]]])
    torch.testing.assert_close(concentration(maps, points, 6.0), torch.tensor([4 / 36 / 2]))


def test_equivariance_is_zero_when_points_follow_and_known_when_they_stay():
    points = torch.tensor([[[2.0, 3.0], [5.0, 6.0]]])
    error, seen = equivariance(points, points + torch.tensor([3.0, 0.0]), shift_right(3), HW)
    torch.testing.assert_close(error, torch.zeros(1), atol=1e-6, rtol=0)
    assert seen.all()
    error, _ = equivariance(points, points, shift_right(3), HW)
    torch.testing.assert_close(error, torch.tensor([9 / 36]))


def test_points_that_left_do_not_count():
    points = torch.tensor([[[2.0, 3.0], [10.0, 6.0]]])
    error, seen = equivariance(points, points, shift_right(3), HW)
    assert seen.tolist() == [[True, False]]
    torch.testing.assert_close(error, torch.tensor([9 / 36]))
    error, seen = equivariance(points[:, 1:], points[:, 1:], shift_right(3), HW)
    assert error.item() == 0 and not seen.any()


def test_equivariance_moves_both_detections():
    points = torch.tensor([[[2.0, 3.0]]], requires_grad=True)
    warped = torch.tensor([[[2.0, 3.0]]], requires_grad=True)
    equivariance(points, warped, shift_right(3), HW)[0].sum().backward()
    # the warped point lies at -1 in the image: d/dx (x_w - 3 - x)^2 / 36 = 6 / 36
    torch.testing.assert_close(points.grad, torch.tensor([[[6 / 36, 0.0]]]))
    torch.testing.assert_close(warped.grad, -points.grad)


def test_the_mean_is_over_what_counts():
    values = torch.tensor([[1.0, 5.0], [2.0, 4.0]])
    mask = torch.tensor([[True, False], [False, False]])
    torch.testing.assert_close(masked_mean(values, mask), torch.tensor([1.0, 0.0]))


def test_a_network_that_reads_each_axis_is_refused():
    with pytest.raises(ConfigError, match="equivariance needs 2-D heatmaps, but network 'paper'"):
        refuse_separable_reading(NetworkConfig(network='paper'), 'equivariance')
    for name in ('default', 'hourglass'):
        refuse_separable_reading(NetworkConfig(network=name), 'equivariance')
