"""
The TensorRT engine round its GPU: built once, kept, refused, batched.

The GPU and TensorRT are faked (``test/support/fake_device.py``), because this machine has neither;
all else is real: PyTorch answers behind the fake, ONNX Runtime is compared with, files, locks and
processes are those of the machine.
"""

from dataclasses import replace
import json
import logging
import subprocess
import sys

from fake_device import FAKE_GPU, FakeDevice
from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.inference.synthetic_model import write_synthetic_model
from keypoint_perception.inference.tensorrt.cuda import Gpu
from keypoint_perception.inference.tensorrt.engine_parity import onnxruntime_outputs
from keypoint_perception.inference.tensorrt.tensorrt_engine import TensorRTEngine
from keypoint_perception.manifest import read_manifest, write_manifest
import numpy as np
import pytest

pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')
HW = (48, 64)


@pytest.fixture
def model(tmp_path):
    write_synthetic_model(tmp_path / 'model', keypoints=3, input_hw=HW)
    return tmp_path / 'model'


class Machine:
    """Engines of a model on a machine with a fake GPU; each has a device of its own."""

    def __init__(self, model, cache):
        self.model, self.cache = model, cache
        self.answer = onnxruntime_outputs(model / 'keypointer.onnx')
        self.devices = []

    def device(self, **settings):
        settings = {'outputs': {'keypoints': 3}, 'input_hw': HW} | settings
        self.devices.append(FakeDevice(settings.pop('answer', self.answer), **settings))
        return self.devices[-1]

    def engine(self, *, max_batch=1, progress=None, precision='fp32', **settings):
        return TensorRTEngine(
            self.model,
            read_manifest(self.model),
            precision=precision,
            max_batch=max_batch,
            progress=progress,
            cache_dir=self.cache,
            open_device=lambda: self.device(**settings),
        )

    @property
    def builds(self):
        return sum(len(device.built) for device in self.devices)

    @property
    def plan(self):
        (plan,) = self.cache.glob('*.plan')
        return plan


@pytest.fixture
def machine(model, tmp_path):
    return Machine(model, tmp_path / 'engines')


def bright(*places):
    images = np.zeros((len(places), *HW, 3), np.uint8)
    for image, (u, v) in zip(images, places, strict=True):
        image[v, u] = 255
    return images


def test_an_engine_is_built_once_and_then_found(machine, caplog):
    with caplog.at_level(logging.INFO, 'keypoint_perception'):
        first = machine.engine()
    assert first.prepared.origin == 'built'
    assert 'this takes from half a minute' in caplog.text
    assert f'`export {machine.model} --engine tensorrt` does it ahead' in caplog.text
    assert 'the engine agrees with ONNX Runtime: median 0.0000 px' in caplog.text
    second = machine.engine()
    assert (second.prepared.origin, second.prepared.path) == ('from the cache', machine.plan)
    assert machine.builds == 1
    assert machine.devices[1].built == []
    np.testing.assert_allclose(second.run(bright((20, 10)))[0, 0], [20, 10, 1])


def test_the_sidecar_tells_people_what_the_engine_is(machine):
    machine.engine(max_batch=2)
    facts = json.loads((machine.cache / f'{machine.plan.name}.json').read_text())
    assert facts['key']['tensorrt'] == '10.3.0'
    assert facts['key']['gpu'] == 'Fake GPU'
    assert (facts['key']['max_batch'], facts['key']['input_hw']) == (2, [48, 64])
    assert facts['key']['options'] == {'level': 3, 'workspace_bytes': 1 << 30, 'tf32': False}
    assert facts['key']['onnx_sha256'] == read_manifest(machine.model).files['keypointer.onnx']
    assert facts['parity']['holds'] is True
    assert facts['parity']['points'] == 16 * 3


@pytest.mark.parametrize(
    'change',
    [
        {'version': '10.4.0'},
        {'gpu': FAKE_GPU._replace(name='Other GPU')},
        {'gpu': FAKE_GPU._replace(capability='8.6')},
        {'gpu': FAKE_GPU._replace(multiprocessors=8)},
        {'max_batch': 2},
    ],
)
def test_another_machine_or_size_builds_its_own(machine, change):
    machine.engine()
    assert machine.engine(**change).prepared.origin == 'built'
    assert len(list(machine.cache.glob('*.plan'))) == 2


