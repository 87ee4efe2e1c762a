"""Optimised graphs are kept, found again, and never trusted when they do not match."""

from dataclasses import replace
import json
import logging
import tempfile

from keypoint_perception.errors import EngineError
from keypoint_perception.inference import optimised_graph
from keypoint_perception.inference.engine import load_engine
from keypoint_perception.inference.optimised_graph import GraphKey, open_optimised, processor
from keypoint_perception.inference.synthetic_model import write_synthetic_model
import numpy as np
import pytest

pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')
KEY = GraphKey('a' * 64, '1.17.0', 'x86_64 name flags', 'CPUExecutionProvider')


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('KEYPOINT_PERCEPTION_ENGINE_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def model(tmp_path):
    write_synthetic_model(tmp_path / 'model', keypoints=3, input_hw=(48, 64))
    return tmp_path / 'model'


@pytest.fixture
def opened(cache):
    """Return a function that opens a graph and says how: made, or loaded as which bytes."""

    def open_graph(key=KEY, content=b'graph'):
        def optimise(path):
            if path is not None:
                path.write_bytes(content)
            return 'made'

        return open_optimised(key, optimise, lambda graph: graph)

    return open_graph


def test_a_graph_is_made_once(opened):
    assert opened() == 'made'
    assert opened() == b'graph'


@pytest.mark.parametrize(
    'change',
    [
        {'onnx_sha256': 'b' * 64},
        {'onnxruntime': '1.18.0'},
        {'processor': 'another'},
        {'provider': 'CUDAExecutionProvider'},
        {'left_out': ('NchwcTransformer',)},
    ],
)
def test_a_graph_of_anything_else_is_made_anew(opened, change):
    opened()
    assert opened(replace(KEY, **change)) == 'made'
    assert opened() == b'graph'


def test_a_changed_graph_is_said_and_made_anew(opened, cache, caplog):
    opened()
    (cache / KEY.name).write_bytes(b'grapf')
    with caplog.at_level(logging.WARNING, logger='keypoint_perception'):
        assert opened() == 'made'
    assert 'is not used and made anew: its SHA-256 is not the one' in caplog.text
    assert opened() == b'graph'


def test_a_graph_under_the_name_of_another_is_not_used(opened, cache, caplog):
    opened()
    sidecar = cache / f'{KEY.name}.json'
    facts = json.loads(sidecar.read_text())
    facts['key']['onnx_sha256'] = 'c' * 64
    sidecar.write_text(json.dumps(facts))
    with caplog.at_level(logging.WARNING, logger='keypoint_perception'):
        assert opened() == 'made'
    assert 'its sidecar is that of another graph' in caplog.text


def test_a_folder_that_others_can_write_is_not_used(opened, cache):
    opened()
    cache.chmod(0o777)
    assert opened() == 'made'
    assert opened() == 'made'


def test_nothing_fails_where_nothing_can_be_kept(opened, cache, monkeypatch):
    cache.parent.joinpath('file').write_text('')
    monkeypatch.setenv('KEYPOINT_PERCEPTION_ENGINE_CACHE', str(cache.parent / 'file' / 'cache'))
    assert opened() == 'made'
    assert opened() == 'made'


def test_nothing_fails_without_a_place_for_temporary_files(opened, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'none'))
    assert opened() == 'made'


def test_nothing_fails_where_there_is_no_room_for_the_graph(cache):
    asked = []

    def optimise(path):
        asked.append(path)
        if path is not None:
            raise EngineError('No space left on device.')
        return 'made'

    assert open_optimised(KEY, optimise, None) == 'made'
    assert len(asked) == 2


def test_graphs_unused_for_longest_make_room(opened, cache, monkeypatch):
    monkeypatch.setattr(optimised_graph, 'MOST_GRAPHS', 2)
    keys = [replace(KEY, processor=str(number)) for number in range(3)]
    for key in keys:
        opened(key)
    assert not (cache / keys[0].name).exists()
    assert not (cache / f'{keys[0].name}.json').exists()
    assert [opened(key) for key in keys[1:]] == [b'graph'] * 2


def test_the_engine_answers_the_same_from_its_kept_graph(model, cache):
    images = np.zeros((2, 48, 64, 3), np.uint8)
    images[0, 10, 20], images[1, 40, 5] = 255, (255, 0, 0)
    first = load_engine(model, threads=1).run(images)
    (graph,) = cache.glob('*.graph.onnx')
    written_ns = graph.stat().st_ino, graph.read_bytes()
    np.testing.assert_array_equal(load_engine(model, threads=1).run(images), first)
    assert (graph.stat().st_ino, graph.read_bytes()) == written_ns
    assert not list(model.glob('*graph*'))


def test_the_processor_is_known_by_name_and_instruction_sets():
    assert len(processor().split()[-1]) == 16
    assert processor() == processor()
