"""Engines are measured in turns and compared with the first; a missing one is reported."""

from fake_engine import FakeEngine
from keypoint_perception.benchmarks import engine_benchmark
from keypoint_perception.benchmarks.engine_benchmark import (
    Contender,
    contenders,
    measure_engines,
    measure_memory,
)
from keypoint_perception.errors import EngineError
from keypoint_perception.inference.synthetic_model import write_synthetic_model
import numpy as np
import pytest

IMAGES = np.zeros((8, 96, 128, 3), np.uint8)
FAST, SLOW = Contender('onnxruntime', 'int8', 'cpu'), Contender('torch', 'fp32')


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that only engine calls advance, with the calls: engine and batch size."""

    class Clock:
        now_s = 0.0

        def __init__(self):
            self.calls = []

        def load(self, _model_dir, name, **_options):
            if name == 'tensorrt':
                msg = 'Engine tensorrt is not installed.'
                raise EngineError(msg)

            def answer(images):
                self.calls.append((name, len(images)))
                # the first of a turn costs ten times as much, the others their number in ms
                turn = [n for n in self.calls if n[0] == name]
                first = len(self.calls) < 2 or self.calls[-2][0] != name
                self.now_s += (10 if first else len(turn) % 2 + 1) * len(images) / 1000
                keypoints = np.zeros((len(images), 3, 3), np.float32)
                keypoints[:, 1, :2] = (3, 4) if name == 'torch' else (0, 0)
                return keypoints

            return FakeEngine(answer)

    clock = Clock()
    monkeypatch.setattr(engine_benchmark.time, 'perf_counter', lambda: clock.now_s)
    return clock


def test_available_engines_are_measured_the_simplest_first():
    found = contenders(
        ['fp32', 'fp16', 'int8'],
        [('tensorrt', ''), ('onnxruntime', 'cuda'), ('onnxruntime', 'cpu')],
        torch=True,
    )
    assert [contender.title for contender in found] == [
        'onnxruntime fp32 cpu',
        'onnxruntime int8 cpu',
        'onnxruntime fp32 cuda',
        'onnxruntime fp16 cuda',
        'onnxruntime int8 cuda',
        'tensorrt fp32',
        'tensorrt fp16',
        'tensorrt int8',
        'torch fp32',
    ]
    assert contenders(['fp32'], [('onnxruntime', 'cpu')], torch=False) == [found[0]]


def test_engines_take_turns_and_the_first_call_of_a_turn_does_not_count(clock, tmp_path):
    measured = measure_engines(
        tmp_path, [FAST, SLOW], IMAGES, threads=1, batches=[2], runs=10, load=clock.load
    )
    timed = clock.calls[2:26]
    assert timed == ([('onnxruntime', 2)] * 6 + [('torch', 2)] * 6) * 2
    (batch,) = measured['engines'][0]['batches'].values()
    # of ten calls half cost 1 ms and half 2 ms an image, none 10 ms
    assert batch['least_ms'] == pytest.approx(2.0)
    assert batch['p99_ms'] == pytest.approx(4.0)
    assert 2.0 < batch['p50_ms'] < 4.0
    assert batch['images_per_s'] == pytest.approx(2000 / batch['p50_ms'])


def test_keypoints_are_compared_with_those_of_the_first(clock, tmp_path):
    measured = measure_engines(
        tmp_path, [FAST, SLOW], IMAGES, threads=1, batches=[1], runs=5, load=clock.load
    )
    assert measured['reference'] == 'onnxruntime int8 cpu'
    first, second = (facts['parity'] for facts in measured['engines'])
    assert first == {'median_px': 0, 'p95_px': 0, 'largest_px': 0}
    # one of three keypoints is 3 and 4 px away
    assert second == {'median_px': 0, 'p95_px': 5, 'largest_px': 5}


def test_an_unavailable_engine_is_reported_and_the_others_measured(clock, tmp_path):
    field = [Contender('tensorrt', 'fp32'), SLOW]
    measured = measure_engines(
        tmp_path, field, IMAGES, threads=1, batches=[1], runs=5, load=clock.load
    )
    missing, there = measured['engines']
    assert missing['failed'] == 'Engine tensorrt is not installed.'
    assert 'batches' not in missing
    assert list(there['batches']) == ['1']
    assert measured['reference'] == 'torch fp32'


def test_memory_is_that_of_a_separate_process(tmp_path):
    pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
    pytest.importorskip('onnx', reason='the package onnx, which writes models, is missing')
    write_synthetic_model(tmp_path / 'model', input_hw=(48, 64))
    contender = Contender('onnxruntime', 'fp32', 'cpu')
    found = measure_memory(tmp_path / 'model', contender, threads=1, batch=2)
    assert 10 < found['loaded_mb'] <= found['peak_mb'] < 1000
    with pytest.raises(
        EngineError, match=r'onnxruntime int8 cpu does not run in a separate process: .*int8'
    ):
        measure_memory(
            tmp_path / 'model', contender._replace(precision='int8'), threads=1, batch=1
        )
