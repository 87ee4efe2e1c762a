"""Labels are carried by the flow to frames near them, where they come back to themselves."""

from types import SimpleNamespace

from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data import carried_labels
from keypoint_perception.learning.data.carried_labels import CarriedLabels
import numpy as np
import pytest
import torch

FRAME_NS = 33_333_333


@pytest.fixture
def carry(tmp_path):
    """Return a function that carries the labels of frames, (frame, name, u, v)."""

    def carry(store, *rows):
        path = tmp_path / 'labels.csv'
        lines = [f'{store.stamps_ns[frame]},{name},{u},{v}' for frame, name, u, v in rows]
        path.write_text('\n'.join(['stamp_ns,keypoint,u,v', *lines]) + '\n')
        return CarriedLabels(
            store, TrainConfig(objective='semi_supervised', annotations=str(path))
        )

    return carry


def test_labels_go_with_the_flow_before_and_after(moving_store, carry):
    labels = carry(moving_store, (2, 'mark', 40.0, 30.0), (8, 'mark', 50.0, 20.0))
    assert labels.frames.tolist() == [2, 8]
    expected = np.array([[38.0, 30], [39, 30], [np.nan] * 2, [41, 30], [42, 30], [43, 30]])
    expected = np.concatenate([expected, expected + np.array([10, -10])])
    np.testing.assert_allclose(labels.carried[:, 0], expected, atol=0.3)
    found = labels.take(np.array([[2, 1], [3, 8]]))
    assert found.keys() == {'labels0', 'labels1', 'carried0', 'carried1'}
    np.testing.assert_array_equal(found['carried0'], labels.carried[[2, 1]])
    np.testing.assert_array_equal(found['carried1'], labels.carried[[3, 8]])
    np.testing.assert_array_equal(found['labels0'], labels.uv[[2, 1]])


def test_each_point_comes_from_its_nearest_label(moving_store, carry):
    """Frame 1 is nearer to frame 0, frames 2 and 3 to frame 4; the labels do not fit together."""
    labels = carry(
        moving_store, (0, 'mark', 40.0, 30.0), (4, 'mark', 60.0, 40.0), (4, 'post', 20.0, 9.0)
    )
    np.testing.assert_allclose(labels.carried[1, 0], (41, 30), atol=0.3)
    np.testing.assert_allclose(labels.carried[3, 0], (59, 40), atol=0.3)
    # what is not labelled in a labelled frame is carried there too
    assert np.isnan(labels.carried[[0, 4], 0]).all()
    np.testing.assert_allclose(labels.carried[0, 1], (16, 9), atol=0.3)
    assert np.isnan(labels.carried[4, 1]).all()


def test_what_does_not_come_back_is_not_carried(moving_store, carry, monkeypatch):
    def follow(self, points, frames):
        # backwards in time, two points come back half and twice as far off as allowed
        wrong = torch.tensor([[0.48, 0.0], [1.92, 0.0]])
        return points + (frames[1] < frames[0]).max() * wrong

    monkeypatch.setattr(carried_labels.Flows, 'follow', follow)
    labels = carry(moving_store, (0, 'a', 40.0, 30.0), (0, 'b', 50.0, 30.0), (11, 'a', 9.0, 9.0))
    assert np.isfinite(labels.carried[1, 0]).all()
    assert np.isnan(labels.carried[1, 1]).all()


@pytest.mark.parametrize('other', ['camera', 'source'])
def test_labels_are_not_carried_to_another_camera_or_recording(other):
    zeros = np.zeros(8)
    frames = SimpleNamespace(stamps_ns=np.arange(8) * FRAME_NS, source=zeros, camera=zeros)
    vars(frames)[other] = np.array([0, 1] * 4)
    assert sorted(carried_labels._near(frames, 4)) == [0, 2, 6]
    assert sorted(carried_labels._near(frames, 1)) == [3, 5, 7]


@pytest.mark.parametrize(
    ('longest_s', 'most', 'expected'),
    [
        (0.07, 8, [-2, -1, 1, 2]),
        (0.5, 3, [-15, -8, -1, 1, 8, 15]),
        (0.001, 8, [-1, 1]),  # one frame at least
    ],
)
def test_frames_near_a_label_are_few_and_spread(monkeypatch, longest_s, most, expected):
    monkeypatch.setattr(carried_labels, 'LONGEST_S', longest_s)
    monkeypatch.setattr(carried_labels, 'MOST_FRAMES', most)
    zeros = np.zeros(41, int)
    frames = SimpleNamespace(stamps_ns=np.arange(41) * FRAME_NS, source=zeros, camera=zeros)
    assert sorted(carried_labels._near(frames, 20) - 20) == expected
    assert sorted(carried_labels._near(frames, 0)) == expected[len(expected) // 2 :]
