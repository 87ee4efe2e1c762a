"""``benchmark learning`` as a user runs it: its table, and its errors."""

import json

import cv2
from keypoint_perception.benchmarks.learning.benchmark_run import read_record
from keypoint_perception.benchmarks.learning.run_plan import read_recordings
import numpy as np
import pytest

FIRST_NS, FRAME_NS = 10**18, 50_000_000
SMALL = ('width=8', 'size=32', 'keypoints=2', 'batch_size=2', 'threads=1', 'precision=32')


@pytest.fixture
def recording(tmp_path):
    """Return 30 frames (32 x 32) of a circling square, with the labels of its corner."""
    folder = tmp_path / 'square'
    (folder / 'bag').mkdir(parents=True)
    lines = ['stamp_ns,keypoint,u,v']
    for i in range(30):
        stamp_ns = FIRST_NS + i * FRAME_NS
        image = np.full((32, 32, 3), 60, np.uint8)
        u, v = 12 + round(8 * np.cos(i / 4)), 12 + round(8 * np.sin(i / 4))
        image[v : v + 7, u : u + 7] = (30, 60, 240)
        cv2.imwrite(str(folder / 'bag' / f'{stamp_ns}.png'), image)
        lines.append(f'{stamp_ns},corner,{u},{v}')
    (folder / 'annotations.csv').write_text('\n'.join(lines) + '\n')
    return folder


def small(*more):
    return (*(word for text in SMALL for word in ('--set', text)), *more)


def test_a_table_is_made_once(run_verb, recording, tmp_path):
    out = tmp_path / 'out'
    words = ('benchmark', 'learning', '--recording', recording, '--out', out, *small())
    words += ('--objective', 'temporal_transport', '--target', '0.01', '--check-every', '0.1')
    words += ('--jobs', '2')
    code, printed, errors = run_verb(*words, '--steps', '2')
    assert code == 0, errors
    values = json.loads((out / 'learning.json').read_text())
    run, ceiling = sorted(values['runs'], key=lambda r: r['asked']['variant'] == 'supervised')
    assert run['state'] == ceiling['state'] == 'done', run
    assert ceiling['asked']['steps'] == run['asked']['steps'] == 2
    assert ceiling['asked']['settings']['holdout'] == 0.3
    # it has the common settings, but as many keypoints as there are labels
    asked = ceiling['asked']['settings']
    assert [asked[name] for name in ('width', 'keypoints', 'threads')] == [8, 1, 1]
    row, _ = values['rows']
    assert run['figures']['scored'] == 'withheld frames'
    assert (row['recording'], row['variant'], row['runs']) == ('square', 'temporal_transport', 1)
    assert row['measures']['explained']['mean'] == run['figures']['explained'] <= 1
    assert run['figures']['steps'] == 2
    assert run['asked']['settings']['holdout'] == 0.3
    assert run['figures']['keypoints'] == 2
    assert set(run['figures']['seconds_to']) == {'0.01'}
    text = (out / 'learning.md').read_text()
    assert '| square | temporal_transport | ' in text
    assert 'Budget of a run: 2 steps, 2 runs side by side, 1 thread each.' in text
    assert (out / 'learning.md').read_text() in printed
    place = out / 'runs' / 'square' / 'temporal_transport' / 'seed_0'
    moments = json.loads((place / 'curve.json').read_text())['moments']
    # the last moment is the model's own: it is scored alike by both ways
    assert moments[-1]['step'] == 2
    assert moments[-1]['explained'] == pytest.approx(run['figures']['explained'], abs=0.02)

    before = (place / 'run.json').stat().st_mtime_ns
    assert run_verb(*words, '--steps', '2')[0] == 0
    assert (place / 'run.json').stat().st_mtime_ns == before
    code, _, errors = run_verb(*words, '--steps', '3')
    assert code == 2
    assert 'with other settings (steps 2 -> 3); repeat the original command' in errors


def test_a_failed_run_does_not_stop_the_others(run_verb, recording, tmp_path, monkeypatch):
    from keypoint_perception.benchmarks.learning import run_process
    from keypoint_perception.benchmarks.learning.run_process import RunError

    def fail(command, log, poll=lambda: None, *, threads=0):
        msg = f'{command[0]} failed'
        raise RunError(msg)

    monkeypatch.setattr(run_process, 'run_verb', fail)
    monkeypatch.setattr('keypoint_perception.benchmarks.learning.run_plan.run_verb', lambda *_: '')
    out = tmp_path / 'out'
    words = ('benchmark', 'learning', '--recording', recording, '--out', out, *small())
    code, printed, _ = run_verb(*words, '--seed', 0, '--seed', 1, '--steps', 2, '--no-ceiling')
    assert code == 0
    assert '2 of 2 runs failed; repeat the command to retry them' in printed
    assert 'square / defaults failed: seed 1: train failed' in printed
    place = out / 'runs' / 'square' / 'defaults' / 'seed_1'
    assert read_record(place)['sentence'] == 'train failed'


def test_recordings_and_their_labels(recording):
    labels = recording / 'annotations.csv'
    (found,) = read_recordings([str(recording)], [])
    assert (found.name, found.source, found.annotations) == ('square', recording / 'bag', labels)
    (named,) = read_recordings([f'{recording / "bag"}:{labels}'], [])
    assert named == found
    (bare,) = read_recordings([str(recording / 'bag')], [])
    assert (bare.name, bare.annotations) == ('square', None)
    assert bare.digest != found.digest


@pytest.mark.parametrize(
    ('more', 'sentence'),
    [
        ((), 'either --steps or --minutes'),
        (('--steps', 2, '--minutes', 1), 'either --steps or --minutes'),
        (('--steps', 2, '--target', '1.5'), '--target: must be an explained value between 0 and'),
        (('--steps', 2, '--vary', 'a: wdth=3'), "Variant 'a' on square: the configuration has no"),
        (('--steps', 2, '--objective', 'magic'), "Variant 'magic' on square: objective: must be"),
        (('--steps', 2, '--set', 'holdout=0.1'), 'always withholds 0.3, so that its figures can'),
        (('--steps', 2, '--recording', 'nowhere'), "'nowhere' does not exist"),
    ],
)
def test_mistakes_are_reported_before_training(run_verb, recording, tmp_path, more, sentence):
    out = tmp_path / 'out'
    words = ('benchmark', 'learning', '--recording', recording, '--out', out)
    code, _, errors = run_verb(*words, *more)
    assert code == 2
    assert sentence in errors
    assert not out.exists()


def test_two_recordings_of_one_name(run_verb, recording, tmp_path):
    words = ('benchmark', 'learning', '--recording', recording, '--recording', recording)
    code, _, errors = run_verb(*words, '--out', tmp_path / 'out', '--steps', 2)
    assert code == 2
    assert "Two recordings are named 'square'" in errors
