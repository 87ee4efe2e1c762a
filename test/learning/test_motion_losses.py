"""Keypoints that follow and turn cost nothing, others what is worked out by hand."""

from keypoint_perception.learning.data.warps import make_warp
from keypoint_perception.learning.motion_losses import (
    background_share,
    flow_error,
    map_divergence,
    uncovered_share,
    warp_error,
    warp_foreground,
)
import pytest
import torch


def test_following_the_flow_costs_nothing(peak):
    flow = torch.zeros(1, 2, 8, 12)
    flow[0, :, 2, 7] = torch.tensor([3.0, -1.0])
    moved = torch.tensor([[[3.0, -1.0]]])
    torch.testing.assert_close(flow_error(peak(7, 2), moved, flow).item(), 0.0)
    # along x is not along y
    assert flow_error(peak(7, 2), moved.flip(-1), flow) > 0.5


def test_what_moves_with_the_camera_is_not_the_moving_part(peak):
    camera = torch.tensor([6.0, 0.0])[None, :, None, None].expand(1, 2, 8, 12)
    flow = camera.clone()
    flow[:, :, 2, 7] = torch.tensor([7.0, 0.0])  # one cell of its own
    moved = torch.tensor([[[6.0, 0.0]]])  # with the background
    # q = 1 / (1 + 0.02), where without the camera it would be 1 / 36
    expected = 2 * (torch.tensor(1 + 1 / 1.02).sqrt() - 1)
    torch.testing.assert_close(flow_error(peak(7, 2), moved, flow, camera)[0, 0], expected)
    assert flow_error(peak(7, 2), moved, flow)[0, 0] < 0.1


def test_not_following_by_hand(peak):
    # flow of 3 cells in one place, where the keypoint is, which does not move:
    # q = 9 / (9 + 0.02), 2 (sqrt(1 + q) - 1)
    flow = torch.zeros(1, 2, 8, 12)
    flow[0, 0, 2, 7] = 3.0
    found = flow_error(peak(7, 2), torch.zeros(1, 1, 2), flow).item()
    assert found == pytest.approx(2 * ((1 + 9 / 9.02) ** 0.5 - 1), rel=1e-5)
    # a keypoint on the still part may stay
    assert flow_error(peak(2, 7), torch.zeros(1, 1, 2), flow).item() == pytest.approx(0.0)


def test_unknown_flow_asks_nothing(peak):
    flow = torch.full((1, 2, 8, 12), torch.nan)
    found = flow_error(peak(7, 2), torch.ones(1, 1, 2), flow)
    assert found.item() == 0.0


def test_the_flow_of_a_map_is_the_mean_where_it_is_known():
    # half of the map on a cell that moves by (3, 4), half where the flow is unknown along y
    maps = torch.zeros(1, 1, 8, 12)
    maps[0, 0, 2, 7] = maps[0, 0, 5, 1] = 0.5
    flow = torch.zeros(1, 2, 8, 12)
    flow[0, :, 2, 7] = torch.tensor([3.0, 4.0])
    flow[0, 1, 5, 1] = torch.nan
    maps.requires_grad_()
    assert flow_error(maps, torch.tensor([[[3.0, 4.0]]]), flow).item() == pytest.approx(
        0, abs=1e-6
    )
    error = flow_error(maps, torch.zeros(1, 1, 2), flow)
    # the mean square motion is 25
    expected = 0.5 * 2 * ((1 + 25 / 25.02) ** 0.5 - 1)
    assert error.item() == pytest.approx(expected, rel=1e-5)
    # less mass where the flow is known would not lower the error
    error.sum().backward()
    assert maps.grad[0, 0, [2, 5], [7, 1]].abs().max().item() == pytest.approx(0, abs=1e-6)


def test_a_map_that_hardly_knows_the_flow_expects_less():
    # a known share of 0.02 counts as 0.05: of a flow of 4 cells, 1.6 are expected
    maps = torch.zeros(1, 1, 8, 12)
    maps[0, 0, 2, 7], maps[0, 0, 5, 1] = 0.02, 0.98
    flow = torch.full((1, 2, 8, 12), torch.nan)
    flow[0, :, 2, 7] = torch.tensor([0.0, 4.0])
    found = flow_error(maps, torch.tensor([[[0.0, 1.6]]]), flow)
    assert found.item() == pytest.approx(0, abs=1e-6)


def quarter_turn():
    return make_warp(torch.tensor([torch.pi / 2]), torch.ones(1), torch.zeros(1, 2))


def test_keypoints_that_turn_with_the_image_cost_nothing():
    # about the middle (5.5, 3.5) of 8 x 12 cells, clockwise: 2 to the right is 2 below
    points, turned = torch.tensor([[[7.5, 3.5]]]), torch.tensor([[[5.5, 5.5]]])
    found = warp_error(points, turned, quarter_turn(), (8, 12))
    torch.testing.assert_close(found, torch.zeros(1, 1), atol=1e-6, rtol=0)
    # 2 cells and 2 cells off, a half side is 6
    still = warp_error(points, points, quarter_turn(), (8, 12))
    torch.testing.assert_close(still, torch.tensor([[(2**2 + 2**2) / 6**2]]))


def test_a_keypoint_that_is_lost_costs_no_more_than_lost():
    points = torch.tensor([[[7.5, 3.5]]])
    far = warp_error(points, torch.tensor([[[0.0, 0.0]]]), quarter_turn(), (8, 12))
    torch.testing.assert_close(far, torch.tensor([[0.25]]))