def test_more_memory_is_no_other_gpu(machine):
    machine.engine()
    gpu = Gpu(*FAKE_GPU[:3], 16 << 30, '12.8')
    assert machine.engine(gpu=gpu).prepared.origin == 'from the cache'


def test_a_changed_network_is_built_anew(machine):
    machine.engine()
    write_synthetic_model(machine.model, keypoints=3, input_hw=HW, nan_keypoints=(2,))
    with pytest.raises(EngineError, match='NaN'):
        machine.engine(answer=onnxruntime_outputs(machine.model / 'keypointer.onnx'))
    assert machine.builds == 2


def test_the_timings_of_one_build_help_the_next(machine):
    machine.engine()
    machine.engine(max_batch=2)
    assert [device.built[0][1] for device in machine.devices] == [b'', b'timings']


def test_a_tampered_engine_is_not_loaded_but_built_anew(machine, caplog):
    machine.engine()
    content = machine.plan.read_bytes()
    machine.plan.write_bytes(content.replace(b'10.3.0', b'10.3.1'))
    engine = machine.engine()
    assert engine.prepared.origin == 'built'
    assert 'is not loaded and will be rebuilt: its SHA-256 is not the one' in caplog.text
    assert len(machine.devices[1].loaded) == 1  # the one that was built, and no other
    assert machine.plan.read_bytes() == content


@pytest.mark.parametrize('mode', [0o777, 0o770])
def test_a_folder_that_others_can_write_is_not_used_at_all(machine, caplog, mode):
    machine.engine()
    before = machine.plan.stat().st_mtime_ns
    machine.cache.chmod(mode)
    engine = machine.engine()
    assert (engine.prepared.origin, engine.prepared.path) == ('built', None)
    assert 'its folder is not safe: others can write it' in caplog.text
    assert 'will be rebuilt next time; `chmod 700` the folder' in caplog.text
    assert machine.plan.stat().st_mtime_ns == before


def test_an_engine_that_tensorrt_refuses_is_built_anew(machine, caplog):
    """As after a change of the driver, which the key does not hold."""
    machine.engine()
    refused = machine.device()
    refused.load = replaced = _refuse_once(refused.load)
    engine = TensorRTEngine(
        machine.model,
        read_manifest(machine.model),
        cache_dir=machine.cache,
        open_device=lambda: refused,
    )
    assert engine.prepared.origin == 'built'
    assert replaced.refused == 1
    assert '(the driver is another); it will be rebuilt' in caplog.text


def _refuse_once(load):
    from keypoint_perception.inference.tensorrt.device import PlanRefusedError

    def refuse(plan, max_batch):
        if not refuse.refused:
            refuse.refused += 1
            raise PlanRefusedError('the driver is another')
        return load(plan, max_batch)

    refuse.refused = 0
    return refuse


def test_an_engine_that_answers_something_else_is_used_by_nobody(machine):
    def wrong(images):
        answers = machine.answer(images)
        answers['keypoints'][..., 0] += 0.1
        return answers

    with pytest.raises(EngineError, match=r'and ONNX Runtime differ: median 0.1000 px .*doctor'):
        machine.engine(answer=wrong)
    assert list(machine.cache.glob('*.plan')) == []
    assert machine.devices[0].loaded[0].closed
    assert machine.devices[0].cuda.closed


def test_an_engine_with_other_tensors_is_refused(machine):
    with pytest.raises(
        ModelError, match=r'keypoints float32 \(-1, 4, 3\), but the manifest describes'
    ):
        machine.engine(outputs={'keypoints': 4})
    with pytest.raises(ModelError, match=r'image uint8 \(-1, 48, 80, 3\)'):
        machine.engine(input_hw=(48, 80))


def test_a_precision_that_was_not_exported_is_refused(machine):
    with pytest.raises(ModelError, match=r'run `export .* --precision fp16`'):
        machine.engine(precision='fp16')


