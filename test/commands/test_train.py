"""``train`` and ``export`` as a user runs them: a model comes out, or one sentence."""

import errno
import json
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys

import cv2
from keypoint_perception.atomic_files import sole_writer
from keypoint_perception.commands.program import main
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.inference.engine import load_engine
from keypoint_perception.manifest import read_manifest
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
QUICK = 'width: 8\nbatch_size: 4\nlog_every: 1\nthreads: 1\nprecision: "32"\n'


def write_images(folder, images):
    folder.mkdir()
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / f'{10**18 + i * 33_333_333}.png'), image)
    return folder


@pytest.fixture
def recording(tmp_path):
    """A square that goes round, 40 frames of 64 x 48."""
    images = np.full((40, 48, 64, 3), 60, np.uint8)
    for i, image in enumerate(images):
        u, v = 28 + round(18 * np.cos(i / 4)), 20 + round(12 * np.sin(i / 4))
        image[v : v + 9, u : u + 9] = (30, 60, 240)
    return write_images(tmp_path / 'recording', images)


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / 'quick.yaml'
    path.write_text(QUICK)
    return path


def run(capsys, *arguments):
    """Run a command line in this process; return exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


def train(capsys, recording, out, quick, *more):
    size = ('--size', '64', '--keypoints', '3')
    return run(capsys, 'train', recording, '--out', out, *size, '--config', quick, *more)


def sentence(stderr):
    """Return the last line, which must be the only one that is an error, and no traceback."""
    assert 'Traceback' not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    return lines[0]


def test_a_folder_becomes_a_model(capsys, recording, quick, tmp_path):
    out = tmp_path / 'model'
    code, stdout, stderr = train(capsys, recording, out, quick, '--steps', '3', '--seed', '5')
    assert code == 0, stderr
    assert 'stopped at step 3: 3 steps are done' in stdout
    assert '3 keypoints learned from 40 frames' in stdout
    manifest = read_manifest(out)
    assert (manifest.keypoint_count, manifest.input_hw) == (3, (48, 64))
    assert manifest.sources[0]['frames'] == 40
    assert manifest.metrics['steps'] == 3
    assert manifest.metrics['parity']['largest_px'] < 0.05
    state = json.loads((out / 'checkpoint' / 'training.json').read_text())
    assert state['config']['seed'] == 5
    page = (out / 'report.html').read_text()
    page, pictures = re.subn(r'data:image/jpeg;base64,[A-Za-z0-9+/=]+', '', page)
    # the keypoints on frames, and the reconstruction
    assert (pictures, page.count('class="curve"')) == (2, 1)
    assert (out / 'reconstruction.png').is_file()
    assert 'http' not in page
    found = load_engine(out, 'onnxruntime').run(FrameStore.open(out / 'frames').images[:2])
    assert found.shape == (2, 3, 3)
    code, stdout, _ = run(capsys, 'export', out)
    assert code == 0
    assert 'px on 16 frames of its training recording' in stdout


def test_going_on_from_a_model(capsys, recording, quick, tmp_path):
    out = tmp_path / 'model'
    train(capsys, recording, out, quick, '--steps', '2')
    code, _, stderr = train(capsys, recording, out, quick, '--steps', '4')
    assert code == 2
    assert 'already holds a model; continue it with --resume, or choose an' in sentence(stderr)
    code, stdout, _ = train(capsys, recording, out, quick, '--steps', '4', '--resume')
    assert code == 0
    assert 'stopped at step 4' in stdout
    assert read_manifest(out).metrics['steps'] == 4
    code, _, stderr = run(capsys, 'train', recording, '--out', out, '--resume', '--keypoints', '9')
    assert code == 2
    assert 'started with other settings (keypoints 3 -> 9)' in sentence(stderr)


def test_a_full_disk_ends_a_run_that_goes_on_where_it_was(
    capsys, recording, quick, tmp_path, monkeypatch
):
    out, sync, calls = tmp_path / 'model', os.fsync, []

    def full(handle):
        if Path(f'/proc/self/fd/{handle}').readlink().name == 'training.json':
            calls.append(handle)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr('os.fsync', full)
    failing = 1
    code, _, stderr = train(capsys, recording, out, quick, '--steps', '2')
    assert code == 2
    remedy = 'No space left on device; make room, then run the same command again'
    assert sentence(stderr) == f'error: {remedy}.'
    failing = -1
    assert train(capsys, recording, out, quick, '--steps', '2')[0] == 0
    failing = len(calls) + 1
    code, _, stderr = train(capsys, recording, out, quick, '--steps', '4', '--resume')
    assert sentence(stderr) == f'error: {remedy}.'
    assert not list(out.glob('.*'))  # nothing of the new checkpoint
    failing = -1
    assert train(capsys, recording, out, quick, '--steps', '4', '--resume')[0] == 0
    # a run that has saved something by then is not begun anew
    quick.write_text(QUICK + 'picture_every_s: 0.1\n')
    out, failing = tmp_path / 'long', len(calls) + 2
    code, _, stderr = train(capsys, recording, out, quick, '--steps', '4000')
    assert sentence(stderr) == f'error: {remedy} with --resume.'
    failing = -1
    step = json.loads((out / 'checkpoint' / 'training.json').read_text())['step']
    code, stdout, _ = train(capsys, recording, out, quick, '--steps', str(step + 1), '--resume')
    assert (code, f'stopped at step {step + 1}' in stdout) == (0, True)


def test_a_run_is_locked_before_its_checkpoint_is_touched(capsys, recording, quick, tmp_path):
    out = tmp_path / 'model'
    train(capsys, recording, out, quick, '--steps', '1')
    (out / 'checkpoint').rename(out / 'checkpoint.old')  # while a run replaces it
    with sole_writer(out):
        code, _, stderr = train(capsys, recording, out, quick, '--steps', '2', '--resume')
    assert code == 2
    assert 'is being written by another process' in sentence(stderr)
    assert (out / 'checkpoint.old').is_dir()
    assert train(capsys, recording, out, quick, '--steps', '2', '--resume')[0] == 0


def test_a_refused_run_leaves_no_directory(capsys, recording, quick, tmp_path):
    assert train(capsys, recording, tmp_path / 'model', quick, '--seeds', '-1')[0] == 2
    assert train(capsys, recording, tmp_path / 'model', quick, '--resume')[0] == 2
    assert not (tmp_path / 'model').exists()


@pytest.fixture
def labels(tmp_path):
    """The square's corner and its middle in every second frame of the recording."""
    rows = ['stamp_ns,keypoint,u,v']
    for i in range(0, 40, 2):
        u, v = 28 + round(18 * np.cos(i / 4)), 20 + round(12 * np.sin(i / 4))
        stamp_ns = 10**18 + i * 33_333_333
        rows += [f'{stamp_ns},corner,{u},{v}', f'{stamp_ns},middle,{u + 4},{v + 4}']
    path = tmp_path / 'labels.csv'
    path.write_text('\n'.join(rows) + '\n')
    return path


