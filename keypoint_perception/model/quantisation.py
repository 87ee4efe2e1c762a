"""
The network in whole numbers of eight bits: static quantisation from recorded frames.

Each convolution of several cells gets its input, weights and output as bytes; those of one cell,
norms, sums, poolings and the read-out stay in single precision. Scales come from the smallest and
largest value that each map takes on recorded frames, and are written into the graph as pairs of
QuantizeLinear and DequantizeLinear (QDQ), of which engines make convolutions of whole numbers.

Weights have a scale for each output channel and seven bits: without VNNI a CPU adds two products
of bytes in sixteen bits, which eight-bit weights overflow. Maps are unsigned by default, so that a
zero point at the lowest byte does what the ReLU before it does; TensorRT knows only signed ones
that are symmetric about zero.
"""

from __future__ import annotations

from collections.abc import Iterator
import logging
from pathlib import Path
import tempfile

from keypoint_perception.errors import EngineError
from keypoint_perception.landmark_map import Landmarks
from keypoint_perception.model.network import Keypointer
from keypoint_perception.model.onnx_export import write_onnx
import numpy as np

# The image's bytes as they are: the one map whose scale is known without looking.
BYTES = {'scale': np.array(1.0, np.float32), 'zero_point': np.array(0, np.uint8)}


def write_quantised(
    network: Keypointer,
    path: Path,
    frames: np.ndarray,
    landmarks: Landmarks | None = None,
    *,
    signed: bool = False,
) -> None:
    """
    Write a network as ONNX with convolutions of whole numbers.

    :param frames: what to take the scales from, (N, H, W, 3) uint8
    :param signed: for TensorRT; also ONNX Runtime runs it, a little slower and less exactly
    :raises EngineError: if a package that this needs is not installed
    """
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        msg = (
            f'int8 needs the packages onnx and onnxruntime ({error}); install them with '
            "`pip install 'keypoint_perception[train]'`."
        )
        raise EngineError(msg) from error
    with tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
        exact, paired = Path(directory) / 'exact.onnx', Path(directory) / 'paired.onnx'
        write_onnx(network, exact, landmarks, kind='int8')
        graph = onnx.load(exact).graph
        pixels = None if signed else _pixels(graph)
        settings = {'ActivationSymmetric': signed, 'WeightSymmetric': True}
        if pixels is not None:
            settings['TensorQuantOverrides'] = {pixels: [BYTES]}
        kinds = quantization.QuantType
        with _quiet():
            quantization.quantize_static(
                str(exact),
                str(paired),
                _reader(quantization.CalibrationDataReader, frames),
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
        model = onnx.load(paired)
    if pixels is not None:
        _take_bytes(model.graph, pixels)
    if signed:
        _exact_biases(onnx, model.graph)
    del model.graph.value_info[:]  # what the library knew of maps that are bytes now
    onnx.save(model, str(path))


def _convolutions(graph) -> list[str]:
    """
    Return the names of the convolutions that are worth it.

    In one of a single cell, rounding its input and output costs what the product gains.
    """
    attributes = {
        node.name: {attribute.name: attribute for attribute in node.attribute}
        for node in graph.node
        if node.op_type == 'Conv'
    }
    return [
        name
        for name, found in attributes.items()
        if found['group'].i == 1 and list(found['kernel_shape'].ints) != [1, 1]
    ]


def _pixels(graph) -> str | None:
    """Return what the first convolution reads, if that is the image in another shape."""
    (reader,) = _readers(graph, 'image')
    while reader.op_type in ('Cast', 'Reshape', 'Transpose'):
        name = reader.output[0]
        readers = _readers(graph, name)
        if len(readers) != 1:
            return None
        (reader,) = readers
    return name if reader.op_type == 'Conv' else None


def _take_bytes(graph, pixels: str) -> None:
    """Let the first convolution read the image's own bytes: neither cast nor rounded."""
    (cast,), (rounding,) = _readers(graph, 'image'), _readers(graph, pixels)
    for reader in _readers(graph, rounding.output[0]):
        reader.input[0] = pixels
    for reader in _readers(graph, cast.output[0]):
        reader.input[0] = 'image'
    graph.node.remove(cast)
    graph.node.remove(rounding)


def _exact_biases(onnx, graph) -> None:
    """
    Give back biases in single precision: they were made numbers of 32 bits.

    TensorRT's DequantizeLinear takes bytes alone (onnxruntime issue 14229).
    """
    constants = {constant.name: constant for constant in graph.initializer}
    read = onnx.numpy_helper.to_array
    for node in [node for node in graph.node if node.op_type == 'DequantizeLinear']:
        whole = constants.get(node.input[0])
        if whole is None or whole.data_type != onnx.TensorProto.INT32:
            continue
        exact = read(whole).astype(np.float32) * read(constants[node.input[1]])
        graph.initializer.append(onnx.numpy_helper.from_array(exact, node.output[0]))
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)


def _readers(graph, name: str) -> list:
    return [node for node in graph.node if name in node.input]


def _reader(base: type, frames: np.ndarray):
    """Return frames, one after another, as the library asks for them."""

    class Reader(base):
        def __init__(self) -> None:
            self._frames: Iterator[np.ndarray] = iter(frames)

        def get_next(self) -> dict[str, np.ndarray] | None:
            frame = next(self._frames, None)
            return None if frame is None else {'image': frame[None]}

    return Reader()


class _quiet:  # noqa: N801 - used as a function
    """Keep the library's advice, which is for those who call it, out of the user's terminal."""

    def __enter__(self) -> None:
        self._level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *_error: object) -> None:
        logging.getLogger().setLevel(self._level)