def test_a_keypoint_that_is_turned_out_of_view_is_not_asked_for():
    # 5.5 right of the middle turns 5.5 below it, where 8 rows end after 4
    points = torch.tensor([[[11.0, 3.5]]])
    found = warp_error(points, torch.zeros(1, 1, 2), quarter_turn(), (8, 12))
    torch.testing.assert_close(found, torch.zeros(1, 1))


def bump(column, row, width=0.6):
    x, y = torch.arange(12.0) - column, torch.arange(8.0) - row
    return -(x.square()[None, :] + y.square()[:, None])[None, None] / (2 * width**2)


def test_maps_that_say_where_keypoints_are_turned_to_agree():
    points = torch.tensor([[[7.5, 3.5]]])
    # 2 right of the middle comes 2 below it
    shown = quarter_turn().points(points, (8, 12))
    torch.testing.assert_close(shown, torch.tensor([[[5.5, 5.5]]]))
    right = map_divergence(points, bump(5.5, 5.5), quarter_turn(), 0.6)
    torch.testing.assert_close(right, torch.zeros(1, 1), atol=1e-5, rtol=0)
    # of two bumps of width s a cell apart: 1 / (2 s^2), where the border is far away
    off = map_divergence(points, bump(5.5, 4.5), quarter_turn(), 0.6)
    assert off.item() == pytest.approx(1 / (2 * 0.6**2), rel=0.02)


def test_maps_do_not_move_the_keypoints_that_they_are_compared_with():
    points = torch.tensor([[[7.5, 3.5]]], requires_grad=True)
    logits = bump(3.0, 1.0).requires_grad_()
    map_divergence(points, logits, quarter_turn(), 0.6).sum().backward()
    assert points.grad is None and logits.grad.any()


def test_a_map_that_is_sure_of_the_wrong_place_has_a_slope():
    points = torch.tensor([[[7.5, 3.5]]])
    logits = (4 * bump(10.5, 1.5)).requires_grad_()
    map_divergence(points, logits, quarter_turn(), 0.6).sum().backward()
    assert logits.grad[0, 0, 1, 10] > 0.2  # less there
    assert logits.grad[0, 0, 5:7, 5:7].sum() < -0.8  # more where it should be


def test_a_keypoint_out_of_view_need_not_agree():
    points = torch.tensor([[[11.0, 3.5]]])
    assert map_divergence(points, bump(0, 0), quarter_turn(), 0.6).item() == 0.0


def noise_of(images):
    return torch.full_like(images[:, :1], 0.05)


def test_the_foreground_is_turned_and_the_background_stays():
    background = torch.linspace(-0.5, 0.5, 96).expand(1, 3, 64, 96).contiguous()
    image = background.clone()
    image[:, :, 28:36, 60:68] = 1.0  # right of the middle
    turned = warp_foreground(image, background, noise_of(image), quarter_turn())
    changed = (turned - background).abs().mean(dim=1)[0] > 0.01
    rows, columns = changed.nonzero().unbind(dim=-1)
    # below the middle, with the margin of 4 px and what smoothing adds round it
    assert rows.min() >= 32 + 12 - 6 and rows.max() <= 32 + 20 + 5
    assert columns.min() >= 44 - 6 and columns.max() <= 52 + 5
    torch.testing.assert_close(turned[:, :, 46:50, 46:50], torch.ones(1, 3, 4, 4))


def test_what_comes_from_outside_the_image_is_not_pasted():
    background = torch.zeros(1, 3, 64, 96)
    image = background.clone()
    image[:, :, :, 90:] = 1.0  # at the border, which a warp repeats beyond it
    shifted = make_warp(torch.zeros(1), torch.ones(1), torch.tensor([[0.5, 0.0]]))
    turned = warp_foreground(image, background, noise_of(image), shifted)
    # g v = v + t: half of a half side, 24 px, to the left
    assert (turned[..., 67:71] > 0.9).all()
    assert (turned[..., 73:] == 0).all()


def test_the_foreground_is_put_on_another_background():
    background = torch.full((1, 3, 64, 96), -0.5)
    image, other = background.clone(), torch.full((1, 3, 64, 96), 0.3)
    colour = torch.tensor([0.8, -0.2, 0.1])[:, None, None]
    image[:, :, 28:36, 60:68] = colour
    turned = warp_foreground(image, background, noise_of(image), quarter_turn(), onto=other)
    torch.testing.assert_close(turned[0, :, 46:50, 46:50], colour.expand(3, 4, 4))
    assert (turned[:, :, :38] == other[:, :, :38]).all()
    assert (turned[..., :38] == other[..., :38]).all()


def test_keypoints_on_the_foreground_cost_nothing():
    foreground = torch.zeros(1, 8, 12)
    foreground[0, 2, 7] = 1.0
    on, off = torch.ones(1, 3), torch.zeros(1, 3)
    torch.testing.assert_close(background_share(on, foreground), torch.zeros(1))
    # off it everything, times 1 / (1 + 1) for there being one cell of foreground
    torch.testing.assert_close(background_share(off, foreground), torch.tensor([0.5]))
    torch.testing.assert_close(background_share(off, foreground * 0), torch.zeros(1))


def test_uncovered_share_by_hand():
    foreground = torch.zeros(1, 8, 12)
    foreground[0, 2, 7], foreground[0, 5, 1] = 1.0, 1.0
    covered = torch.zeros(1, 1, 8, 12)
    covered[0, 0, 2, 7] = 0.75
    # (0.25 + 1) / (2 + 1)
    torch.testing.assert_close(uncovered_share(covered, foreground), torch.tensor([1.25 / 3]))
