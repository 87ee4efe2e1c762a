"""A run is executed once, resumed or restarted; a failure is recorded with its message."""

import json
from pathlib import Path
import signal
import sys

from keypoint_perception.benchmarks.learning import run_process
from keypoint_perception.benchmarks.learning.benchmark_run import (
    BenchmarkRecording,
    check_request,
    file_name,
    read_record,
    Run,
    RunBudget,
    Variant,
    write_record,
)
from keypoint_perception.benchmarks.learning.run_process import execute_run, run_verb, RunError
from keypoint_perception.errors import ConfigError
from keypoint_perception.inference.synthetic_model import write_synthetic_model
from keypoint_perception.learning.stopping import StopRequest
import pytest

SCORES = {
    'explained': 0.5,
    'regressed_error_percent': 4.0,
    'trivial_error_percent': 8.0,
    'tracking': [
        {'clip_frames': frames, 'epsilon_percent': epsilon, 'recall': 0.3, 'precision': 0.4}
        | {'precision_bound': 0.6, 'share_of_bound': 2 / 3, 'recall_after_regression': after}
        for frames, epsilon, after in [(10, 5.0, 0.1), (100, 2.0, 0.2), (100, 5.0, 0.9)]
    ],
    'holdout': {'scored': 'withheld frames'},
    'plain_background_share': 0.5,
    'label_free': {
        'wasted_share': 0.25,
        'background_share': 0.75,
        'background_error_percent': 1.5,
        'keypoints': [{}, {}],
    },
}
METRICS = {'pairs_per_s': 100.0, 'steps': 7, 'minutes': 0.1, 'peak_memory_mb': 500}


def make_run(*, minutes=None, **settings):
    recording = BenchmarkRecording('arm', Path('arm/bag'), Path('arm/labels.csv'), '/camera')
    budget = RunBudget(steps=None if minutes else 7, minutes=minutes)
    resolved = {'width': 8, 'threads': 1, 'weights': {'spread': 0.1}} | settings
    return Run(recording, Variant('wide, and more', {'width': 8}), 3, budget, resolved)


@pytest.fixture
def verbs(monkeypatch):
    """Replace the verbs by ones that write results at once; return their command lines."""
    called = []

    def run(command, log, poll, *, threads):
        assert threads == 1
        called.append(command)
        poll()
        if command[0] == 'train':
            model = Path(command[command.index('--out') + 1])
            write_synthetic_model(model, keypoints=2, input_hw=(16, 16))
            manifest = json.loads((model / 'manifest.json').read_text())
            (model / 'manifest.json').write_text(json.dumps(manifest | {'metrics': METRICS}))
            return 'stopped at step 7: 7 steps are done\n'
        values = {'seconds_to': {'0.5': 12.0}} if 'curve' in command else SCORES
        Path(command[command.index('--out') + 1]).write_text(json.dumps(values))
        return ''

    monkeypatch.setattr(run_process, 'run_verb', run)
    return called


def test_a_run_is_trained_and_scored(verbs, tmp_path):
    run = make_run()
    record = execute_run(run, tmp_path, Path('frames'), targets=(0.5,))
    train, evaluate, curve = verbs
    model = str(run.directory(tmp_path) / 'model')
    assert train[:4] == ['train', 'frames', '--out', model]
    assert train[-2:] == ['--steps', '7']
    assert evaluate[:5] == ['evaluate', model, 'arm/bag', '--topic', '/camera']
    assert evaluate[5:7] == ['--annotations', 'arm/labels.csv']
    assert evaluate[-2:] == ['--threads', '1']
    assert curve[:2] == ['benchmark', 'curve']
    assert (run.directory(tmp_path) / 'settings.yaml').read_text() == 'width: 8\n'
    assert record['state'] == 'done' == read_record(run.directory(tmp_path))['state']
    assert record['figures'] == {
        'explained': 0.5,
        'regressed_error_percent': 4.0,
        'trivial_error_percent': 8.0,
        'tracking_recall': 0.3,
        'tracking_precision': 0.4,
        'tracking_precision_bound': 0.6,
        'tracking_share_of_bound': 2 / 3,
        'tracking_recall_after_regression': 0.9,
        'background_share': 0.75,
        'plain_background_share': 0.5,
        'background_error_percent': 1.5,
        'scored': 'withheld frames',
        'wasted_share': 0.25,
        'keypoints': 2,
        'seconds_to': {'0.5': 12.0},
        **METRICS,
    }


