"""Advice on models and their training: who does what the sentence says has no error left."""

import json
import math
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

from advice import named, sentence_of, words_of
from keypoint_perception.atomic_files import sole_writer
from keypoint_perception.commands.diagnosis import engine_cache, OK, WARNING
from keypoint_perception.inference.engine_cache import CACHE_VARIABLE
from keypoint_perception.learning import run_monitor
import pytest


@pytest.fixture
def detect(learned, tmp_path):
    """Return a function that makes the arguments of a detection."""

    def detect(model, *more):
        return ('detect', model, learned / 'images', '--out', tmp_path / 'points.csv', *more)

    return detect


def damage(name):
    def apply(model):
        (model / name).write_bytes((model / name).read_bytes()[:-7] + b'damaged')

    return apply


@pytest.mark.parametrize(
    'change',
    [
        damage('keypointer.onnx'),
        damage('report.html'),
        lambda model: (model / 'keypointer.onnx').unlink(),
        lambda model: (model / 'report.html').unlink(),
        lambda model: change_manifest(model, files={}),
        lambda model: change_manifest(model, skeleton=[[0, 7, 1.0]]),
    ],
    ids=['network', 'report', 'no network', 'no report', 'files', 'skeleton'],
)
def test_a_model_that_its_checkpoint_restores(model_of, detect, refused, accepted, change):
    model = model_of()
    change(model)
    assert re.search(
        'it from its checkpoint with `export`|export the model again', refused(*detect(model))
    )
    accepted('export', model)
    accepted(*detect(model))


def change_manifest(model, **values):
    path = model / 'manifest.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    'change',
    [
        lambda model: change_manifest(model, input_hw=[0, 0]),
        lambda model: (model / 'manifest.json').write_text('{'),
        lambda model: (model / 'checkpoint' / 'training.safetensors').unlink(),
    ],
    ids=['value', 'no JSON', 'checkpoint'],
)
def test_a_model_to_copy_again(model_of, learned, detect, refused, accepted, change):
    model = model_of()
    change(model)
    assert re.search('copy the (whole )?model directory again', refused(*detect(model)))
    shutil.rmtree(model)
    accepted(*detect(model_of()))


@pytest.mark.parametrize('name', ['network.safetensors', 'training.json'])
def test_a_checkpoint_that_cannot_be_read(model_of, learned, train, tmp_path, name):
    again = ('--resume', '--objective', 'supervised', '--annotations', learned / 'labels.csv')
    model = model_of('trained')
    damage(f'checkpoint/{name}')(model)
    sentence = sentence_of(train(learned / 'images', *again))
    assert 'copy the complete model directory again, or train into another --out' in sentence
    assert train(learned / 'images', '--size', 64, out='other')[0] == 0
    shutil.rmtree(model)
    model_of('trained')
    # what the sentence restores is the run as it was, with its own settings
    assert 'was started with other settings' in sentence_of(train(learned / 'images', *again))


def test_a_precision_that_was_not_exported(model_of, detect, refused, accepted, learned):
    model = model_of()
    for precision in ('fp16', 'int8'):
        sentence = refused(*detect(model, '--precision', precision))
        accepted(*words_of('run `(export .+)`', sentence))
        accepted(*detect(model, '--precision', precision))
    assert 'use fp32, or allow more with --max-loss' in refused(
        *('export', model, '--precision', 'int8', '--max-loss', 0.0001)
    )
    accepted('export', model, '--precision', 'int8', '--max-loss', 10)
    sentence = refused('export', model, '--max-loss', 1)
    precision = named('requires --precision (fp16)', sentence)
    accepted('export', model, '--precision', precision, '--max-loss', 1)
    assert 'needs another engine' in refused(
        *detect(model, '--precision', 'fp16', '--engine', 'torch')
    )
    accepted(*detect(model, '--precision', 'fp16', '--engine', 'onnxruntime'))
    shutil.rmtree(model / 'frames')
    assert 'give a recording of the same scene with --frames' in refused(
        *('export', model, '--precision', 'int8')
    )
    accepted('export', model, '--precision', 'int8', '--frames', learned / 'images')


