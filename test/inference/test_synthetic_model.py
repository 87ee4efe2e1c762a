"""The network that needs no learning answers keypoints, and names them where it is told to."""

import pytest

pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')

from keypoint_perception.inference.engine import load_engine
from keypoint_perception.inference.synthetic_model import write_synthetic_model
import numpy as np


def test_named_points_are_the_first_keypoints(tmp_path):
    edges = ((0, 2, 1.0),)
    write_synthetic_model(
        tmp_path, keypoints=3, input_hw=(8, 12), landmark_names='ab', skeleton=edges
    )
    engine = load_engine(tmp_path, 'onnxruntime', threads=1)
    assert (engine.landmark_names, engine.skeleton) == (('a', 'b'), edges)
    images = np.zeros((1, 8, 12, 3), np.uint8)
    images[0, 5, 7] = 255
    keypoints, landmarks = engine.run_with_landmarks(images)
    np.testing.assert_allclose(keypoints[0], [[7, 5, 1], [8, 5, 1], [9, 5, 1]])
    np.testing.assert_array_equal(landmarks, keypoints[:, :2])
    engine.close()


def test_a_slow_network_answers_the_same(tmp_path):
    images = np.zeros((2, 8, 12, 3), np.uint8)
    images[0, 5, 7], images[1, 2, 3] = 255, 51
    found = []
    for products in (0, 2):
        write_synthetic_model(tmp_path / str(products), input_hw=(8, 12), products=products)
        engine = load_engine(tmp_path / str(products), 'onnxruntime', threads=1)
        found.append(engine.run(images))
        engine.close()
    np.testing.assert_allclose(*found)
    np.testing.assert_allclose(found[1][:, 0], [[7, 5, 1], [3, 2, 0.2]])
