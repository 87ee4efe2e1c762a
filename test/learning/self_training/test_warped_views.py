"""Candidates go with the warps of their views."""

from keypoint_perception.learning.data.warps import WarpConfig
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.learning.self_training.warped_views import draw_views, Views
import pytest
import torch

NAN = torch.nan
HW = (64, 96)
STILL = WarpConfig(angle=0, scale=0, shift=0, bend=0)
WARPS = WarpConfig(angle=180, scale=0.3, shift=0.1, bend=0.04)


def dot(x, y):
    """Return an image (3, 64, 96) that is bright around a pixel."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing='ij')
    square = (columns - x) ** 2 + (rows - y) ** 2
    return (2 * torch.exp(-square / 18) - 1).expand(3, -1, -1)


@pytest.fixture
def batch():
    """Two pairs; the dot of the first goes from (40, 30) to (50, 34), the other is lost."""
    extra = {
        'candidates0': torch.tensor([[[40.0, 30.0], [NAN, NAN]], [[20.0, 20.0], [60.0, 40.0]]]),
        'candidates1': torch.tensor([[[70.0, 10.0], [50.0, 34.0]], [[NAN, NAN], [NAN, NAN]]]),
        'followed': torch.tensor([[[50.0, 34.0], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]]),
    }
    first, second = torch.stack([dot(40, 30)] * 2), torch.stack([dot(50, 34)] * 2)
    return PairBatch(None, first, second, extra)


def test_without_warps_views_are_the_frames(batch):
    views = draw_views(batch, STILL, 0.0, same=0.0)
    torch.testing.assert_close(views.images, batch.images)
    torch.testing.assert_close(views.xy, views.frame_xy, equal_nan=True)
    # the middle of a pixel is half a pixel from the corner
    torch.testing.assert_close(views.xy[0, 0], torch.tensor([40.5 / 96, 30.5 / 96]))
    torch.testing.assert_close(views.partner[0, 0], torch.tensor([50.5 / 96, 34.5 / 96]))
    assert views.links().tolist() == [[1, -1], [-1, -1]]


def test_both_views_may_be_of_the_first_frame(batch):
    views = draw_views(batch, STILL, 0.0, same=1.0)
    torch.testing.assert_close(views.images, batch.image0.repeat(2, 1, 1, 1))
    assert views.links().tolist() == [[0, -1], [0, 1]]


def test_candidates_stay_on_what_they_show(batch):
    torch.manual_seed(0)
    found = 0
    for _ in range(10):
        views = draw_views(batch, WARPS, 0.0, same=0.0)
        for image, xy in (
            (views.images[0], views.xy[0, 0]),
            (views.images[2], views.partner[0, 0]),
        ):
            if xy.isfinite().all():
                column, row = (xy * 96 - 0.5).round().long().tolist()
                assert image[0, row, column] > 0.6
                found += 1
            else:
                assert image.max() < 0.9  # it has left the view
    assert found > 10
    assert (views.places >= 0).all() and (views.places <= torch.tensor([1, 64 / 96])).all()


def test_some_of_the_candidates():
    xy, partner = torch.rand(2, 3, 2), torch.rand(1, 3, 2)
    views = Views(torch.zeros(2, 3, 8, 8), xy, partner, torch.rand(2, 4, 2), xy + 1)
    some = views.only(torch.tensor([[2, 0], [1, 1]]))
    torch.testing.assert_close(some.xy, torch.stack([xy[0, [2, 0]], xy[1, [1, 1]]]))
    torch.testing.assert_close(some.partner, partner[:, [2, 0]])
    torch.testing.assert_close(some.frame_xy, some.xy + 1)
