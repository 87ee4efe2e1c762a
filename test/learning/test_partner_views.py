"""What the other frame of a pair shows, in a frame's own view."""

from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.learning.partner_views import (
    camera_flow,
    partner_points,
    partner_positions,
    partner_seen,
    partner_view,
)
from keypoint_perception.learning.reconstruction import pair_weight
import torch

HW = (8, 12)
# The second frame shows everything two cells further right and one further down.
MOVED = torch.tensor([[[1.0, 0, 2], [0, 1, 1], [0, 0, 1]]])


def values(seed=0):
    return torch.rand(2, 3, *HW, generator=torch.Generator().manual_seed(seed))


def test_without_a_moving_camera_partners_are_swapped():
    both = values()
    torch.testing.assert_close(partner_view(both, None, HW), both.flip(0))
    points = torch.rand(2, 5, 2)
    torch.testing.assert_close(partner_points(points, None), points.flip(0))


def test_the_partner_is_read_where_it_shows_the_same():
    both = values()
    found = partner_view(both, MOVED, HW, outside=7.0)
    torch.testing.assert_close(found[0, :, :7, :10], both[1, :, 1:, 2:])
    torch.testing.assert_close(found[1, :, 1:, 2:], both[0, :, :7, :10])
    assert (found[0, :, 7] == 7).all() and (found[0, :, :, 10:] == 7).all()
    assert (found[1, :, 0] == 7).all() and (found[1, :, :, :2] == 7).all()


def test_images_are_read_by_the_motion_of_cells():
    images = torch.rand(2, 3, 32, 48)  # four pixels to a cell
    found = partner_view(images, MOVED, HW)
    torch.testing.assert_close(found[0, :, :28, :40], images[1, :, 4:, 8:])
    seen = partner_seen(MOVED, HW, (32, 48))
    assert seen[0, 0, :28, :40].all() and not seen[0, 0, 28:].any()
    assert seen[1, 0, 4:, 8:].all() and not seen[1, 0, :, :8].any()


def test_points_of_the_partner_are_where_they_would_be_seen():
    points = torch.tensor([[[3.0, 4.0]], [[5.0, 5.0]]])  # the same place of the world
    torch.testing.assert_close(partner_points(points, MOVED), points)


def test_the_flow_of_what_rests_is_from_the_earlier_frame_to_the_later():
    found = camera_flow(MOVED.expand(2, 3, 3), torch.tensor([True, False]), HW)
    assert found[0, :, 3, 4].tolist() == [2.0, 1.0]
    assert found[1, :, 3, 4].tolist() == [-2.0, -1.0]


def test_perspective_is_divided_out():
    # one cell more depth for each cell to the right: at column 3, twice as deep and half as far
    deep = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [1 / 3, 0, 1]]])
    found = partner_positions(deep, HW)
    torch.testing.assert_close(found[0, 4, 3], torch.tensor([1.5, 2.0]))


def test_what_only_the_camera_moved_weighs_as_still():
    world = torch.rand(1, 3, 40, 64) * 2 - 1
    first, second = world[..., 4:36, 8:56], world[..., :32, :48]

    class Frames(PairBatch):
        hw = HW

    still = pair_weight(Frames(None, first, second, {'registration': MOVED}), 0.3)
    inside = torch.zeros(2, 1, 32, 48, dtype=torch.bool)
    inside[0, :, 2:26, 2:38] = inside[1, :, 6:30, 10:46] = True  # beyond the blur
    torch.testing.assert_close(
        still[inside], torch.full_like(still[inside], 0.3), atol=0.01, rtol=0
    )
    assert (still[0, 0, 28:] == 0).all()  # the second frame does not show it
    assert pair_weight(Frames(None, first, second), 0.3)[inside].mean() > 0.8
