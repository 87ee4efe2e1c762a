"""``export --precision`` and ``benchmark engine`` as a user runs them."""

import json
import re
import shutil

import cv2
from keypoint_perception.commands.program import main
from keypoint_perception.commands.recorded_frames import calibration_frames
from keypoint_perception.frames.extraction import extract_frames
from keypoint_perception.learning.config import to_values, TrainConfig
from keypoint_perception.manifest import read_manifest
from keypoint_perception.model.checkpoint import Checkpoint, save_checkpoint
from keypoint_perception.model.network import Keypointer, NetworkConfig
from keypoint_perception.model.onnx_export import export_model
import numpy as np
import pytest
import torch

pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    """Return a folder of 30 images of 64 x 48 in which a square goes round."""
    folder = tmp_path_factory.mktemp('images')
    for i in range(30):
        image = np.full((48, 64, 3), 60, np.uint8)
        u, v = 28 + round(18 * np.cos(i / 4)), 20 + round(12 * np.sin(i / 4))
        image[v : v + 9, u : u + 9] = (30, 60, 240)
        image[0, 0] = 8 * i  # the square comes back, the image does not
        cv2.imwrite(str(folder / f'{10**18 + i * 33_333_333}.png'), image)
    return folder


@pytest.fixture(scope='module')
def exported(tmp_path_factory, recording):
    """Return a model directory that looks as after training, with its frames."""
    torch.manual_seed(0)
    model = tmp_path_factory.mktemp('model')
    network = Keypointer(NetworkConfig(keypoints=3, input_hw=(48, 64), width=8)).eval()
    with torch.no_grad():
        network.body.head.weight *= 20
    state = {
        'step': 1,
        'objective': 'temporal_transport',
        'config': to_values(TrainConfig(keypoints=3)),
        'sources': [],
        'metrics': {},
    }
    frames = torch.randint(0, 255, (4, 48, 64, 3), dtype=torch.uint8)
    save_checkpoint(model, Checkpoint(network, {'a': torch.zeros(1)}, state, frames))
    export_model(model)
    extract_frames([recording], [], model / 'frames', size=64)
    return model


@pytest.fixture
def model(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / 'model')


def run(capsys, *arguments):
    """Run a command line in this process; return exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, ' '.join(captured.err.split())


def test_int8_takes_its_scales_from_the_frames_that_were_learned_from(capsys, model):
    code, said, _ = run(capsys, 'export', model, '--precision', 'int8')
    assert code == 0
    facts = read_manifest(model).precisions['int8']
    assert (facts['calibration_frames'], facts['frames'], facts['signed']) == (21, 9, False)
    assert (
        f'its keypoints differ from those of fp32 by {facts["median_px"]:.3f} px (median; 95 %: '
        in said
    )
    assert 'on 9 held-out frames' in said


def test_a_precision_is_run_where_it_is_asked_for(capsys, model, recording, tmp_path):
    run(capsys, 'export', model, '--precision', 'int8')
    found = {}
    for precision in ('fp32', 'int8'):
        out = tmp_path / f'{precision}.csv'
        more = ('--out', out, '--precision', precision, '--threads', '1')
        assert run(capsys, 'detect', model, recording, *more)[0] == 0
        found[precision] = np.loadtxt(out, delimiter=',', skiprows=1, usecols=(0, 3, 4))
    away = np.abs(found['int8'] - found['fp32'])
    assert (away[:, 0] == 0).all()
    assert 0 < np.median(away[:, 1:]) < 0.5
    code, _, said = run(capsys, 'detect', model, recording, '--out', out, '--precision', 'fp16')
    assert code == 2
    assert 'has no fp16 network, only fp32, int8; run `export' in said


def test_without_its_frames_int8_asks_for_a_recording(capsys, model, recording):
    shutil.rmtree(model / 'frames')
    code, _, said = run(capsys, 'export', model, '--precision', 'int8')
    assert code == 2
    assert 'The training frames of this model are missing' in said
    assert 'give a recording of the same scene with --frames' in said
    more = ('--precision', 'int8', '--frames', recording, '--signed')
    assert run(capsys, 'export', model, *more)[0] == 0
    assert read_manifest(model).precisions['int8']['signed'] is True


def test_a_loss_that_is_not_allowed_ends_in_one_sentence(capsys, model):
    before = read_manifest(model)
    code, _, said = run(capsys, 'export', model, '--precision', 'int8', '--max-loss', '0')
    assert code == 2
    assert 'The keypoints in int8 and in fp32 differ: median' in said
    assert 'on 9 recorded frames, worst' in said
    assert 'Traceback' not in said
    assert read_manifest(model) == before


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--frames', 'bag'], '--frames requires --precision int8, got fp32'),
        (['--precision', 'fp16', '--signed'], '--signed requires --precision int8, got fp16'),
        (['--max-loss', '1'], '--max-loss requires --precision fp16 or int8'),
        (['--precision', 'int4'], "--precision 'int4' is not known; known: fp32, fp16, int8"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(capsys, model, arguments, expected):
    code, _, said = run(capsys, 'export', model, *arguments)
    assert code == 2
    assert expected in said


def test_scales_and_their_cost_come_from_different_frames(model, recording):
    stored = calibration_frames(model, (48, 64), None, None)
    recorded = calibration_frames(model, (48, 64), recording, None)
    for found, expected in zip(stored, recorded, strict=True):
        np.testing.assert_array_equal(found, expected)
    every = {image.tobytes() for image in stored[0]}
    assert not every & {image.tobytes() for image in stored[1]}


def test_frames_of_another_size_and_too_few_of_them_are_refused(model, recording, tmp_path):
    from keypoint_perception.errors import SourceError

    with pytest.raises(SourceError, match=r'are 64 x 48 px and the network takes 80 x 48'):
        calibration_frames(model, (48, 80), None, None)
    short = tmp_path / 'short'
    short.mkdir()
    for path in sorted(recording.iterdir())[:5]:
        shutil.copy(path, short)
    with pytest.raises(SourceError, match=r'has 5 frames, int8 needs at least 20'):
        calibration_frames(model, (48, 64), short, None)


def test_every_engine_that_is_here_is_measured(capsys, model, tmp_path):
    assert run(capsys, 'export', model, '--precision', 'int8')[0] == 0
    out = tmp_path / 'engines.json'
    few = ('--runs', '5', '--batch', '1', '--batch', '2', '--no-memory')
    code, said, _ = run(capsys, 'benchmark', 'engine', model, '--out', out, *few)
    assert code == 0
    measured = json.loads(out.read_text())
    assert measured['images'] == 'noise'  # 30 frames are too few
    (of_one_thread,) = measured['measured']
    engines = {(facts['engine'], facts['precision']): facts for facts in of_one_thread['engines']}
    assert list(engines) == [('onnxruntime', 'fp32'), ('onnxruntime', 'int8'), ('torch', 'fp32')]
    assert set(engines['torch', 'fp32']['batches']) == {'1', '2'}
    assert engines['torch', 'fp32']['parity']['median_px'] < 0.01
    assert re.search(r'\| onnxruntime int8 cpu +\| 1 +\|', said)
