"""``export --engine tensorrt``, with a fake GPU where one is needed."""

import re
import subprocess
import sys

from fake_device import FakeDevice
from keypoint_perception.commands.program import main
from keypoint_perception.inference.engine_cache import CACHE_VARIABLE
from keypoint_perception.inference.synthetic_model import write_synthetic_model
from keypoint_perception.inference.tensorrt import tensorrt_engine
from keypoint_perception.inference.tensorrt.engine_parity import onnxruntime_outputs
import pytest

pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / 'engines'))
    return tmp_path / 'engines'


@pytest.fixture
def model(tmp_path):
    write_synthetic_model(tmp_path / 'model', keypoints=3, input_hw=(48, 64))
    return tmp_path / 'model'


@pytest.fixture
def gpu(model, monkeypatch):
    """Make engines open a fake GPU."""
    answer = onnxruntime_outputs(model / 'keypointer.onnx')
    monkeypatch.setitem(
        tensorrt_engine.TensorRTEngine.__init__.__kwdefaults__,
        'open_device',
        lambda: FakeDevice(answer, input_hw=(48, 64), outputs={'keypoints': 3}),
    )


def run(*arguments):
    """Return the program's exit status."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def test_an_engine_is_built_ahead_and_found_again(model, cache, gpu, capsys):
    arguments = ('export', model, '--engine', 'tensorrt', '--max-batch', '2')
    assert run(*arguments) == 0
    (plan,) = cache.glob('*.plan')
    said = capsys.readouterr()
    assert re.match(rf'built {plan} in \d+ s, for TensorRT 10\.3\.0 on Fake GPU', said.out)
    assert 'batches up to 2' in said.out
    assert '0.0000 px on 16 random images, because the model has no checkpoint/' in said.out
    assert 'Building' in said.err
    assert 'comparing with ONNX Runtime' in said.err
    assert run(*arguments) == 0
    assert capsys.readouterr().out.startswith(f'{plan} is up to date, for TensorRT')


def test_an_engine_that_is_not_kept_is_an_error(model, cache, gpu, capsys):
    cache.mkdir(mode=0o700)
    cache.chmod(0o777)
    assert run('export', model, '--engine', 'tensorrt') == 2
    said = capsys.readouterr()
    assert 'error: The engine was built but could not be cached' in said.err
    assert said.out == ''


def test_the_cache_is_cleared(model, cache, gpu, capsys):
    assert run('export', model, '--engine', 'tensorrt') == 0
    capsys.readouterr()
    assert run('export', '--clear-cache') == 0
    assert capsys.readouterr().out.startswith('removed 1 compiled engines, ')
    assert list(cache.iterdir()) == []
    assert run('export', model, '--engine', 'tensorrt', '--clear-cache') == 0
    assert 'removed 0 compiled engines' in capsys.readouterr().out
    assert len(list(cache.glob('*.plan'))) == 1


def test_without_a_model_it_asks_for_one(capsys):
    assert run('export') == 2
    assert 'No model was given; specify the directory' in capsys.readouterr().err


@pytest.mark.parametrize('max_batch', [0, 65])
def test_a_batch_out_of_range_is_refused(model, max_batch, capsys):
    assert run('export', model, '--engine', 'tensorrt', '--max-batch', max_batch) == 2
    assert f'max batch: must be from 1 to 64, got {max_batch}' in capsys.readouterr().err


def test_without_tensorrt_it_is_one_sentence_and_how_to_get_it(model, cache):
    """The real program, with the libraries of this machine."""
    blocked = 'import sys; sys.modules["tensorrt"] = None; import runpy; sys.argv = sys.argv[1:]; '
    blocked += 'runpy.run_module("keypoint_perception", run_name="__main__")'
    command = [sys.executable, '-c', blocked, 'keypoint_perception', 'export', str(model)]
    done = subprocess.run(
        [*command, '--engine', 'tensorrt'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith('error: Engine tensorrt is not installed (')
    assert 'JetPack' in done.stderr
    assert '`pip install tensorrt`' in done.stderr
    assert done.stderr.count('\n') == 1
    assert done.stdout == ''
