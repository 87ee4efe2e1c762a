"""Networks that would read other files, or use any time or memory, are refused in a sentence."""

import resource

from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.inference.engine import load_engine
from keypoint_perception.inference.onnx_content import check_content
from keypoint_perception.inference.synthetic_model import write_synthetic_model, write_untrained
from keypoint_perception.limits import VARIABLE
from keypoint_perception.manifest import Manifest
import numpy as np
import pytest

pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
onnx = pytest.importorskip('onnx', reason='the package onnx, which writes models, is missing')
from onnx import helper, TensorProto  # noqa: E402 after the check that it is installed

HW = (48, 64)
IMAGES = np.zeros((1, *HW, 3), np.uint8)
OPSET = [helper.make_opsetid('', 17)]


@pytest.fixture
def changed(tmp_path):
    """Return a function that changes a network, and the path of the result."""
    write_synthetic_model(tmp_path, keypoints=3, input_hw=HW)
    path = tmp_path / 'keypointer.onnx'

    def changed(change):
        network = onnx.load(path)
        change(network)
        path.write_bytes(network.SerializeToString())
        return path

    return changed


def external():
    tensor = TensorProto(name='w', data_type=TensorProto.FLOAT, dims=[1], data_location=1)
    tensor.external_data.add(key='location', value='/etc/passwd')
    return tensor


def graph_of(node=(), tensors=()):
    return helper.make_graph(list(node), 'g', [], [], list(tensors))


CONSTANT = helper.make_node('Constant', [], ['x'], value=external())


def nested(depth):
    graph = graph_of(tensors=[external()])
    for _ in range(depth):
        graph = graph_of([helper.make_node('If', ['c'], ['o'], then_branch=graph)])
    return graph


def add_function(network):
    network.functions.append(helper.make_function('d', 'f', [], [], [], OPSET))


@pytest.mark.parametrize(
    ('change', 'fault'),
    [
        (lambda n: n.graph.initializer.append(external()), 'has external data'),
        (
            lambda n: n.graph.node.append(
                helper.make_node('Constant', [], ['x'], value=external())
            ),
            'has external data',
        ),
        (
            lambda n: n.graph.sparse_initializer.add().values.CopyFrom(external()),
            'has external data',
        ),
        (lambda n: n.graph.MergeFrom(nested(3)), 'has external data'),
        (lambda n: n.graph.MergeFrom(nested(20)), 'has graphs too deep in each other'),
        (
            lambda n: n.graph.node.append(helper.make_node('Loop', ['', ''], [], body=graph_of())),
            'has the operator Loop',
        ),
        (add_function, 'has function'),
    ],
)
def test_what_has_no_bound_is_refused(changed, change, fault):
    path = changed(lambda network: None)
    check_content(path)
    with pytest.raises(ModelError, match=rf'keypointer.onnx. {fault}; copy it again, or'):
        check_content(changed(change))


def test_every_cut_is_refused_or_has_no_fault(changed):
    path = changed(lambda network: None)
    content = path.read_bytes()
    refused = 0
    for end in range(0, len(content), 3):
        path.write_bytes(content[:end])
        try:
            check_content(path)
        except ModelError:
            refused += 1
    assert refused > len(content) / 4


TAIL = [
    ('ReduceMax', 'big', 'most', {'keepdims': 0}),
    ('Cast', 'image', 'float', {'to': 1}),
    ('ReduceMax', 'float', 'three', {'axes': [1, 2], 'keepdims': 1}),
    ('Add', 'three most', 'sum', {}),
    ('Reshape', 'sum row', 'point', {}),
    ('Concat', 'point point point', 'keypoints', {'axis': 1}),
]
COUNT = 10**9


@pytest.mark.parametrize(
    'node',
    [
        ('ConstantOfShape', 'count', 'big', {}),
        ('Expand', 'zero count', 'big', {}),
        ('Tile', 'zero count', 'big', {}),
        ('MatMul', 'column line', 'big', {}),
        ('Range', 'nought end one', 'big', {}),
    ],
)
def test_a_bomb_ends_at_the_limit(tmp_path, node):
    side = np.ones(30_000, np.float32)
    constants = {
        'count': np.array([COUNT]),
        'zero': np.zeros(1, np.float32),
        'row': np.array([-1, 1, 3]),
        'column': side[:, None],
        'line': side[None],
        'nought': np.array(0.0, np.float32),
        'end': np.array(COUNT, np.float32),
        'one': np.array(1.0, np.float32),
    }
    manifest = Manifest(('a', 'b', 'c'), HW, objective='none', network='none')
    write_untrained(tmp_path, manifest, [node, *TAIL], constants)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sentence = f'a network may use 768 MB, and more are .*set {VARIABLE}=max_network_mb=1536'
    with pytest.raises(EngineError, match=sentence):
        load_engine(tmp_path, 'onnxruntime').run(IMAGES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 900_000
