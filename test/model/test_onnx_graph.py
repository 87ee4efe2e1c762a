"""The exported graph holds only what other engines than ONNX Runtime can take."""

from keypoint_perception.model.network import Keypointer, NetworkConfig, NETWORKS
from keypoint_perception.model.onnx_export import write_onnx
from keypoint_perception.model.quantisation import write_quantised
import numpy as np
import pytest

onnx = pytest.importorskip('onnx')
HW = (48, 64)
FORMS = [*((network, 'float') for network in NETWORKS), ('default', 'half'), ('default', 'int8')]


@pytest.fixture(scope='module', params=FORMS, ids='-'.join)
def graph(request, tmp_path_factory):
    kind, form = request.param
    network = Keypointer(NetworkConfig(kind, 4, HW, width=16)).eval()
    path = tmp_path_factory.mktemp('graph') / 'k.onnx'
    if form == 'int8':
        pytest.importorskip('onnxruntime')
        frames = np.random.default_rng(0).integers(0, 256, (2, *HW, 3), np.uint8)
        write_quantised(network, path, frames, signed=True)
    else:
        write_onnx(network, path, kind=form)
    return onnx.shape_inference.infer_shapes(onnx.load(path)).graph


def types(graph):
    """Return the element type of every tensor, by name."""
    values = [*graph.input, *graph.output, *graph.value_info]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    found |= {constant.name: constant.data_type for constant in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Constant':
            found[node.output[0]] = node.attribute[0].t.data_type
    return found


def test_bytes_go_into_a_cast_and_nowhere_else(graph):
    """TensorRT's parser refuses the network otherwise: no other layer of it takes uint8."""
    assert {node.op_type for node in graph.node if 'image' in node.input} == {'Cast'}
    assert [n for n, kind in types(graph).items() if kind == onnx.TensorProto.UINT8] == ['image']


def test_what_depends_on_the_size_alone_is_constant(graph):
    """Cells' coordinates made of the image's shape would be made anew with every image."""
    kinds = {node.op_type for node in graph.node}
    assert kinds & {'Range', 'Where', 'Xor', 'ConstantOfShape'} == set()


def test_what_is_quantised_has_a_sign_and_its_zero_at_zero(graph):
    """TensorRT knows no other whole numbers, and in DequantizeLinear no longer ones."""
    kinds = types(graph)
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in graph.initializer}
    rounding = [n for n in graph.node if n.op_type in ('QuantizeLinear', 'DequantizeLinear')]
    for node in rounding:
        whole = node.output[0] if node.op_type == 'QuantizeLinear' else node.input[0]
        assert kinds[whole] == onnx.TensorProto.INT8
        assert not constants[node.input[2]].any()
    convolutions = [node for node in graph.node if node.op_type == 'Conv']
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    signed = [n for n in convolutions if made_by.get(n.input[1]) == 'DequantizeLinear']
    assert bool(signed) == bool(rounding)
    assert all(len(n.input) < 3 or n.input[2] in constants for n in signed)