@pytest.mark.parametrize(
    ('minutes', 'checkpoint', 'resumed'),
    [(None, True, True), (None, False, False), (5.0, True, False)],
)
def test_an_interrupted_run(verbs, tmp_path, minutes, checkpoint, resumed):
    run = make_run(minutes=minutes)
    place = run.directory(tmp_path)
    (place / 'model').mkdir(parents=True)
    (place / 'model' / 'leftover').touch()
    if checkpoint:
        (place / 'model' / 'checkpoint').mkdir()
    write_record(place, run, 'begun')
    execute_run(run, tmp_path, Path('frames'))
    assert ('--resume' in verbs[0]) == resumed
    assert (place / 'model' / 'leftover').exists() == resumed


def test_a_failure_is_recorded(monkeypatch, tmp_path):
    def fail(*_arguments, **_threads):
        raise RunError('Nothing moves in the recording.')

    monkeypatch.setattr(run_process, 'run_verb', fail)
    record = execute_run(make_run(), tmp_path, Path('frames'))
    assert (record['state'], record['sentence']) == ('failed', 'Nothing moves in the recording.')


def test_a_stopped_run_is_not_done(monkeypatch, tmp_path):
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
    printed = f'stopped at step 2: {stop.reason}\n'
    monkeypatch.setattr(run_process, 'run_verb', lambda *_, **_threads: printed)
    record = execute_run(make_run(), tmp_path, Path('frames'))
    assert record['sentence'] == 'Training was stopped before its budget was used up.'


def test_other_settings_are_refused(tmp_path):
    run = make_run()
    write_record(run.directory(tmp_path), run, 'done')
    check_request(tmp_path, [run])
    with pytest.raises(ConfigError, match=r'other settings \(settings.weights.spread 0.1 -> 0\)'):
        check_request(tmp_path, [make_run(weights={'spread': 0})])
    with pytest.raises(ConfigError, match=r'\(minutes None -> 5.0, steps 7 -> None\); repeat'):
        check_request(tmp_path, [make_run(minutes=5.0)])


def test_two_runs_in_one_directory_are_refused(tmp_path):
    assert file_name('wide, and more') == file_name('wide; and more') == 'wide_and_more'
    with pytest.raises(ConfigError, match='would share a directory'):
        check_request(tmp_path, [make_run(), make_run()])


def test_a_budget_is_steps_or_minutes():
    for wrong in ({}, {'steps': 3, 'minutes': 1.0}):
        with pytest.raises(ConfigError, match='either --steps or --minutes'):
            RunBudget(**wrong)


def test_a_verb_fails_with_its_message(tmp_path):
    log = tmp_path / 'log'
    with pytest.raises(RunError, match="'nowhere' does not exist; expected a bag"):
        run_verb(['extract', 'nowhere', '--out', str(tmp_path / 'frames')], log)
    assert log.read_text().strip().startswith('error: ')


def test_a_verb_that_is_killed(tmp_path, monkeypatch):
    kill = 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)'
    (tmp_path / 'dies').write_text(f'#!/bin/sh\nexec {sys.executable} -c "{kill}"\n')
    (tmp_path / 'dies').chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'dies'))
    with pytest.raises(RunError, match='killed by SIGKILL'):
        run_verb(['train'], tmp_path / 'log')


def test_a_verb_has_its_threads(tmp_path, monkeypatch):
    (tmp_path / 'says').write_text('#!/bin/sh\necho $OMP_NUM_THREADS $OPENCV_FOR_THREADS_NUM\n')
    (tmp_path / 'says').chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'says'))
    assert run_verb(['train'], tmp_path / 'log', threads=3) == '3 3\n'
    monkeypatch.setenv('OMP_NUM_THREADS', '7')
    monkeypatch.delenv('OPENCV_FOR_THREADS_NUM', raising=False)
    assert run_verb(['train'], tmp_path / 'log') == '7\n'


def test_a_stop_is_passed_on(tmp_path, monkeypatch):
    """The process is interrupted and may finish; then the interrupt propagates."""
    code = 'import signal, sys; signal.signal(2, lambda *_: (print(9), sys.exit(0))); print(1)'
    code += '; sys.stdout.flush(); signal.pause()'
    (tmp_path / 'waits').write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    (tmp_path / 'waits').chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'waits'))
    log = tmp_path / 'log'

    def stop_when_it_is_up():
        if log.read_text() == '1\n':
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_verb(['train'], log, stop_when_it_is_up)
    assert log.read_text() == '1\n9\n'
