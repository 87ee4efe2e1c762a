"""The simulated arm moves and is seen as its description says."""

from __future__ import annotations

from examples.arm import Camera
import numpy as np
import pytest


def test_the_camera_projects_as_a_pinhole_does():
    # looks along +x of the world from the origin: y is to the left, z is up
    camera = Camera(eye=(0, 0, 0), target=(1, 0, 0), fov_deg=90.0, size=(320, 240))
    # half the height is seen at 45 degrees, so that the focal length is 120 px
    assert camera.focal_px == pytest.approx(120.0)
    np.testing.assert_allclose(camera.to_optical((2.0, -0.5, 0.25)), (0.5, -0.25, 2.0))
    # the middle of 320 columns is between 159 and 160
    assert camera.project((2.0, -0.5, 0.25)) == pytest.approx((159.5 + 30, 119.5 - 15))


@pytest.fixture
def arm():
    pytest.importorskip('pybullet', reason='PyBullet is not installed: extra `examples`')
    from examples.arm import Arm

    arm = Arm()
    yield arm
    arm.close()


def test_joints_are_those_of_the_description(arm):
    assert arm.names == ('shoulder', 'elbow', 'wrist')
    np.testing.assert_allclose(arm.limits, [[-1.7, 0.8], [0.35, 2.1], [-1.2, 1.2]])
    np.testing.assert_allclose(arm.joints, [-0.45, 1.225, 0.0])


@pytest.mark.parametrize('joints', [(0.0, 0.35, 0.0), (-1.0, 1.5, 0.7), (0.8, 2.1, -1.2)])
def test_the_tip_is_where_the_lengths_put_it(arm, joints):
    arm.place(np.array(joints))
    first, second, third = np.cumsum(joints)
    x = 0.24 * np.cos(first) + 0.20 * np.cos(second) + 0.14 * np.cos(third)
    y = 0.24 * np.sin(first) + 0.20 * np.sin(second) + 0.14 * np.sin(third)
    np.testing.assert_allclose(arm.tip, (x, y, 0.10 + 0.042 + 0.036), atol=1e-6)


@pytest.mark.parametrize('joints', [(0.0, 0.5, 0.3), (-1.2, 1.5, -0.7)])
def test_the_ball_is_seen_where_the_tip_is_projected(arm, joints):
    arm.place(np.array(joints))
    picture = arm.picture().astype(int)
    assert picture.shape == (240, 320, 3)
    red = picture[..., 0] > 2.5 * picture[..., 1:].max(axis=-1)
    v, u = np.nonzero(red)
    assert len(u) > 80
    # the hand hides a little of the ball, whose radius is some 9 px
    np.testing.assert_allclose((u.mean(), v.mean()), arm.camera.project(arm.tip), atol=2.5)


def test_motors_bring_the_joints_to_their_goal_within_the_limits(arm):
    arm.command(np.array([0.3, 5.0, -0.5]))
    arm.advance(0.05)
    assert 0.05 < abs(arm.joints[0] + 0.45) < 0.16, 'at most 3 rad/s'
    arm.advance(2.0)
    np.testing.assert_allclose(arm.joints, [0.3, 2.1, -0.5], atol=0.01)


def test_a_missing_simulator_is_said(monkeypatch):
    import sys

    from examples.arm import Arm, SimulatorError

    monkeypatch.setitem(sys.modules, 'pybullet', None)
    with pytest.raises(SimulatorError, match=r'PyBullet cannot be imported .* `pip install -e'):
        Arm()
