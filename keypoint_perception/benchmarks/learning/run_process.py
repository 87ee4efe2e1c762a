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
import os
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
    read_record,
    Run,
    STARTED,
    write_failure,
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
# Of OpenMP, which torch and ONNX Runtime use, and of OpenCV.
THREADS_VARIABLES = ('OMP_NUM_THREADS', 'OPENCV_FOR_THREADS_NUM')
CLIP_FRAMES, EPSILON_PERCENT = 100, 5.0
TRACKING = ('recall', 'precision', 'precision_bound', 'share_of_bound', 'recall_after_regression')
LABEL_FREE = ('wasted_share', 'background_share', 'background_error_percent')


class RunError(PerceptionError):
    """A process of a run failed; the message is its own."""


def execute_run(
    run: Run,
    out: Path,
    frames: Path,
    *,
    targets: tuple[float, ...] = (),
    report: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """
    Train and score a model; write the record of the run, possibly of a failure, and return it.

    :param frames: frame store to train on
    :param targets: explained values whose learning time is measured
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
        _train(run, directory, frames, resume=resume, report=report)
        figures = _score(run, directory, targets, lambda: report(1.0))
    except (RunError, ModelError) as error:
        return write_failure(directory, run, error)
    seconds = round(time.monotonic() - started, 1)
    return write_record(directory, run, DONE, figures=figures, date=now(), wall_s=seconds)


def _train(
    run: Run, directory: Path, frames: Path, *, resume: bool, report: Callable[[float], None]
) -> None:
    model = directory / 'model'
    command = ['train', str(frames), '--out', str(model), '--seed', str(run.seed)]
    command += ['--config', str(directory / 'settings.yaml')]
    unit = 'minutes' if run.budget.steps is None else 'steps'
    command += [f'--{unit}', str(getattr(run.budget, unit)), *(['--resume'] if resume else [])]
    printed = run_verb(
        command,
        directory / 'train.log',
        lambda: report(_share(run, model)),
        threads=run.resolved['threads'],
    )
    if re.search(r': SIG(INT|TERM)\b', printed):  # the reason that `train` prints
        msg = 'Training was stopped before its budget was used up.'
        raise RunError(msg)


def _score(
    run: Run, directory: Path, targets: tuple[float, ...], poll: Callable[[], None]
) -> dict[str, Any]:
    recording, model, result = run.recording, directory / 'model', directory / 'score.json'
    inputs = [str(model), str(recording.source)]
    inputs += ['--topic', recording.topic] if recording.topic else []
    if recording.annotations is not None:
        inputs += ['--annotations', str(recording.annotations)]
    threads = ['--threads', str(run.resolved['threads'])]
    scored = ['evaluate', *inputs, '--out', str(result), *threads]
    run_verb(scored, directory / 'evaluate.log', poll, threads=run.resolved['threads'])
    figures = _read_figures(read_manifest(model).metrics, json.loads(result.read_text()))
    if targets and recording.annotations is not None:
        inputs += [word for target in targets for word in ('--target', f'{target:g}')]
        times = directory / 'curve.json'
        curve = ['benchmark', 'curve', *inputs, '--out', str(times)]
        run_verb(curve, directory / 'curve.log', poll, threads=run.resolved['threads'])
        figures['seconds_to'] = json.loads(times.read_text())['seconds_to']
    return figures


def _read_figures(metrics: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that the table shows, of the manifest and of ``evaluate``'s scores."""
    condition = {'clip_frames': CLIP_FRAMES, 'epsilon_percent': EPSILON_PERCENT}
    entries = [e for e in scores.get('tracking', ()) if condition.items() <= e.items()]
    tracking: dict[str, Any] = entries[-1] if entries else {}
    free = scores['label_free']
    errors = ('explained', 'regressed_error_percent', 'trivial_error_percent')
    return {
        **{name: scores.get(name) for name in errors},
        **{f'tracking_{name}': tracking.get(name) for name in TRACKING},
        **{name: free[name] for name in LABEL_FREE},
        'plain_background_share': scores.get('plain_background_share'),
        'keypoints': len(free['keypoints']),
        'scored': scores['holdout']['scored'],
        **{n: metrics[n] for n in ('pairs_per_s', 'steps', 'minutes', 'peak_memory_mb')},
    }


def run_verb(
    command: list[str], log: Path, poll: Callable[[], None] = lambda: None, *, threads: int = 0
) -> str:
    """
    Run a verb of this package and return its output, which is also written to a log.

    :param poll: called twice a second while it runs; what it raises stops the process
    :param threads: CPU threads of the libraries that it uses; 0 = their own choice
    :raises RunError: with the verb's own message, if it fails
    """
    words = [sys.executable, '-m', 'keypoint_perception', *command]
    with log.open('w') as stream:
        # in a session of its own, so that Ctrl-C reaches it only once, through _stop
        process = subprocess.Popen(
            words,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | (dict.fromkeys(THREADS_VARIABLES, str(threads)) if threads else {}),
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
    minutes, steps = run.budget.minutes, run.budget.steps
    column, total = ('step', steps or 1) if minutes is None else ('elapsed_s', 60 * minutes)
    try:
        return min(1.0, float(read_history(model)[-1][column]) / total)
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return 0.0  # not written yet, or only in part
