"""
What ``auto`` takes, in which order, and that it never does so in silence.

There is no GPU here: which libraries and GPUs are there is pretended, and so are the sessions of
ONNX Runtime's CUDA. That ONNX Runtime goes to the CPU by itself when CUDA's libraries are missing
is what its issue 23372 says, and what the pretended session does.
"""

import logging

from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.inference import engine as engine_module
from keypoint_perception.inference.engine import candidates, load_engine
from keypoint_perception.inference.onnx_providers import provider_list, tensorrt_cache
from keypoint_perception.inference.synthetic_model import write_synthetic_model
from keypoint_perception.manifest import read_manifest
import pytest

onnxruntime = pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')
CPU, CUDA = 'CPUExecutionProvider', 'CUDAExecutionProvider'
RealSession = onnxruntime.InferenceSession


@pytest.fixture
def model(tmp_path):
    write_synthetic_model(tmp_path / 'model', keypoints=3, input_hw=(48, 64))
    return tmp_path / 'model'


@pytest.fixture
def built_with_cuda(monkeypatch):
    """Pretend an ONNX Runtime that has CUDA, and whose sessions are told to use it."""
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: [CUDA, CPU])


def pretend_sessions(monkeypatch, *, reaches_gpu):
    asked = []

    class Session(RealSession):
        def __init__(self, network, options, *, providers, **more):
            self.pretended = [p if isinstance(p, str) else p[0] for p in providers]
            asked.append(self.pretended)
            super().__init__(network, options, providers=[CPU], **more)

        def get_providers(self):
            return self.pretended if reaches_gpu else [CPU]

    monkeypatch.setattr(onnxruntime, 'InferenceSession', Session)
    return asked


def test_order_is_tensorrt_then_cuda_then_cpu(monkeypatch, built_with_cuda):
    monkeypatch.setattr(engine_module, '_tensorrt_gpu', lambda: ('TensorRT 10.3 with a GPU', ''))
    assert [found[:2] for found in candidates()] == [
        ('tensorrt', ''),
        ('onnxruntime', 'cuda'),
        ('onnxruntime', 'cpu'),
    ]
    assert [found[:2] for found in candidates('onnxruntime')] == [
        ('onnxruntime', 'cuda'),
        ('onnxruntime', 'cpu'),
    ]


def test_cuda_is_taken_where_it_is_reached(model, monkeypatch, built_with_cuda, caplog):
    asked = pretend_sessions(monkeypatch, reaches_gpu=True)
    with caplog.at_level(logging.INFO, logger='keypoint_perception'):
        engine = load_engine(model)
    assert asked == [[CUDA, CPU]]
    assert f'on {CUDA}, fp32' in engine.description
    assert 'auto selected onnxruntime on cuda, because ONNX Runtime was built with' in caplog.text


def test_auto_says_why_it_went_on_to_the_cpu(model, monkeypatch, built_with_cuda, caplog):
    pretend_sessions(monkeypatch, reaches_gpu=False)
    with caplog.at_level(logging.INFO, logger='keypoint_perception'):
        engine = load_engine(model)
    assert f'on {CPU}' in engine.description
    assert (
        'auto skips onnxruntime on cuda, which cannot be used: ONNX Runtime was set' in caplog.text
    )
    assert 'auto selected onnxruntime on cpu, because no GPU could be used' in caplog.text


def test_what_was_asked_for_is_never_replaced(model, monkeypatch, built_with_cuda):
    pretend_sessions(monkeypatch, reaches_gpu=False)
    with pytest.raises(EngineError, match=rf'set to run .* on {CUDA} and runs it on {CPU}: its'):
        load_engine(model, 'onnxruntime', provider='cuda')


def test_a_tensorrt_that_fails_is_said_before_the_next(model, monkeypatch, caplog):
    monkeypatch.setattr(engine_module, '_tensorrt_gpu', lambda: ('TensorRT 10.3 with a GPU', ''))
    with caplog.at_level(logging.INFO, logger='keypoint_perception'):
        assert load_engine(model).name == 'onnxruntime'
    assert 'auto skips tensorrt, which cannot be used: Engine tensorrt' in caplog.text


def test_a_provider_that_is_not_there_is_named(model):
    with pytest.raises(EngineError, match=rf'has no {CUDA}, only .*install onnxruntime-gpu'):
        load_engine(model, 'onnxruntime', provider='cuda')
    with pytest.raises(EngineError, match="'gpu' is not known; known: auto, cpu, cuda, tensorrt"):
        load_engine(model, 'onnxruntime', provider='gpu')


def test_precision_that_is_not_there_is_refused_by_every_engine(model):
    for name in ('auto', 'onnxruntime'):
        with pytest.raises(ModelError, match='has no int8 network, only fp32; run `export'):
            load_engine(model, name, precision='int8')
    with pytest.raises(EngineError, match='torch runs fp32 checkpoints; int8 needs'):
        load_engine(model, 'torch', precision='int8')


def test_tensorrt_of_onnxruntime_keeps_its_engines_by_network(model, monkeypatch, tmp_path):
    monkeypatch.setenv('KEYPOINT_PERCEPTION_ENGINE_CACHE', str(tmp_path / 'cache'))
    manifest = read_manifest(model)
    (name, options), *others = provider_list('tensorrt', manifest, 'fp16', 'f' * 64, 4)
    assert (name, others[-1]) == ('TensorrtExecutionProvider', CPU)
    assert options['trt_profile_min_shapes'] == 'image:1x48x64x3'
    assert options['trt_profile_max_shapes'] == 'image:4x48x64x3'
    assert options['trt_engine_cache_path'] == str(tmp_path / 'cache/onnxruntime' / ('f' * 16))
    assert (options['trt_fp16_enable'], options['trt_int8_enable']) == (True, False)


@pytest.mark.parametrize('folder', ['cache', 'cache/onnxruntime', 'cache/onnxruntime/' + 'f' * 16])
def test_the_provider_gets_no_folder_that_others_can_write(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv('KEYPOINT_PERCEPTION_ENGINE_CACHE', str(tmp_path / 'cache'))
    assert tensorrt_cache('f' * 64)['trt_engine_cache_enable'] is True
    (tmp_path / folder).chmod(0o777)
    assert tensorrt_cache('f' * 64) == {}
    assert f'built each time: {tmp_path}/{folder}: others can write it' in caplog.text
