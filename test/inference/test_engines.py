"""Engines are chosen by name, check their model, and say what is missing."""

import json
import logging
import os
import sys

from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.inference.engine import load_engine
from keypoint_perception.inference.synthetic_model import write_synthetic_model
from keypoint_perception.manifest import file_digest, Manifest, write_manifest
from keypoint_perception.model_directory import ONNX_NAME
import numpy as np
import pytest

pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')
BLACK = np.zeros((1, 48, 64, 3), np.uint8)


@pytest.fixture
def model(tmp_path):
    write_synthetic_model(tmp_path / 'model', keypoints=3, input_hw=(48, 64))
    return tmp_path / 'model'


def describe_anew(model, **changes):
    """Write the manifest of the same files again, with other claims."""
    values = {'keypoint_names': ('a', 'b', 'c'), 'input_hw': (48, 64)} | changes
    manifest = Manifest(**values, objective='none', network='none')
    write_manifest(model, manifest, files=[ONNX_NAME])


def test_onnxruntime_outputs_network_pixels(model):
    images = np.zeros((2, 48, 64, 3), np.uint8)
    images[0, 10, 20] = 255
    images[1, 40, 5] = (255, 0, 0)
    keypoints = load_engine(model, 'onnxruntime').run(images)
    assert keypoints.dtype == np.float32
    np.testing.assert_allclose(keypoints[0], [[20, 10, 1], [21, 10, 1], [22, 10, 1]])
    np.testing.assert_allclose(keypoints[1, 0], [5, 40, 1 / 3], rtol=1e-6)


def test_engine_knows_its_model(model):
    engine = load_engine(model, 'onnxruntime', threads=1)
    assert engine.input_hw == (48, 64)
    assert engine.keypoint_names == ('kp0', 'kp1', 'kp2')
    assert 'CPUExecutionProvider, fp32, 1 threads' in engine.description


def test_threads_are_those_that_the_process_may_use(model):
    """It is not the machine's number that counts: containers and `taskset` give fewer."""
    usable = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(usable)})
        assert load_engine(model, 'onnxruntime').description.endswith('fp32, 1 threads')
    finally:
        os.sched_setaffinity(0, usable)


def test_auto_says_what_it_chose_and_why(model, caplog):
    with caplog.at_level(logging.INFO, logger='keypoint_perception'):
        assert load_engine(model).name == 'onnxruntime'
    assert 'engine: auto selected onnxruntime on cpu, because tensorrt is not' in caplog.text


def test_unknown_engine_is_refused_with_the_known_ones(model):
    with pytest.raises(EngineError, match="'onnx' is not known; known: auto, onnxruntime, tens"):
        load_engine(model, 'onnx')


def test_negative_threads_are_refused(model):
    with pytest.raises(EngineError, match=r'threads: must be 0 .* got -1'):
        load_engine(model, threads=-1)


@pytest.mark.parametrize('name', ['onnxruntime', 'tensorrt', 'torch'])
def test_missing_library_is_named_with_a_way_to_get_it(model, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=f'Engine {name} is not installed .*install'):
        load_engine(model, name)


def test_tensorrt_that_is_too_old_says_what_is_expected(model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorrt', type(sys)('tensorrt'))
    sys.modules['tensorrt'].__version__ = '8.6.1'
    with pytest.raises(EngineError, match=r'TensorRT 8.6.1 is installed, expected 10.3 or newer'):
        load_engine(model, 'tensorrt')


def test_changed_byte_is_refused(model):
    path = model / ONNX_NAME
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f'contents of {ONNX_NAME} do not match'):
        load_engine(model)


def test_input_of_another_size_is_refused(model):
    describe_anew(model, input_hw=(48, 80))
    found = r"input 'image' tensor\(uint8\) \('N', 48, 64, 3\)"
    with pytest.raises(ModelError, match=found + r".* describes 'image' uint8 \(N, 48, 80, 3\)"):
        load_engine(model)


def test_another_number_of_keypoints_is_refused(model):
    describe_anew(model, keypoint_names=('a', 'b'))
    with pytest.raises(ModelError, match=r"output .* describes 'keypoints' float32 \(N, 2, 3\)"):
        load_engine(model)


def test_fixed_batch_is_refused(model):
    import onnx

    network = onnx.load(model / ONNX_NAME)
    network.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(network, model / ONNX_NAME)
    describe_anew(model)
    with pytest.raises(ModelError, match=r'\(1, 48, 64, 3\), but its manifest describes'):
        load_engine(model)


def test_file_that_is_no_onnx_is_refused(model):
    (model / ONNX_NAME).write_bytes(b'no protobuf')
    manifest = json.loads((model / 'manifest.json').read_text())
    manifest['files'][ONNX_NAME] = file_digest(model / ONNX_NAME)
    (model / 'manifest.json').write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r'keypointer.onnx. is cut short or no ONNX file; copy'):
        load_engine(model)


def test_wrong_images_become_one_sentence(model):
    with pytest.raises(EngineError, match=r'ONNX Runtime failed on .*model'):
        load_engine(model).run(BLACK.astype(np.float32))


def test_closed_engine_says_so(model):
    engine = load_engine(model)
    engine.close()
    with pytest.raises(EngineError, match='The engine is closed'):
        engine.run(BLACK)