def test_whole_numbers_must_have_a_sign(machine):
    name = 'keypointer.int8.onnx'
    (machine.model / name).write_bytes((machine.model / 'keypointer.onnx').read_bytes())
    for signed in (False, True):
        manifest = replace(read_manifest(machine.model), precisions={'int8': {'signed': signed}})
        files = {*manifest.files, name}
        write_manifest(machine.model, manifest, files=sorted(files))
        if signed:
            assert machine.engine(precision='int8').prepared.origin == 'built'
        else:
            with pytest.raises(EngineError, match=r'unsigned int8, which .* int8 --signed`'):
                machine.engine(precision='int8')


def test_the_precision_has_a_file_and_an_engine_of_its_own(machine):
    name = 'keypointer.fp16.onnx'
    (machine.model / name).write_bytes((machine.model / 'keypointer.onnx').read_bytes())
    manifest = replace(read_manifest(machine.model), precisions={'fp16': {}})
    write_manifest(machine.model, manifest, files=[*manifest.files, name])
    machine.engine()
    engine = machine.engine(precision='fp16')
    assert engine.prepared.origin == 'built'
    assert '-fp16-' in engine.prepared.path.name
    assert ', fp16, batches up to 1' in engine.description


def test_progress_is_told_from_the_first_step_to_the_comparison(machine):
    told = []
    machine.engine(progress=lambda *what: told.append(what))
    assert told == [
        *((n, 1000, 'Building') for n in (0, 250, 500, 750, 1000)),
        (0, 1, 'comparing with ONNX Runtime'),
        (1, 1, 'comparing with ONNX Runtime'),
    ]
    told.clear()
    machine.engine(progress=lambda *what: told.append(what))
    assert told == []


def test_a_build_that_is_not_wanted_any_more_is_given_up(machine):
    with pytest.raises(EngineError, match='The build of the engine was stopped'):
        machine.engine(progress=lambda done, total, phase: done < 500)
    assert list(machine.cache.glob('*.plan')) == []
    assert machine.devices[0].cuda.closed


