"""A camera that stands where it stood is told from one that has been moved."""

from keypoint_perception.learning.data.views import relight, same_view
import pytest
import torch


@pytest.fixture(scope='module')
def scene(texture):
    """An image in [-1, 1], (3, 128, 160)."""
    return torch.from_numpy(texture).permute(2, 0, 1) / 127.5 - 1


def test_a_view_in_other_light_with_things_elsewhere_is_the_same(scene):
    other = (0.7 * scene - 0.1).clone()
    other[:, 20:60, 30:80] = 0.9
    other[:, 90:110, 100:130] = -0.9
    relit = relight(other, scene)
    assert same_view(relit, scene)
    untouched = (relit - scene)[:, 64:88, 4:90]
    assert untouched.abs().mean() < 0.02


@pytest.mark.parametrize('shift', [(4, 0), (0, -5), (8, 8), (60, 40)])
def test_a_view_of_a_camera_that_has_been_moved_is_another(scene, shift):
    other = scene.roll(shift, dims=(1, 2))
    assert not same_view(relight(other, scene), scene)
