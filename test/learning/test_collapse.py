"""Collapse has a sentence for each of its forms."""

from keypoint_perception.learning.collapse import check_collapse
import pytest
import torch

FRAMES = torch.zeros(10, 60, 80, 3, dtype=torch.uint8)  # the diagonal is 100 px
ONE = torch.zeros(10)  # all frames are of one scene


class Fixed(torch.nn.Module):
    """A network with given keypoints."""

    def __init__(self, uv):
        super().__init__()
        self.uv = uv

    def forward(self, images):
        return torch.cat([self.uv, torch.full((*self.uv.shape[:2], 1), 0.5)], dim=-1)


def moving(count):
    uv = torch.zeros(10, count, 2)
    uv[..., 0] = torch.arange(10.0)[:, None] * 4
    return uv


def test_points_in_one_place():
    health = check_collapse(
        Fixed(moving(3) + torch.tensor([[0.0, 0], [1, 0], [0, 1]])), FRAMES, ONE
    )
    # the two outer ones are sqrt(2) px apart
    assert health.extent == pytest.approx(0.01414, abs=1e-5)
    assert health.complaint.startswith('All 3 keypoints lie in one place (within 1.4 %')


def test_dead_points():
    apart = torch.tensor([[0.0, 0], [30, 0], [0, 30]]).expand(10, 3, 2)
    health = check_collapse(Fixed(apart), FRAMES, ONE)
    assert health.moving == 0
    assert health.complaint.startswith('None of the 3 keypoints moves')


def test_points_that_differ_between_scenes_are_dead_in_each():
    scene = torch.arange(10) % 2
    apart = torch.tensor([[0.0, 0], [30, 0], [0, 30]]) + 10 * scene[:, None, None]
    assert check_collapse(Fixed(apart), FRAMES, scene).moving == 0
    assert check_collapse(Fixed(apart), FRAMES, ONE).moving == 3


def test_healthy_points():
    apart = torch.tensor([[0.0, 0], [30, 0], [0, 30]])
    health = check_collapse(
        Fixed(moving(3) * torch.tensor([[1.0], [0], [1]]) + apart), FRAMES, ONE
    )
    assert (health.moving, health.complaint, health.confidence) == (2, None, 0.5)


def test_one_keypoint_is_not_a_collapse():
    assert check_collapse(Fixed(moving(1)), FRAMES, ONE).complaint is None