def test_batches_of_any_size_are_answered_in_order(machine):
    engine = machine.engine(max_batch=3)
    places = [(u, u // 2) for u in range(8)]
    found = engine.run(bright(*places))
    np.testing.assert_allclose(found[:, 0, :2], places)
    assert engine.run(bright()).shape == (0, 3, 3)
    keypoints, landmarks = engine.run_with_landmarks(bright((5, 6)))
    np.testing.assert_allclose(keypoints[0, 0], [5, 6, 1])
    assert landmarks.shape == (1, 0, 3)


def test_answers_are_the_callers_own(machine):
    engine = machine.engine()
    first = engine.run(bright((20, 10)))
    engine.run(bright((7, 8)))
    np.testing.assert_allclose(first[0, 0], [20, 10, 1])


def test_each_size_gets_a_context_and_after_two_runs_a_graph(machine):
    machine.engine(max_batch=3)
    machine.devices.clear()
    engine = machine.engine(max_batch=3)
    (plan,) = machine.devices[0].loaded
    assert plan.contexts == [1, 2, 3]
    assert plan.enqueued == [1, 1, 2, 2, 3, 3]  # warm, before the first image comes
    assert plan.launched == [1, 2, 3]
    engine.run(bright((1, 2), (3, 4)))
    assert plan.launched == [1, 2, 3, 2]
    assert plan.contexts == [1, 2, 3]


def test_large_sizes_wait_for_their_graph_until_they_come(machine):
    machine.engine(max_batch=12)
    engine = machine.engine(max_batch=12)
    (plan,) = machine.devices[1].loaded
    assert plan.contexts == list(range(1, 9))
    for _ in range(3):
        engine.run(bright(*[(u, 1) for u in range(12)]))
    assert plan.contexts == [*range(1, 9), 12]
    assert plan.enqueued[-2:] == [12, 12]
    assert plan.launched[-1] == 12


def test_without_graphs_it_says_so_once_and_goes_on(machine, caplog):
    engine = machine.engine(max_batch=2, can_capture=False)
    found = engine.run(bright((20, 10)))
    np.testing.assert_allclose(found[0, 0], [20, 10, 1])
    assert caplog.text.count('runs without CUDA graphs') == 1


def test_a_gpu_that_fails_becomes_one_sentence(machine):
    def answer(images):
        if answer.broken:
            raise RuntimeError('CUDA error: an illegal memory access\nwas encountered')
        return machine.answer(images)

    answer.broken = False
    engine = machine.engine(answer=answer)
    answer.broken = True
    machine.devices[0].cuda.close = lambda: answer(None)  # nor can anything be given back
    with pytest.raises(EngineError, match=r'failed on .* \(CUDA error: an illegal memory acc'):
        engine.run(bright((1, 1)))
    engine.close()


def test_a_gpu_that_fails_while_it_is_built_gives_back_what_it_has(machine):
    def answer(images):
        raise RuntimeError('CUDA error: out of memory')

    with pytest.raises(EngineError, match=r'The GPU failed on .*out of memory'):
        machine.engine(answer=answer)
    assert machine.devices[0].cuda.closed


@pytest.mark.parametrize(
    'images',
    [
        np.zeros((1, *HW, 3), np.float32),
        np.zeros((1, 48, 80, 3), np.uint8),
        np.zeros((*HW, 3), np.uint8),
    ],
)
def test_wrong_images_are_refused(machine, images):
    with pytest.raises(EngineError, match=r'expected uint8 \(N, 48, 64, 3\)'):
        machine.engine().run(images)


def test_a_closed_engine_says_so(machine):
    engine = machine.engine()
    assert engine.gpu_memory_bytes == 0  # the fake's use is always the same
    engine.close()
    engine.close()
    assert machine.devices[0].loaded[0].closed
    assert machine.devices[0].cuda.closed
    with pytest.raises(EngineError, match='The engine is closed'):
        engine.run(bright((1, 1)))


@pytest.mark.parametrize('max_batch', [0, -1, 65])
def test_a_batch_out_of_range_is_refused(machine, max_batch):
    with pytest.raises(EngineError, match=f'must be from 1 to 64, got {max_batch}'):
        machine.engine(max_batch=max_batch)


def test_the_engine_knows_its_model_and_machine(machine):
    engine = machine.engine(max_batch=2)
    assert engine.input_hw == HW
    assert engine.keypoint_names == ('kp0', 'kp1', 'kp2')
    assert engine.description == (
        'TensorRT 10.3.0 on Fake GPU (compute capability 8.7), fp32, batches up to 2, buffers by '
        'fake CUDA'
    )


BUILDER = """
import sys
from pathlib import Path
from keypoint_perception.inference.engine_cache import EngineCache
from fake_device import FakeDevice
from keypoint_perception.inference.tensorrt.build import BuildRequest, prepare_engine
from keypoint_perception.inference.tensorrt.engine_parity import onnxruntime_outputs
from keypoint_perception.manifest import read_manifest

model, cache = map(Path, sys.argv[1:])

class Slow(FakeDevice):
    def build(self, *arguments):
        print('building', flush=True)
        sys.stdin.readline()
        return super().build(*arguments)

said = set()
def progress(done, total, phase):
    word = phase.split()[0]
    if word not in said:
        said.add(word)
        print(word, flush=True)

device = Slow(
    onnxruntime_outputs(model / 'keypointer.onnx'), input_hw=(48, 64), outputs={'keypoints': 3}
)
prepared = prepare_engine(
    BuildRequest(model, read_manifest(model)),
    device,
    EngineCache(cache),
    reference=onnxruntime_outputs,
    progress=progress,
)
print(prepared.origin, flush=True)
"""


@pytest.fixture
def start(machine):
    """Return a function that starts another process which needs the same engine."""
    started = []

    def start():
        command = [sys.executable, '-c', BUILDER, str(machine.model), str(machine.cache)]
        started.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_of_two_processes_one_builds_and_the_other_waits(start, machine):
    builder = start()
    assert builder.stdout.readline() == 'building\n'
    waiter = start()
    assert waiter.stdout.readline() == 'waiting\n'
    builder.stdin.write('go on\n')
    builder.stdin.flush()
    assert builder.stdout.read().splitlines()[-1] == 'built'
    assert waiter.stdout.read().splitlines() == ['from the cache']
    assert machine.plan.is_file()


def test_of_two_processes_the_second_builds_when_the_first_is_killed(start):
    builder = start()
    assert builder.stdout.readline() == 'building\n'
    waiter = start()
    assert waiter.stdout.readline() == 'waiting\n'
    builder.kill()
    assert waiter.stdout.readline() == 'building\n'
    waiter.stdin.write('go on\n')
    waiter.stdin.flush()
    assert waiter.stdout.read().splitlines()[-1] == 'built'


@pytest.fixture
def learned(tmp_path):
    """Return a model directory with a network of PyTorch, whose maps are sharp, and its engine."""
    torch = pytest.importorskip('torch')
    from keypoint_perception.inference.torch_engine import TorchEngine
    from keypoint_perception.model.checkpoint import Checkpoint, save_checkpoint
    from keypoint_perception.model.network import Keypointer, NetworkConfig
    from keypoint_perception.model.onnx_export import export_model

    torch.manual_seed(3)
    network = Keypointer(NetworkConfig(keypoints=3, input_hw=HW, width=8)).eval()
    with torch.no_grad():
        network.body.head.weight *= 1000
    state = {'step': 1, 'objective': 'none', 'sources': [], 'metrics': {}, 'config': {}}
    frames = torch.randint(0, 255, (5, *HW, 3), dtype=torch.uint8)
    model = tmp_path / 'learned'
    save_checkpoint(model, Checkpoint(network, {'x': torch.zeros(1)}, state, frames))
    export_model(model)
    return model, TorchEngine(model, read_manifest(model)), frames.numpy()


def test_a_real_network_behind_the_fake_gpu_is_near_enough(learned, tmp_path):
    """PyTorch and ONNX Runtime differ in the last digits, as TensorRT will."""
    model, torch_engine, frames = learned
    engine = TensorRTEngine(
        model,
        read_manifest(model),
        max_batch=2,
        cache_dir=tmp_path / 'engines',
        open_device=lambda: FakeDevice(
            lambda images: {'keypoints': torch_engine.run(images)},
            input_hw=HW,
            outputs={'keypoints': 3},
        ),
    )
    parity = engine.prepared.parity
    assert parity['images'] == 'frames of the training recording'
    assert (parity['frames'], parity['points']) == (5, 5 * 3)
    assert parity['confident'] > 0
    assert 0 < parity['largest_px'] < 0.05
    np.testing.assert_allclose(engine.run(frames), torch_engine.run(frames), atol=1e-3)


def test_a_network_whose_bytes_are_mixed_up_is_not(learned, tmp_path):
    """BGR for RGB is what a wrong binding would look like."""
    model, torch_engine, _ = learned
    with pytest.raises(EngineError, match='and ONNX Runtime differ'):
        TensorRTEngine(
            model,
            read_manifest(model),
            cache_dir=tmp_path / 'engines',
            open_device=lambda: FakeDevice(
                lambda images: {'keypoints': torch_engine.run(images[..., ::-1])},
                input_hw=HW,
                outputs={'keypoints': 3},
            ),
        )


def test_named_points_are_the_second_output(machine, monkeypatch):
    from keypoint_perception.inference.tensorrt import tensorrt_engine

    def answer(images):
        keypoints = machine.answer(images)['keypoints']
        return {'keypoints': keypoints, 'landmarks': keypoints[:, 2:]}

    monkeypatch.setattr(tensorrt_engine, 'onnxruntime_outputs', lambda path: answer)
    engine = TensorRTEngine(
        machine.model,
        replace(read_manifest(machine.model), landmark_names=('tip',)),
        cache_dir=machine.cache,
        open_device=lambda: machine.device(
            answer=answer, outputs={'keypoints': 3, 'landmarks': 1}
        ),
    )
    assert engine.prepared.parity['points'] == 16 * 4
    keypoints, landmarks = engine.run_with_landmarks(bright((5, 6)))
    assert keypoints.shape == (1, 3, 3)
    np.testing.assert_allclose(landmarks, [[[7, 6, 1]]])
