"""
An untrained model directory whose network finds the brightest pixel, for tests and benchmarks.

Keypoint k is k network pixels to the right of the brightest pixel, with that pixel's brightness as
confidence. Its landmarks, if any, are its first keypoints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keypoint_perception.errors import EngineError
from keypoint_perception.manifest import Manifest, write_manifest
from keypoint_perception.model_directory import ONNX_NAME
import numpy as np

# Of ONNX Runtime 1.17, the oldest version supported.
IR_VERSION = 9
OPSET = 17
FLOAT = 1  # onnx.TensorProto.FLOAT
SIDE = 512

# Operator, inputs separated by spaces, output, attributes.
Node = tuple[str, str, str, dict[str, Any]]

BRIGHTEST_PIXEL: list[Node] = [
    ('Cast', 'image', 'float_image', {'to': FLOAT}),
    ('ReduceSum', 'float_image colours', 'grey', {'keepdims': 0}),
    ('Reshape', 'grey pixels', 'flat', {}),
    ('ArgMax', 'flat', 'index', {'axis': 1, 'keepdims': 1}),
    ('Mod', 'index columns', 'column', {}),
    ('Div', 'index columns', 'row', {}),
    ('Cast', 'column', 'u', {'to': FLOAT}),
    ('Cast', 'row', 'v', {'to': FLOAT}),
    ('ReduceMax', 'flat', 'peak', {'axes': [1], 'keepdims': 1}),
    ('Div', 'peak white', 'brightness', {}),
]
KEYPOINTS: list[Node] = [
    ('Concat', 'u v confidence', 'point', {'axis': 1}),
    ('Unsqueeze', 'point one', 'points', {}),
    ('Add', 'points offsets', 'keypoints', {}),
]


def write_synthetic_model(
    model_dir: Path,
    *,
    keypoints: int = 4,
    input_hw: tuple[int, int] = (96, 128),
    nan_keypoints: tuple[int, ...] = (),
    landmark_names: tuple[str, ...] = (),
    skeleton: tuple[tuple[int, int, float], ...] = (),
    products: int = 0,
) -> Manifest:
    """
    Write a model directory.

    :param nan_keypoints: keypoints that are NaN, as in a network that has diverged
    :param landmark_names: landmarks at the first keypoints
    :param skeleton: edges between keypoints
    :param products: number of products of the confidence with a 512 x 512 identity matrix, which
        slow the network down by a few milliseconds each
    :raises EngineError: if the package ``onnx`` is not installed
    """
    offsets = np.zeros((1, keypoints, 3), np.float32)
    offsets[0, :, 0] = np.arange(keypoints)
    offsets[0, list(nan_keypoints)] = np.nan
    manifest = Manifest(
        tuple(f'kp{k}' for k in range(keypoints)),
        input_hw,
        objective='none',
        network='brightest pixel',
        landmark_names=tuple(landmark_names),
        skeleton=tuple(skeleton),
    )
    constants: dict[str, np.ndarray] = {
        'colours': np.array([3], np.int64),
        'pixels': np.array([0, -1], np.int64),
        'columns': np.array(input_hw[1], np.int64),
        'one': np.array([1], np.int64),
        'white': np.array(3 * 255, np.float32),
        'offsets': offsets,
    }
    nodes = [*BRIGHTEST_PIXEL, *_multiply(products), *KEYPOINTS]
    if landmark_names:
        nodes.append(('Gather', 'keypoints first', 'landmarks', {'axis': 1}))
        constants['first'] = np.arange(len(landmark_names))
    if products:
        constants['unit'] = np.eye(SIDE, dtype=np.float32)
    return write_untrained(model_dir, manifest, nodes, constants)


def _multiply(products: int) -> list[Node]:
    """Return slow nodes that set the confidence to the brightness."""
    if not products:
        return [('Identity', 'brightness', 'confidence', {})]
    return [
        ('Unsqueeze', 'brightness one', 'number', {}),
        ('Mul', 'number unit', 'product0', {}),
        *(('MatMul', f'product{i} unit', f'product{i + 1}', {}) for i in range(products)),
        ('ReduceMax', f'product{products}', 'largest', {'axes': [2], 'keepdims': 0}),
        ('ReduceMax', 'largest', 'confidence', {'axes': [1], 'keepdims': 1}),
    ]


def write_untrained(
    model_dir: Path, manifest: Manifest, nodes: list[Node], constants: dict[str, np.ndarray]
) -> Manifest:
    """
    Write a model directory with a network of the given nodes and constants.

    :raises EngineError: if the package ``onnx`` is not installed
    """
    try:
        import onnx
        from onnx import helper
    except ImportError as error:
        msg = (
            f'The package onnx, which writes a synthetic model, is not installed ({error}); '
            'install it with `pip install onnx`, or give a model directory.'
        )
        raise EngineError(msg) from error
    value, types = helper.make_tensor_value_info, onnx.TensorProto
    points = {'keypoints': manifest.keypoint_names, 'landmarks': manifest.landmark_names}
    graph = helper.make_graph(
        [helper.make_node(kind, reads.split(), [out], **more) for kind, reads, out, more in nodes],
        'synthetic',
        [value('image', types.UINT8, ['N', *manifest.input_hw, 3])],
        [value(n, types.FLOAT, ['N', len(names), 3]) for n, names in points.items() if names],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = helper.make_opsetid('', OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    model_dir = Path(model_dir)
    model_dir.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(model_dir / ONNX_NAME))
    return write_manifest(model_dir, manifest, files=[ONNX_NAME])
