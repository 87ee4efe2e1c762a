"""
An untrained model directory whose network has the operators of trained ones, to check a GPU.

It has convolution, norm, pooling, softmax and a read-out that varies smoothly with the image, so
that libraries that add in different orders agree. Its keypoints are meaningless.
"""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.inference.synthetic_model import FLOAT, Node, write_untrained
from keypoint_perception.manifest import Manifest
import numpy as np

STRIDE = 8
CHANNELS = 32
GROUPS = 4
# Scales the logits so that each map has one peak.
SHARPNESS = 20.0

NODES: list[Node] = [
    ('Cast', 'image', 'float_image', {'to': FLOAT}),
    ('Transpose', 'float_image', 'planes', {'perm': [0, 3, 1, 2]}),
    ('Div', 'planes white', 'pixels', {}),
    ('Conv', 'pixels fold', 'folded', {'strides': [STRIDE, STRIDE]}),
    ('Reshape', 'folded groups', 'grouped', {}),
    ('InstanceNormalization', 'grouped ones zeros', 'even', {'epsilon': 1e-5}),
    ('Reshape', 'even maps', 'normed', {}),
    ('Relu', 'normed', 'active', {}),
    ('Conv', 'active mix', 'mixed', {'pads': [1, 1, 1, 1]}),
    ('MaxPool', 'mixed', 'pooled', {'kernel_shape': [2, 2], 'strides': [2, 2]}),
    ('Conv', 'pooled head', 'logits', {}),
    ('Reshape', 'logits cells', 'flat', {}),
    ('Softmax', 'flat', 'maps_', {'axis': -1}),
    ('MatMul', 'maps_ places', 'uv', {}),
    ('ReduceMax', 'maps_', 'peak', {'axes': [2], 'keepdims': 1}),
    ('Concat', 'uv peak', 'keypoints', {'axis': -1}),
]


def write_synthetic_gpu_model(
    model_dir: Path, *, keypoints: int = 8, input_hw: tuple[int, int] = (96, 128)
) -> Manifest:
    """
    Write a model directory.

    :param input_hw: multiples of 16, px
    :raises EngineError: if the package ``onnx`` is not installed
    """
    names = tuple(f'kp{k}' for k in range(keypoints))
    manifest = Manifest(names, input_hw, objective='none', network='synthetic GPU check')
    return write_untrained(model_dir, manifest, NODES, _constants(keypoints, input_hw))


def _constants(keypoints: int, input_hw: tuple[int, int]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    height, width = (side // (2 * STRIDE) for side in input_hw)
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    cells = np.stack([x, y], axis=1) * 2.0 * STRIDE + STRIDE - 0.5

    def weights(*shape: int) -> np.ndarray:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        values: np.ndarray = (random.standard_normal(shape) * scale).astype(np.float32)
        return values

    return {
        'white': np.array(255.0, np.float32),
        'fold': weights(CHANNELS, 3, STRIDE, STRIDE),
        'mix': weights(CHANNELS, CHANNELS, 3, 3),
        'head': weights(keypoints, CHANNELS, 1, 1) * np.float32(SHARPNESS),
        'groups': np.array([0, GROUPS, -1], np.int64),
        'ones': np.ones(GROUPS, np.float32),
        'zeros': np.zeros(GROUPS, np.float32),
        'maps': np.array([-1, CHANNELS, 2 * height, 2 * width], np.int64),
        'cells': np.array([0, keypoints, -1], np.int64),
        'places': cells.astype(np.float32),
    }
