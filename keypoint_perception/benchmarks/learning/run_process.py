"""
Executes a run of a learning benchmark: the package's verbs, each in a separate process.

Nothing leaks from run to run, and the measurements are those that a user gets. An interrupt is
passed on to the process, which writes a checkpoint. A run with a budget of steps resumes from it;
one with a budget of minutes restarts, because its learning rate follows the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
import json
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

from keypoint_perception.benchmarks.learning.benchmark_run import (
    DONE,
    FAILED,
    read_record,
    Run,
    STARTED,
    write_record,
)
from keypoint_perception.errors import ModelError, PerceptionError
from keypoint_perception.evaluation.report import now
from keypoint_perception.manifest import read_manifest
from keypoint_perception.model_directory import CHECKPOINT_NAME, read_history
import yaml

POLL_S = 0.5
# An interrupted process finishes its step and writes its checkpoint.
STOP_TIMEOUT_S = 60.0
CLIP_FRAMES, EPSILON_PERCENT = 100, 5.0

ReportShare = Callable[[float], None]


class RunError(PerceptionError):
    """A process of a run failed; the message is its own."""


def execute_run(
    run: Run,
    out: Path,
    frames: Path,
    *,
    targets: tuple[float, ...] = (),
    report: ReportShare = lambda share: None,
) -> dict[str, Any]:
    """
    Train and score a model; write the record of the run and return it.

    A failure is recorded with its message.

    :param frames: frame store to train on
    :param targets: explained values whose learning time is measured
    :param report: called with the completed share of the training
    """
    directory = run.directory(out)
    resume = (
        read_record(directory).get('state') == STARTED
        and run.budget.steps is not None
        and (directory / 'model' / CHECKPOINT_NAME).is_dir()
    )
    if not resume:
        shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    write_record(directory, run, STARTED)
    settings = yaml.safe_dump(run.variant.settings, sort_keys=False)
    (directory / 'settings.yaml').write_text(settings)
    started = time.monotonic()
    try:
        train(run, directory, frames, resume=resume, report=report)
        figures = score(run, directory, targets)
    except (RunError, ModelError) as error:
        return write_record(directory, run, FAILED, sentence=str(error), date=now())
    seconds = round(time.monotonic() - started, 1)
    return write_record(directory, run, DONE, figures=figures, date=now(), wall_s=seconds)


def train(run: Run, directory: Path, frames: Path, *, resume: bool, report: ReportShare) -> None:
    """
    Train a model into ``directory/model``.

    :raises RunError: if training fails, or stops before its budget is used up
    """
    model = directory / 'model'
    command = ['train', str(frames), '--out', str(model), '--seed', str(run.seed)]
    command += ['--config', str(directory / 'settings.yaml')]
    if run.budget.steps is not None:
        command += ['--steps', str(run.budget.steps)]
    else:
        command += ['--minutes', str(run.budget.minutes)]
    command += ['--resume'] if resume else []
    printed = run_verb(command, directory / 'train.log', lambda: report(_share(run, model)))
    if re.search(r': SIG(INT|TERM)\b', printed):  # the reason that `train` prints
        msg = 'Training was stopped before its budget was used up.'
        raise RunError(msg)


def score(run: Run, directory: Path, targets: tuple[float, ...]) -> dict[str, Any]:
    """
    Score the model on its recording, and return the figures of the run.

    :raises RunError: if it cannot be scored
    """
    source, model, recording = str(run.recording.source), directory / 'model', run.recording
    topic = ['--topic', recording.topic] if recording.topic else []
    labels = [] if recording.annotations is None else ['--annotations', str(recording.annotations)]
    result = directory / 'score.json'
    run_verb(
        ['evaluate', str(model), source, *topic, *labels, '--out', str(result)],
        directory / 'evaluate.log',
    )
    figures = read_figures(read_manifest(model).metrics, json.loads(result.read_text()))
    if targets and labels:
        options = [word for target in targets for word in ('--target', f'{target:g}')]
        times = directory / 'curve.json'
        run_verb(
            ['benchmark', 'curve', str(model), source, *topic, *labels, *options]
            + ['--out', str(times)],
            directory / 'curve.log',
        )
        figures['seconds_to'] = json.loads(times.read_text())['seconds_to']
    return figures


def read_figures(metrics: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the figures of a run that the table shows.

    :param metrics: of the model's manifest
    :param scores: as written by ``evaluate``
    """
    tracking: dict[str, Any] = {}
    for entry in scores.get('tracking', ()):
        if (entry['clip_frames'], entry['epsilon_percent']) == (CLIP_FRAMES, EPSILON_PERCENT):
            tracking = entry
    errors = ('explained', 'regressed_error_percent', 'trivial_error_percent')
    return {
        **{name: scores.get(name) for name in errors},
        **{f'tracking_{name}': tracking.get(name) for name in ('recall', 'precision')},
        'wasted_share': scores['label_free']['wasted_share'],
        'keypoints': len(scores['label_free']['keypoints']),
        **{n: metrics[n] for n in ('pairs_per_s', 'steps', 'minutes', 'peak_memory_mb')},
    }


def run_verb(command: list[str], log: Path, poll: Callable[[], None] = lambda: None) -> str:
    """
    Run a verb of this package and return its output.

    :param log: file for its output
    :param poll: called twice a second while it runs
    :raises RunError: with the verb's own message, if it fails
    """
    words = [sys.executable, '-m', 'keypoint_perception', *command]
    with log.open('w') as stream:
        # in a session of its own, so that Ctrl-C reaches it only once, through _stop
        process = subprocess.Popen(
            words, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while True:
                try:
                    code = process.wait(POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    poll()
        finally:
            _stop(process)
    printed = log.read_text(errors='replace')
    if code:
        raise RunError(_failure(printed, code))
    return printed


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM end the runs like Ctrl-C."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process that still runs and wait for it; kill it after a timeout."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _failure(printed: str, code: int) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line.removeprefix('error: ') for line in lines if line.startswith('error: ')]
    if errors:
        return errors[-1]
    if code < 0:
        return f'The process was killed by {signal.Signals(-code).name}.'
    return f'The process exited with {code}: {lines[-1] if lines else "no output"}'


def _share(run: Run, model: Path) -> float:
    """Return the share of the budget that is used up according to the run's history."""
    try:
        row = read_history(model)[-1]
        if run.budget.minutes is None:
            return min(1.0, int(row['step']) / (run.budget.steps or 1))
        return min(1.0, float(row['elapsed_s']) / (60 * run.budget.minutes))
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return 0.0  # not written yet, or only in part
