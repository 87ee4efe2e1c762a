"""
Static int8 quantisation, calibrated on recorded frames.

Convolutions larger than 1 x 1 run in int8; 1 x 1 convolutions, norms, sums, pooling and the
read-out stay in single precision. Scales follow from the range of each map on recorded frames.
They are written into the graph as pairs of QuantizeLinear and DequantizeLinear (QDQ), which
engines fuse into int8 convolutions.

Weights have one scale per output channel and seven bits: without VNNI a CPU adds two products in
sixteen bits, which eight-bit weights overflow. Maps are unsigned by default, so that quantisation
with the lowest zero point includes the preceding ReLU; TensorRT supports signed, symmetric
quantisation only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import logging
from pathlib import Path
import tempfile
from types import ModuleType
from typing import Any

from keypoint_perception.errors import EngineError
from keypoint_perception.landmark_map import Landmarks
from keypoint_perception.model.network import Keypointer
from keypoint_perception.model.onnx_export import write_onnx
import numpy as np

# Scale of the image's pixels, which needs no calibration.
PIXEL_SCALE = {'scale': np.array(1.0, np.float32), 'zero_point': np.array(0, np.uint8)}


def write_quantised(
    network: Keypointer,
    path: Path,
    frames: np.ndarray,
    landmarks: Landmarks | None = None,
    *,
    signed: bool = False,
) -> None:
    """
    Write a network as ONNX with int8 convolutions.

    :param frames: for calibration, (N, H, W, 3) uint8
    :param signed: for TensorRT; ONNX Runtime runs it a little slower and less precisely
    :raises EngineError: if a required package is not installed
    """
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        msg = (
            f'int8 requires the packages onnx and onnxruntime ({error}); install them with '
            '`pip install onnx onnxruntime`.'
        )
        raise EngineError(msg) from error
    with tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
        exact, quantised = Path(directory) / 'exact.onnx', Path(directory) / 'quantised.onnx'
        write_onnx(network, exact, landmarks, kind='int8')
        graph = onnx.load(exact).graph
        pixels = None if signed else _first_input(graph)
        settings: dict[str, Any] = {'ActivationSymmetric': signed, 'WeightSymmetric': True}
        if pixels is not None:
            settings['TensorQuantOverrides'] = {pixels: [PIXEL_SCALE]}
        kinds = quantization.QuantType
        with _quiet():
            quantization.quantize_static(
                str(exact),
                str(quantised),
                _calibration_reader(quantization.CalibrationDataReader, frames),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=['Conv'],
                nodes_to_quantize=_convolutions(graph),
                per_channel=True,
                reduce_range=True,
                activation_type=kinds.QInt8 if signed else kinds.QUInt8,
                weight_type=kinds.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                extra_options=settings,
            )
        model = onnx.load(quantised)
    if pixels is not None:
        _read_pixels_directly(model.graph, pixels)
    if signed:
        _restore_biases(onnx, model.graph)
    del model.graph.value_info[:]  # outdated types of maps that are int8 now
    onnx.save(model, str(path))


def _convolutions(graph: Any) -> list[str]:
    """
    Return the names of the convolutions to quantise.

    For 1 x 1 convolutions, quantising input and output costs as much as int8 gains.
    """
    names = []
    for node in [node for node in graph.node if node.op_type == 'Conv']:
        found = {attribute.name: attribute for attribute in node.attribute}
        if found['group'].i == 1 and list(found['kernel_shape'].ints) != [1, 1]:
            names.append(node.name)
    return names


def _first_input(graph: Any) -> str | None:
    """Return the input of the first convolution, if it is the image in another shape."""
    (reader,) = _readers(graph, 'image')
    while reader.op_type in ('Cast', 'Reshape', 'Transpose'):
        name = reader.output[0]
        readers = _readers(graph, name)
        if len(readers) != 1:
            return None
        (reader,) = readers
    return name if reader.op_type == 'Conv' else None


def _read_pixels_directly(graph: Any, pixels: str) -> None:
    """Let the first convolution read the image's uint8 pixels, without casting and quantising."""
    (cast,), (quantise,) = _readers(graph, 'image'), _readers(graph, pixels)
    for reader in _readers(graph, quantise.output[0]):
        reader.input[0] = pixels
    for reader in _readers(graph, cast.output[0]):
        reader.input[0] = 'image'
    graph.node.remove(cast)
    graph.node.remove(quantise)


def _restore_biases(onnx: ModuleType, graph: Any) -> None:
    """
    Convert int32 biases back to single precision.

    TensorRT's DequantizeLinear supports int8 only (onnxruntime issue 14229).
    """
    constants = {constant.name: constant for constant in graph.initializer}
    read = onnx.numpy_helper.to_array
    for node in [node for node in graph.node if node.op_type == 'DequantizeLinear']:
        bias = constants.get(node.input[0])
        if bias is None or bias.data_type != onnx.TensorProto.INT32:
            continue
        exact = read(bias).astype(np.float32) * read(constants[node.input[1]])
        graph.initializer.append(onnx.numpy_helper.from_array(exact, node.output[0]))
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)


def _readers(graph: Any, name: str) -> list[Any]:
    return [node for node in graph.node if name in node.input]


def _calibration_reader(base: Any, frames: np.ndarray) -> Any:
    """Return an object of the library's class that provides frames one by one."""
    inputs = ({'image': frame[None]} for frame in frames)

    class Reader(base):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(inputs, None)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the library's advice to developers."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)
