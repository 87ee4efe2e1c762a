"""The demo's camera keeps to its rate, as a camera does."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from keypoint_perception.frames.frame import Frame
import numpy as np


class Clock:
    """Time that goes on only where somebody sleeps or works."""

    def __init__(self):
        self.now_s = 100.0

    def monotonic(self):
        return self.now_s

    def monotonic_ns(self):
        return round(self.now_s * 1e9)

    def sleep(self, seconds):
        self.now_s += seconds


def test_a_late_image_is_followed_at_the_rate_and_not_at_once(ros_domain, monkeypatch):
    from demo import replay

    clock, published = Clock(), []
    monkeypatch.setattr(replay, 'time', clock)
    publisher = SimpleNamespace(publish=lambda message: published.append(clock.now_s))
    camera = replay.Camera(publisher, 10.0)
    frame = Frame(5, '', 'recording', np.zeros((2, 2, 3), np.uint8))
    camera.show(frame)
    clock.now_s += 0.35  # the recording could not be read faster
    for _ in range(3):
        camera.show(frame)
    np.testing.assert_allclose(published, [100.0, 100.35, 100.45, 100.55])
