"""The exported graph holds only what other engines than ONNX Runtime can take."""

from keypoint_perception.model.network import Keypointer, NetworkConfig, NETWORKS
from keypoint_perception.model.onnx_export import write_onnx
import pytest

onnx = pytest.importorskip('onnx')


@pytest.fixture(params=NETWORKS)
def graph(request, tmp_path):
    network = Keypointer(NetworkConfig(request.param, 4, (48, 64), width=16))
    write_onnx(network, tmp_path / 'k.onnx')
    return onnx.shape_inference.infer_shapes(onnx.load(tmp_path / 'k.onnx')).graph


def test_bytes_go_into_a_cast_and_nowhere_else(graph):
    """TensorRT's parser refuses the network otherwise: no other layer of it takes uint8."""
    assert {node.op_type for node in graph.node if 'image' in node.input} == {'Cast'}
    bytes_inside = [
        value.name
        for value in graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    ]
    assert bytes_inside == []


def test_what_depends_on_the_size_alone_is_constant(graph):
    """Cells' coordinates made of the image's shape would be made anew with every image."""
    kinds = {node.op_type for node in graph.node}
    assert kinds & {'Range', 'Where', 'Xor', 'ConstantOfShape'} == set()
