"""The check of a GPU, step by step; the GPU itself is faked (``test/support/fake_device.py``)."""

import json
import subprocess
import sys

from fake_device import FAKE_GPU, FakeCuda, FakeDevice
from keypoint_perception.errors import EngineError
from keypoint_perception.inference.gpu_check import check_gpu, GpuCheck
from keypoint_perception.inference.synthetic_gpu_model import write_synthetic_gpu_model
from keypoint_perception.inference.tensorrt.engine_parity import onnxruntime_outputs, random_images
import numpy as np
import pytest

pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')


class Library:
    __version__ = '10.3.0'


@pytest.fixture
def check(tmp_path):
    """Return a function that makes a check with a fake GPU, of which parts may be replaced."""

    def make(change=lambda answers: answers, **parts):
        def open_device():
            answer = onnxruntime_outputs(tmp_path / 'synthetic' / 'keypointer.onnx')
            return FakeDevice(
                lambda images: change(answer(images)), input_hw=(96, 128), outputs={'keypoints': 8}
            )

        parts = {
            'open_device': open_device,
            'find_cuda': lambda: FakeCuda(FAKE_GPU),
            'find_tensorrt': Library,
        } | parts
        return check_gpu(GpuCheck(None, tmp_path, runs=5, **parts))

    return make


def test_all_steps_are_taken(check, tmp_path):
    steps = {step.name: step for step in check(max_batch=3)}
    assert list(steps) == [
        'model',
        'ONNX Runtime',
        'CUDA',
        'TensorRT',
        'build and parity, fp32',
        'load from the cache, fp32',
        'latency, fp32, batches of 1',
        'latency, fp32, batches of 3',
    ]
    assert {step.state for step in steps.values()} == {'ok'}
    assert steps['model'].found == 'synthetic GPU check, 8 keypoints, 128x96 px'
    assert steps['CUDA'].found.startswith('Fake GPU, compute capability 8.7, 16 multiproc')
    parity = steps['build and parity, fp32'].facts['parity']
    assert (parity['points'], parity['off'], parity['holds']) == (16 * 8, 0, True)
    assert parity['confident'] > 100  # else nothing would be compared by position
    loaded = steps['load from the cache, fp32']
    assert loaded.facts['origin'] == 'from the cache'
    assert loaded.facts['graphs'] == [1, 2, 3]
    latency = steps['latency, fp32, batches of 3'].facts
    assert latency['runs'] == 5
    assert 0 < latency['p50_ms'] <= latency['p95_ms'] <= latency['p99_ms']
    assert list((tmp_path / 'engines').glob('*.plan'))


def test_without_a_gpu_the_rest_is_told(check):
    def none():
        raise EngineError('Engine tensorrt finds no GPU: why not.')

    steps = list(check(find_cuda=none))
    assert [(step.name, step.state) for step in steps] == [
        ('model', 'ok'),
        ('ONNX Runtime', 'ok'),
        ('CUDA', 'failed'),
        ('TensorRT', 'ok'),
    ]
    assert steps[2].found == 'Engine tensorrt finds no GPU: why not.'
    assert steps[3].found == '10.3.0'


def test_parity_that_does_not_hold_ends_the_check(check):
    def change(answers):
        answers['keypoints'][..., 1] += 1
        return answers

    *_, last = check(change)
    assert (last.name, last.state) == ('build and parity, fp32', 'failed')
    assert 'differ: median 1.0000 px' in last.found


def test_a_librarys_own_exception_is_a_step_that_failed(check):
    def broken():
        raise ValueError('no such symbol')

    *_, last = check(find_tensorrt=broken)
    assert (last.name, last.found) == ('TensorRT', 'ValueError: no such symbol')


def test_the_synthetic_model_is_sure_smooth_and_looks_at_the_image(tmp_path):
    manifest = write_synthetic_gpu_model(tmp_path)
    answer = onnxruntime_outputs(tmp_path / 'keypointer.onnx')
    images = random_images(manifest.input_hw)
    keypoints = answer(images)['keypoints']
    assert keypoints.shape == (16, 8, 3)
    assert (keypoints[..., 2] >= 0.3).mean() > 0.8
    u, v = keypoints[..., 0], keypoints[..., 1]
    assert ((u >= 0) & (u <= 127) & (v >= 0) & (v <= 95)).all()
    assert np.ptp(u) > 40
    assert np.ptp(v) > 40
    brighter = np.clip(images.astype(int) + 1, 0, 255).astype(np.uint8)
    moved = np.abs(answer(brighter)['keypoints'] - keypoints)[..., :2]
    assert np.median(moved) < 1.0


def test_the_program_tells_what_it_finds_on_this_machine(tmp_path):
    write_synthetic_gpu_model(tmp_path / 'model', keypoints=2, input_hw=(16, 16))
    blocked = 'import sys; sys.modules["tensorrt"] = None; '
    blocked += 'from keypoint_perception.inference.gpu_check import main; sys.exit(main([{!r}]))'
    done = subprocess.run(
        [sys.executable, '-c', blocked.format(str(tmp_path / 'model'))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step['name'] for step in steps] == ['model', 'ONNX Runtime', 'CUDA', 'TensorRT']
    assert steps[0]['found'] == 'synthetic GPU check, 2 keypoints, 16x16 px'
    assert steps[3]['state'] == 'failed'