def test_labels_are_learned_by_name_from_a_models_weights(
    capsys, recording, quick, labels, tmp_path
):
    begun, out = tmp_path / 'begun', tmp_path / 'model'
    train(capsys, recording, begun, quick, '--steps', '2')
    command = (
        'train',
        recording,
        '--out',
        out,
        '--config',
        quick,
        '--steps',
        '2',
        '--init',
        begun,
    )
    command += ('--objective', 'supervised', '--annotations', labels)
    code, stdout, stderr = run(capsys, *command)
    assert code == 0, stderr
    assert '2 keypoints learned from 40 frames' in stdout
    assert f'copied from {begun}; initialised at random: ' in stderr
    assert 'body.head.weight 3x8x1x1 -> 2x8x1x1' in stderr
    manifest = read_manifest(out)
    assert manifest.keypoint_names == ('corner', 'middle')
    assert (manifest.input_hw, manifest.objective) == ((48, 64), 'supervised')
    # the first model is not needed to go on, the labels are
    shutil.rmtree(begun)
    goes_on = ('train', recording, '--out', out, '--resume', '--steps', '3')
    assert run(capsys, *goes_on)[0] == 0
    labels.write_text(labels.read_text() + f'{10**18 + 33_333_333},corner,9,9\n')
    code, _, stderr = run(capsys, *goes_on)
    assert code == 2
    assert 'was started with other labels than' in sentence(stderr)


def test_tracks_of_another_recording_are_refused(capsys, recording, quick, tmp_path):
    tracks = tmp_path / 'tracks.csv'
    tracks.write_text('stamp_ns,topic,keypoint,u,v,confidence\n5,,a,1,1,1\n6,,a,1,1,1\n')
    command = ('train', recording, '--out', tmp_path / 'model', '--config', quick, '--steps', '1')
    code, _, stderr = run(capsys, *command, '--tracks', tracks)
    assert code == 2
    assert 'match no frame: the image nearest to stamp_ns 5 is' in sentence(stderr)
    code, _, stderr = run(capsys, *command, '--tracks', tmp_path / 'none.csv')
    assert code == 2
    assert 'cannot be read (No such file or directory)' in sentence(stderr)


