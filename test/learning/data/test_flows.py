"""Flow is chained from frame to frame, within an episode, and unknown where it fails."""

from types import SimpleNamespace

from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.flows import Flows
import numpy as np
import pytest
import torch


@pytest.mark.parametrize('later', [2, 3, 4, 5])
def test_flow_in_pixels_along_x_and_y(moving, later):
    # 1 px a frame along x and none along y; a hop is two frames, the last one may be one
    found = Flows(moving, TrainConfig()).take(np.array([[0, 6 + later], [later, 6]]))
    assert found['flow'].shape == (2, 2, 8, 12)
    assert found['forward'].tolist() == [True, False]
    inner = found['flow'][:, :, 1:-1, 1:-1]
    # of the earlier frame until the later one, whichever comes first
    for pair in inner:
        assert pair[0].nanmedian().item() == pytest.approx(later, abs=0.2)
        assert pair[1].nanmedian().item() == pytest.approx(0.0, abs=0.2)


def test_a_hop_begins_where_the_last_one_led(moving, monkeypatch):
    flows = Flows(moving, TrainConfig())
    hop = np.zeros((2, 16, 24, 2), np.float16)
    hop[0, ..., 0] = 16.0
    hop[1, :, 12:, 1] = 5.0  # from the 48th column on
    monkeypatch.setattr(flows, '_flow', lambda here, there: hop[here // 2])
    (found,) = flows.take(np.array([[0], [4]]))['flow']
    torch.testing.assert_close(found[0, :, :10], torch.full((8, 10), 16.0))
    # cells begin at 3.5, 11.5, ...; the fifth goes from 35.5 to 51.5
    torch.testing.assert_close(found[1, 0, :6], torch.tensor([0.0, 0.0, 0.0, 0.0, 5.0, 5.0]))
    # what has left the image is not followed any further
    assert found[:, :, 10:].isnan().all()


def test_frames_far_apart_have_no_flow(moving, monkeypatch):
    monkeypatch.setattr('keypoint_perception.learning.data.flows.LONGEST_S', 0.14)
    found = Flows(moving, TrainConfig()).take(np.array([[0, 0], [5, 4]]))['flow']
    assert found[0].isnan().all()  # three hops
    assert not found[1, :, :, :-1].isnan().any()  # two, but at the border to which all moves


def test_a_recording_slower_than_a_hop_has_flow_between_neighbours(as_store, moving):
    slow = as_store(moving.images[:6], np.arange(6) * 800_000_000)
    found = Flows(slow, TrainConfig()).take(np.array([[0, 0], [1, 2]]))['flow']
    assert found[0, 0].nanmedian().item() == pytest.approx(1.0, abs=0.1)
    assert found[1].isnan().all()


def test_no_flow_from_episode_to_episode(moving):
    found = Flows(moving, TrainConfig()).take(np.array([[5, 4], [6, 5]]))['flow']
    assert found[0].isnan().all()
    assert not found[1].isnan().any()


def test_no_hop_reaches_across_a_dropout(as_store, moving):
    stamps = np.r_[moving.stamps_ns[:3], moving.stamps_ns[3:6] + 1_500_000_000]
    found = Flows(as_store(moving.images[:6], stamps), TrainConfig())
    flow = found.take(np.array([[0, 2, 3], [2, 3, 5]]))['flow']
    assert [bool(pair.isnan().all()) for pair in flow] == [False, True, False]


def test_a_flow_is_computed_once_and_not_all_are_kept(moving, monkeypatch):
    monkeypatch.setattr('keypoint_perception.learning.data.flows.CACHED_HOPS', 2)
    flows = Flows(moving, TrainConfig())
    asked, compute = [], flows._compute
    monkeypatch.setattr(flows, '_compute', lambda *hop: asked.append(hop) or compute(*hop))
    for first, second in ((0, 2), (0, 2), (2, 4), (1, 3), (2, 4), (0, 2)):
        flows.take(np.array([[first], [second]]))
    assert asked == [(0, 2), (2, 4), (1, 3), (0, 2)]


def test_flow_that_does_not_fit_the_picture_is_unknown(as_store, moving):
    # a flash between the two frames: no motion explains it
    images = moving.images.copy()
    images[2] = 255 - images[2]
    changed = as_store(images, moving.stamps_ns)
    found = Flows(changed, TrainConfig()).take(np.array([[0, 0], [2, 4]]))['flow']
    assert found.isnan().float().mean() > 0.5


@pytest.mark.parametrize(('left', 'known'), [(160, True), (30, False)])
def test_flow_is_known_if_it_explains_most_of_the_difference(as_store, monkeypatch, left, known):
    # a bar of two columns goes two to the right, and darkens on its way
    images = np.zeros((2, 64, 96, 3), np.uint8)
    images[0, :, 48:50] = 200
    images[1, :, 50:52] = left
    flows = Flows(as_store(images, [0, 66_666_667]), TrainConfig())
    right = np.zeros((64, 96, 2), np.float32)
    right[..., 0] = 2.0
    monkeypatch.setattr(flows, '_search', SimpleNamespace(calc=lambda *_: right.copy()))
    found = flows._compute(0, 1)
    # over five columns 2 * 40 / 5 = 16 is left of 2 * (200 + 160) / 5 = 144, or else 68 of 92
    assert np.isfinite(found[8, 12]).all() == known
    assert np.isfinite(found[8, 20]).all()  # nothing is there, and nothing differs


def test_points_are_followed_in_both_directions(moving):
    flows = Flows(moving, TrainConfig())
    points = torch.tensor([[[30.0, 30.0], [50.25, 40.5]], [[30.0, 30.0], [torch.nan, torch.nan]]])
    found = flows.follow(points, np.array([[0, 5], [4, 1]]))
    right = torch.tensor([4.0, 0.0])
    torch.testing.assert_close(found[0], points[0] + right, atol=0.3, rtol=0)
    torch.testing.assert_close(found[1, 0], points[1, 0] - right, atol=0.3, rtol=0)
    assert found[1, 1].isnan().all()


def test_points_may_be_followed_for_longer(as_store, moving):
    slow = as_store(moving.images[:6], np.arange(6) * 500_000_000)
    flows, pair = Flows(slow, TrainConfig()), np.array([[0], [4]])
    points = torch.tensor([[[30.0, 30.0]]])
    assert flows.follow(points, pair).isnan().all()
    assert flows.follow(points, pair, longest_s=1.5).isnan().all()
    found = flows.follow(points, pair, longest_s=2.0)[0, 0]
    torch.testing.assert_close(found, torch.tensor([34.0, 30.0]), atol=0.3, rtol=0)
