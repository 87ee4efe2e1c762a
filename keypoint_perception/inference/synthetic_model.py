"""
An untrained model directory whose network finds the brightest pixel, for tests and benchmarks.

Keypoint k is k network pixels to the right of the brightest pixel, with that pixel's brightness as
confidence. Its landmarks, if any, are its first keypoints.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from keypoint_perception.errors import EngineError
from keypoint_perception.manifest import Manifest, write_manifest
from keypoint_perception.model_directory import ONNX_NAME
import numpy as np

# Of ONNX Runtime 1.17, the oldest version supported.
IR_VERSION = 9
OPSET = 17
SIDE = 512


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

    def make(onnx: ModuleType) -> Any:
        return _brightest_pixel(onnx, input_hw, offsets, len(landmark_names), products)

    return write_untrained(model_dir, make, manifest)


def write_untrained(
    model_dir: Path, make: Callable[[ModuleType], Any], manifest: Manifest
) -> Manifest:
    """
    Write a model directory with a network that ``make`` creates with the package ``onnx``.

    :raises EngineError: if it is not installed
    """
    try:
        import onnx
    except ImportError as error:
        msg = (
            f'The package onnx, which writes a synthetic model, is not installed ({error}); '
            'install it with `pip install onnx`, or give a model directory.'
        )
        raise EngineError(msg) from error
    model_dir = Path(model_dir)
    model_dir.mkdir(parents=True, exist_ok=True)
    onnx.save(make(onnx), str(model_dir / ONNX_NAME))
    return write_manifest(model_dir, manifest, files=[ONNX_NAME])


def _brightest_pixel(
    onnx: ModuleType, input_hw: tuple[int, int], offsets: np.ndarray, landmarks: int, products: int
) -> Any:
    node, types = onnx.helper.make_node, onnx.TensorProto
    constants = {
        'colours': np.array([3], np.int64),
        'pixels': np.array([0, -1], np.int64),
        'columns': np.array(input_hw[1], np.int64),
        'one': np.array([1], np.int64),
        'white': np.array(3 * 255, np.float32),
        'offsets': offsets,
        'first': np.arange(landmarks),
    }
    nodes = [
        node('Cast', ['image'], ['float_image'], to=types.FLOAT),
        node('ReduceSum', ['float_image', 'colours'], ['grey'], keepdims=0),
        node('Reshape', ['grey', 'pixels'], ['flat']),
        node('ArgMax', ['flat'], ['index'], axis=1, keepdims=1),
        node('Mod', ['index', 'columns'], ['column']),
        node('Div', ['index', 'columns'], ['row']),
        node('Cast', ['column'], ['u'], to=types.FLOAT),
        node('Cast', ['row'], ['v'], to=types.FLOAT),
        node('ReduceMax', ['flat'], ['peak'], axes=[1], keepdims=1),
        node('Div', ['peak', 'white'], ['brightness']),
        *_multiply(node, products),
        node('Concat', ['u', 'v', 'confidence'], ['point'], axis=1),
        node('Unsqueeze', ['point', 'one'], ['points']),
        node('Add', ['points', 'offsets'], ['keypoints']),
    ]
    value = onnx.helper.make_tensor_value_info
    outputs = [value('keypoints', types.FLOAT, ['N', offsets.shape[1], 3])]
    if landmarks:
        nodes.append(node('Gather', ['keypoints', 'first'], ['landmarks'], axis=1))
        outputs.append(value('landmarks', types.FLOAT, ['N', landmarks, 3]))
    else:
        del constants['first']
    if products:
        constants['unit'] = np.eye(SIDE, dtype=np.float32)
    graph = onnx.helper.make_graph(
        nodes,
        'brightest_pixel',
        [value('image', types.UINT8, ['N', *input_hw, 3])],
        outputs,
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = onnx.helper.make_opsetid('', OPSET)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def _multiply(node: Callable[..., Any], products: int) -> list[Any]:
    """Return slow nodes that set the confidence to the brightness."""
    if not products:
        return [node('Identity', ['brightness'], ['confidence'])]
    return [
        node('Unsqueeze', ['brightness', 'one'], ['number']),
        node('Mul', ['number', 'unit'], ['product0']),
        *(node('MatMul', [f'product{i}', 'unit'], [f'product{i + 1}']) for i in range(products)),
        node('ReduceMax', [f'product{products}'], ['largest'], axes=[2], keepdims=0),
        node('ReduceMax', ['largest'], ['confidence'], axes=[1], keepdims=1),
    ]
