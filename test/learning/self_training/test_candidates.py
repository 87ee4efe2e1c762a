"""Candidates of frames, once each, and where they go."""

from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.self_training import candidates as module
from keypoint_perception.learning.self_training.candidates import Candidates
import numpy as np
import pytest
import torch

CONFIG = TrainConfig('self_training')


def with_detector(name):
    return TrainConfig('self_training', {'detector': name})


def test_candidates_follow_what_moves(moving):
    # 1 px a frame along x and none along y
    found = Candidates(moving, CONFIG).take(np.array([[0, 5, 0], [4, 1, 9]]))
    assert {name: tuple(t.shape) for name, t in found.items()} == {
        'candidates0': (3, 64, 2), 'candidates1': (3, 64, 2), 'followed': (3, 64, 2),
    }  # fmt: skip
    known = found['followed'].isfinite().all(dim=-1)
    there = found['candidates0'].isfinite().all(dim=-1)
    assert (known & ~there).sum() == 0
    assert known[0].sum() > 0.5 * there[0].sum() > 5
    went = found['followed'] - found['candidates0']
    torch.testing.assert_close(
        went[0][known[0]].median(dim=0).values, torch.tensor([4.0, 0.0]), atol=0.2, rtol=0
    )
    # backwards in time
    torch.testing.assert_close(
        went[1][known[1]].median(dim=0).values, torch.tensor([-4.0, 0.0]), atol=0.2, rtol=0
    )
    # in another episode
    assert not known[2].any()


def test_a_chain_that_does_not_return_is_unknown(moving, monkeypatch):
    candidates = Candidates(moving, CONFIG)
    shift = torch.tensor([5.0, 0.0])

    def follow(points, frames, longest_s):
        assert longest_s == 2.0
        back = float(frames[0, 0] == 4)
        # the second point comes back 1.4 px, more than 1.2 % of 96, beside its start
        off = torch.tensor([[0.0, 0.0], [1.4 * back, 0.0], [1.0 * back, 0.0]])
        return points[:, :3] + shift * (-1 if back else 1) + off

    monkeypatch.setattr(candidates._flows, 'follow', follow)
    points = torch.tensor([[[20.0, 20.0], [40.0, 20.0], [60.0, 20.0]]])
    found = candidates._follow(points, np.array([[0], [4]]))
    assert found.isfinite().all(dim=-1).tolist() == [[True, False, True]]
    torch.testing.assert_close(found[0, 0], torch.tensor([25.0, 20.0]))


def test_a_frame_is_looked_at_once(moving, monkeypatch):
    seen = []
    monkeypatch.setitem(
        module.DETECTORS,
        'corners',
        lambda images: lambda image: seen.append(1) or np.zeros((64, 96), np.float32),
    )
    candidates = Candidates(moving, CONFIG)
    for _ in range(2):
        found = candidates.take(np.array([[0, 1], [1, 2]]))
    assert len(seen) == 3
    assert found['candidates0'].isnan().all()


@pytest.mark.parametrize('name', [n for n in module.DETECTORS if n != 'xfeat'])
def test_every_detector_finds_a_textured_scene(moving, name):
    found = Candidates(moving, with_detector(name)).take(np.array([[0], [2]]))['candidates0'][0]
    assert len(found) == (128 if name == 'describe' else 64)
    points = found[found.isfinite().all(dim=-1)]
    assert len(points) > 8
    away = torch.cdist(points, points) + 99 * torch.eye(len(points))
    assert away.min() > 1.9
    assert (points >= 1.5).all() and (points <= torch.tensor([93.5, 61.5])).all()


def test_the_choices_of_the_setting_are_the_detectors():
    from keypoint_perception.learning.objectives.self_training import DETECTORS

    assert tuple(module.DETECTORS) == DETECTORS


def test_the_settings_of_self_training_among_several(moving):
    config = TrainConfig(
        ['equivariance', {'name': 'self_training', 'settings': {'detector': 'describe'}}]
    )
    assert Candidates(moving, config).take(np.array([[0], [2]]))['followed'].shape[1] == 128
    assert isinstance(config.parts[1].settings.detector, str)