def test_a_run_goes_on_with_the_tracks_that_it_began_with(capsys, recording, quick, tmp_path):
    out, tracks = tmp_path / 'model', tmp_path / 'tracks.csv'
    rows = [f'{10**18 + i * 33_333_333},,a,{10 + i},20,1' for i in range(9)]
    tracks.write_text('\n'.join(['stamp_ns,topic,keypoint,u,v,confidence', *rows, '']))
    code, _, stderr = train(
        capsys, recording, out, quick, '--steps', '1', '--tracks', tracks, '--init', 'none'
    )
    assert code == 0, stderr
    goes_on = ('train', recording, '--out', out, '--resume', '--steps', '2')
    code, _, stderr = run(capsys, *goes_on)
    assert code == 0, stderr
    tracks.write_text(tracks.read_text().replace('11,20', '12,20'))
    code, _, stderr = run(capsys, *goes_on)
    assert code == 2
    assert 'was started with other tracks than' in sentence(stderr)


def test_labels_that_cannot_be_meant(capsys, recording, quick, labels, tmp_path):
    command = ('train', recording, '--out', tmp_path / 'model', '--config', quick, '--steps', '1')
    supervised = ('--objective', 'supervised', '--annotations', labels)
    code, _, stderr = run(capsys, *command, '--annotations', labels)
    assert code == 2
    assert 'default does not learn from labels; omit them' in sentence(stderr)
    code, _, stderr = run(capsys, *command, *supervised, '--keypoints', '5')
    assert code == 2
    assert 'name 2 points (corner, middle), but the network has 5' in sentence(stderr)
    labels.write_text('stamp_ns,keypoint,u,v\n5,corner,1,1\n6,corner,1,1\n')
    code, _, stderr = run(capsys, *command, *supervised)
    assert code == 2
    assert 'match no frame: stamps must be equal to the nanosecond' in sentence(stderr)
    # a labelled recording is not written into, nor is the model that was begun with
    code, _, stderr = run(capsys, *command[:2], '--out', labels, *supervised)
    assert code == 2
    assert 'would overwrite or change the labels' in sentence(stderr)


def test_a_frame_store_is_used_where_it_lies(capsys, recording, quick, tmp_path):
    store = tmp_path / 'store'
    assert run(capsys, 'extract', recording, '--out', store, '--size', '64')[0] == 0
    out = tmp_path / 'model'
    assert train(capsys, store, out, quick, '--steps', '1')[0] == 0
    assert not (out / 'frames').exists()
    code, _, stderr = run(
        capsys, 'train', store, '--out', tmp_path / 'other', '--size', '96', '--config', quick
    )
    assert code == 2
    assert 'holds frames of 64x48, not of a long side of 96 px; use --size 64' in sentence(stderr)
    code, _, stderr = run(
        *(capsys, 'train', store, '--out', tmp_path / 'other', '--stamps', 'bag'),
        *('--config', quick),
    )
    assert code == 2
    assert 'keeps the stamps and topics that it was extracted with; give --st' in sentence(stderr)


def test_ctrl_c_leaves_a_usable_model(recording, quick, tmp_path):
    out = tmp_path / 'model'
    command = [sys.executable, '-m', 'keypoint_perception', 'train', str(recording)]
    command += ['--out', str(out), '--size', '64', '--config', str(quick), '--steps', '1000000']
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    )
    history = out / 'history.csv'
    while process.poll() is None:  # until it has learned something
        if history.is_file() and len(history.read_text().splitlines()) > 3:
            process.send_signal(signal.SIGINT)
            break
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert 'SIGINT requested a stop' in stdout
    assert read_manifest(out).metrics['steps'] >= 3


def test_minutes_end_a_run(capsys, recording, quick, tmp_path):
    code, stdout, _ = train(capsys, recording, tmp_path / 'model', quick, '--minutes', '0.02')
    assert code == 0
    assert '0.02 minutes are over' in stdout


def still(tmp_path):
    return write_images(tmp_path / 'still', np.full((40, 48, 64, 3), 90, np.uint8))


def test_nothing_to_learn_from(capsys, quick, tmp_path):
    code, _, stderr = train(capsys, still(tmp_path), tmp_path / 'model', quick)
    assert code == 2
    assert 'Nothing moves in the recording' in sentence(stderr)


def test_frames_of_a_failed_run_are_not_mixed_in(capsys, recording, quick, tmp_path):
    still = write_images(tmp_path / 'still', [np.full((48, 64, 3), 90, np.uint8)] * 40)
    out = tmp_path / 'model'
    assert train(capsys, still, out, quick, '--steps', '2')[0] == 2
    code, _, stderr = train(capsys, recording, out, quick, '--steps', '2')
    assert code == 2
    assert f'holds the frames of {still}, not the requested ones; give' in sentence(stderr)
    assert [s['name'] for s in FrameStore.open(out / 'frames').sources] == [str(still)]


