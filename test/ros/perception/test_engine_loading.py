"""An engine that fails to warm up, or whose points are not finite, is closed and refused."""

from fake_engine import FakeEngine
from keypoint_perception.errors import EngineError
from keypoint_perception.ros.perception.engine_loading import EngineSpec, load_warm
import numpy as np
import pytest


def out_of_memory(images):
    raise RuntimeError(f'no memory for {len(images)}')


def nan_for_white(images):
    """Return points of which the second is lost where the image is white."""
    points = np.zeros((len(images), 3, 3), np.float32)
    points[:, 1, 2] = np.where(images.mean((1, 2, 3)) == 255, np.nan, 1)
    return points


@pytest.mark.parametrize(
    ('answer', 'sentence'),
    [
        (out_of_memory, r"cannot run '.*': RuntimeError: no memory for 1\."),
        (nan_for_white, 'Engine fake returned NaN or infinity for kp1; the network is broken'),
        (lambda images: np.zeros((1, 3, 3)), r'returned shape \(1, 3, 3\), expected \(2, 3, 3\)'),
    ],
)
def test_an_engine_that_fails_to_warm_up_is_closed(tmp_path, answer, sentence):
    engine = FakeEngine(answer)
    with pytest.raises(EngineError, match=sentence):
        load_warm(lambda *_, **__: engine, EngineSpec(str(tmp_path), 'torch', 1), 2)
    assert engine.closed


def test_landmarks_are_checked_too(tmp_path):
    engine = FakeEngine(
        lambda images: np.zeros((len(images), 3, 3), np.float32),
        landmark_names=['ball'],
        landmarks=lambda keypoints: np.full((len(keypoints), 1, 3), np.inf),
    )
    with pytest.raises(EngineError, match='returned NaN or infinity for ball'):
        load_warm(lambda *_, **__: engine, EngineSpec(str(tmp_path), 'torch', 1), 1)