def test_landmarks(model_of, detect, learned, refused, accepted, tmp_path):
    model = model_of()
    points = detect(model, '--landmarks', tmp_path / 'landmarks.csv')
    fit = ('landmarks', model, learned / 'images', '--annotations', learned / 'labels.csv')
    assert 'add some with `landmarks` first' in refused(*points)
    accepted(*fit)
    accepted(*points)
    (model / 'landmarks.json').write_text('{}')
    sentences = [refused(*points), refused('export', model), refused(*fit)]
    assert 'delete it, run `export`' in sentences[1]
    (model / 'landmarks.json').unlink()
    for verb in (('export', model), fit, points):
        accepted(*verb)


def test_a_model_that_is_there(model_of, learned, train, detect, refused, accepted, tmp_path):
    model_of('trained')
    sentence = sentence_of(train(learned / 'images', '--size', 64))
    assert 'continue it with --resume, or choose another --out' in sentence
    assert train(learned / 'images', '--size', 64, out='other')[0] == 0
    assert train(learned / 'images', '--resume', out='other')[0] == 0
    bag = tmp_path / 'points'
    accepted(*detect(model_of(), '--bag', bag))
    sentence = refused(*detect(tmp_path / 'my model', '--bag', bag))
    assert 'remove it, or choose another directory' in sentence
    accepted(*detect(tmp_path / 'my model', '--bag', tmp_path / 'other_points'))
    shutil.rmtree(bag)
    accepted(*detect(tmp_path / 'my model', '--bag', bag))


def test_a_run_that_is_resumed_with_other_settings(learned, train):
    assert train(learned / 'images', '--size', 64)[0] == 0
    for change in (('--size', 96), ('--seed', 5), ('--objective', 'motion_energy')):
        sentence = sentence_of(train(learned / 'images', '--resume', *change))
        assert 'resume it without them, or train into another --out' in sentence
    assert train(learned / 'images', '--resume')[0] == 0
    other = shutil.copytree(learned / 'images', learned / 'other', dirs_exist_ok=True)
    next(other.iterdir()).unlink()
    sentence = sentence_of(train(other, '--resume'))
    assert 'give the same recordings and topics as before, or train into another' in sentence
    assert train(other, '--size', 64, out='second')[0] == 0


def test_a_loss_that_is_no_number(learned, train, monkeypatch):
    never = {'isfinite': lambda _: False}
    with monkeypatch.context() as patch:
        patch.setattr(run_monitor, 'math', SimpleNamespace(**vars(math) | never))
        sentence = sentence_of(train(learned / 'images', '--size', 64))
    assert 'lower learning_rate (it is 0.002) or set precision to 32, and train into' in sentence
    assert train(learned / 'images', '--size', 64, out='another')[0] == 0


def test_a_directory_in_use(model_of, refused, accepted):
    model = model_of()
    with sole_writer(model):
        assert 'wait until it has finished' in refused('export', model)
    accepted('export', model)


def test_engines(model_of, detect, refused, accepted, monkeypatch):
    model = model_of()
    for name in named('known: ([^.]+)', refused(*detect(model, '--engine', 'gpu'))).split(', '):
        if name != 'tensorrt':
            accepted(*detect(model, '--engine', name))
    other = named('or choose engine (.+)[.]', refused(*detect(model, '--engine', 'tensorrt')))
    accepted(*detect(model, '--engine', other))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'onnxruntime', None)
        sentence = refused(*detect(model, '--engine', 'onnxruntime'))
        assert named('`pip install (.+)`', sentence) == 'onnxruntime'
    accepted(*detect(model, '--engine', 'onnxruntime'))


def test_names_of_outputs(model_of, detect, refused, accepted, tmp_path):
    model = model_of()
    assert 'rename it' in refused(*detect(model, '--video', tmp_path / 'v.avi'))
    assert 'choose different paths' in refused(
        *detect(model, '--landmarks', tmp_path / 'points.csv')
    )
    (tmp_path / 'file').write_text('')
    missing = ('export', model.with_name('none'))
    assert 'give a directory that `train --out` has finished' in refused(*missing)
    command = words_of('see `keypoint_perception (.+)`', refused('detect', '--model', model))
    accepted(*command)
    accepted(*detect(model, '--video', tmp_path / 'v.mp4'))


def test_a_cache_that_others_can_write(tmp_path, monkeypatch):
    folder = tmp_path / 'my cache'
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    finding = engine_cache()
    assert finding.state == WARNING
    subprocess.run(words_of('`(chmod .+?)`', finding.remedy), check=True)
    assert engine_cache().state == OK