def test_a_run_goes_on_with_its_own_frames_only(capsys, recording, quick, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), np.uint8)
    other = write_images(tmp_path / 'other', images)
    store, out = tmp_path / 'store', tmp_path / 'model'
    assert run(capsys, 'extract', other, '--out', store, '--size', '64')[0] == 0
    assert train(capsys, recording, out, quick, '--steps', '2')[0] == 0
    resume = ('train', '--out', out, '--resume', '--steps', '4')
    for sources in ([other], [recording, other]):
        code, _, stderr = run(capsys, *resume, *sources)
        assert code == 2
        assert f'holds the frames of {recording}, not the requested ones' in sentence(stderr)
    code, _, stderr = run(capsys, *resume, store)
    assert code == 2
    assert f'was started on other frames, those of {recording} (40 frames)' in sentence(stderr)
    shutil.rmtree(out / 'frames')
    code, _, stderr = run(capsys, *resume, other)
    assert code == 2
    assert f"; delete '{out / 'frames'}' and resume it with the same" in sentence(stderr)
    shutil.rmtree(out / 'frames')
    assert run(capsys, *resume, recording)[0] == 0


def test_two_runs_into_one_directory_are_refused(capsys, recording, quick, tmp_path):
    out = tmp_path / 'model'
    out.mkdir()
    with sole_writer(out):
        code, _, stderr = train(capsys, recording, out, quick, '--steps', '2')
    assert code == 2
    assert f"'{out}' is being written by another process; wait until" in sentence(stderr)
    assert not list(out.iterdir())


def test_too_short_a_recording(capsys, recording, quick, tmp_path):
    for path in sorted(recording.iterdir())[2:]:
        path.unlink()
    code, _, stderr = train(capsys, recording, tmp_path / 'model', quick)
    assert code == 2
    assert 'No episode of the 2 frames is long enough for a pair' in sentence(stderr)


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--objective', 'magic'], 'objective: must be one of conditional_generation, default, '),
        (['--steps', '0'], '--steps'),
        (['--keypoints', '0'], 'keypoints: must be an integer from 1 to 256, got 0'),
        (['--size', '100'], 'size: must be a multiple of 8, got 100'),
        (['--config', 'nowhere.yaml'], "'nowhere.yaml' cannot be read"),
        (['--resume'], 'holds no checkpoint'),
        (['--init', 'nowhere'], "'nowhere' holds no checkpoint"),
        (['--annotations', 'nowhere.csv'], "'nowhere.csv' cannot be read"),
        (['--objective', 'supervised'], 'supervised learns from labels, but no file is given; a'),
    ],
)
def test_mistakes(capsys, recording, tmp_path, arguments, expected):
    code, _, stderr = run(
        capsys, 'train', recording, '--out', tmp_path / 'model', '--steps', '1', *arguments
    )
    assert code == 2
    assert expected in sentence(stderr)


def test_an_unknown_key_lists_the_known_ones(capsys, recording, tmp_path):
    path = tmp_path / 'wrong.yaml'
    path.write_text('learning_rat: 1\n')
    code, _, stderr = run(
        capsys, 'train', recording, '--out', tmp_path / 'model', '--config', path
    )
    assert code == 2
    assert "the file has no 'learning_rat'; known: across_clips, annotations" in sentence(stderr)


def test_what_export_cannot_do_is_said(capsys, recording, quick, tmp_path):
    out = tmp_path / 'model'
    train(capsys, recording, out, quick, '--steps', '1')
    for arguments, expected in (
        (['--precision', 'fp8'], "--precision 'fp8' is not known; known: fp32, fp16, int8"),
        (['--engine', 'tpu'], "--engine 'tpu' is not known; known: onnxruntime, tensorrt"),
    ):
        code, _, stderr = run(capsys, 'export', out, *arguments)
        assert code == 2
        assert expected in sentence(stderr)
    shutil.rmtree(out / 'checkpoint')
    code, _, stderr = run(capsys, 'export', out)
    assert code == 2
    assert 'holds no checkpoint' in sentence(stderr)


def test_steps_of_the_file_hold_beside_minutes(capsys, recording, quick, tmp_path):
    quick.write_text(QUICK + 'steps: 2\n')
    code, stdout, _ = train(capsys, recording, tmp_path / 'model', quick, '--minutes', '1')
    assert code == 0
    assert 'stopped at step 2: 2 steps are done' in stdout


def test_a_recording_is_not_written_into(capsys, recording, quick):
    for out in (recording, recording / 'model'):
        code, _, stderr = train(capsys, recording, out, quick, '--steps', '1')
        assert code == 2
        assert 'would overwrite or change recording 1' in sentence(stderr)


def test_a_mistake_leaves_no_directory(capsys, recording, tmp_path):
    code, _, _ = run(capsys, 'train', recording, '--out', tmp_path / 'model', '--keypoints', '0')
    assert code == 2
    assert not (tmp_path / 'model').exists()
