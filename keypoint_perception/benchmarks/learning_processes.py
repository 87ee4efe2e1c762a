"""
One run of a learning benchmark: the package's own verbs, each as a process of its own.

So nothing leaks from run to run, and what is measured is what a user gets. A stop is passed on to
the process, which leaves a checkpoint; a run of so many steps goes on from there, one of so many
minutes begins anew, because the learning rate follows the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

from keypoint_perception.benchmarks.learning_runs import (
    BEGUN,
    DONE,
    FAILED,
    read_record,
    Run,
    write_record,
)
from keypoint_perception.errors import ModelError, PerceptionError
from keypoint_perception.evaluation.report import now
from keypoint_perception.manifest import read_manifest
from keypoint_perception.model_directory import CHECKPOINT_NAME, read_history
import yaml

POLL_S = 0.5
# After being asked to stop, a process finishes its step and writes its checkpoint.
PATIENCE_S = 60.0
CLIP_FRAMES, EPSILON_PERCENT = 100, 5.0

Report = Callable[[float], None]


class RunError(PerceptionError):
    """A process of a run failed; the sentence is its own."""


def carry_out(
    run: Run,
    out: Path,
    frames: Path,
    *,
    targets: tuple[float, ...] = (),
    report: Report = lambda share: None,
) -> dict:
    """
    Learn and score, and return the record of the run, which is also written.

    A failure is recorded with its sentence.

    :param frames: the frame store to learn from
    :param targets: explained values whose learning time is asked for
    :param report: called with the share of the learning that is done
    """
    place = run.place(out)
    began = read_record(place)
    resume = began.get('state') == BEGUN and run.budget.steps is not None
    if not (resume and (place / 'model' / CHECKPOINT_NAME).is_dir()):
        resume = False
        shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, exist_ok=True)
    write_record(place, run, BEGUN)
    (place / 'settings.yaml').write_text(yaml.safe_dump(run.variant.settings, sort_keys=False))
    started = time.monotonic()
    try:
        learn(run, place, frames, resume=resume, report=report)
        figures = score(run, place, targets)
    except (RunError, ModelError) as error:
        return write_record(place, run, FAILED, sentence=str(error), date=now())
    seconds = round(time.monotonic() - started, 1)
    return write_record(place, run, DONE, figures=figures, date=now(), wall_s=seconds)


def learn(run: Run, place: Path, frames: Path, *, resume: bool, report: Report) -> None:
    """
    Train a model into ``place/model``.

    :raises RunError: if training fails, or stopped before its budget was used up
    """
    model = place / 'model'
    command = ['train', str(frames), '--out', str(model), '--seed', str(run.seed)]
    command += ['--config', str(place / 'settings.yaml')]
    if run.budget.steps is not None:
        command += ['--steps', str(run.budget.steps)]
    else:
        command += ['--minutes', str(run.budget.minutes)]
    command += ['--resume'] if resume else []
    printed = run_verb(command, place / 'train.log', lambda: report(_share(run, model)))
    if 'asked for a stop' in printed:
        msg = 'Training was stopped before its budget was used up.'
        raise RunError(msg)


def score(run: Run, place: Path, targets: tuple[float, ...]) -> dict:
    """
    Score the model on its recording, and return the figures of the run.

    :raises RunError: if it cannot be scored
    """
    source, model, recording = str(run.recording.source), place / 'model', run.recording
    which = ['--topic', recording.topic] if recording.topic else []
    labels = [] if recording.annotations is None else ['--annotations', str(recording.annotations)]
    result = place / 'score.json'
    run_verb(
        ['evaluate', str(model), source, *which, *labels, '--out', str(result)],
        place / 'evaluate.log',
    )
    figures = read_figures(read_manifest(model).metrics, json.loads(result.read_text()))
    if targets and labels:
        wanted = [word for target in targets for word in ('--target', f'{target:g}')]
        times = place / 'curve.json'
        run_verb(
            ['benchmark', 'curve', str(model), source, *which, *labels, *wanted]
            + ['--out', str(times)],
            place / 'curve.log',
        )
        figures['seconds_to'] = json.loads(times.read_text())['seconds_to']
    return figures


def read_figures(metrics: dict, scores: dict) -> dict:
    """
    Return what the table shows of a run.

    :param metrics: of the model's manifest
    :param scores: as ``evaluate`` writes them
    """
    tracking = {}
    for entry in scores.get('tracking', ()):
        if (entry['clip_frames'], entry['epsilon_percent']) == (CLIP_FRAMES, EPSILON_PERCENT):
            tracking = entry
    return {
        'explained': scores.get('explained'),
        'regressed_error_percent': scores.get('regressed_error_percent'),
        'trivial_error_percent': scores.get('trivial_error_percent'),
        'tracking_recall': tracking.get('recall'),
        'tracking_precision': tracking.get('precision'),
        'wasted_share': scores['label_free']['wasted_share'],
        'keypoints': len(scores['label_free']['keypoints']),
        'pairs_per_s': metrics['pairs_per_s'],
        'steps': metrics['steps'],
        'minutes': metrics['minutes'],
        'peak_memory_mb': metrics['peak_memory_mb'],
    }


def run_verb(command: list[str], log: Path, poll: Callable[[], None] = lambda: None) -> str:
    """
    Run a verb of this package and return what it printed.

    :param log: file for all that it prints
    :param poll: called a few times a second meanwhile
    :raises RunError: with the verb's own sentence, if it fails
    """
    words = [sys.executable, '-m', 'keypoint_perception', *command]
    with log.open('w') as stream:
        # a session of its own, so that Ctrl-C reaches it once, through here
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
            _end(process)
    printed = log.read_text(errors='replace')
    if code:
        raise RunError(_sentence(printed, code))
    return printed


@contextmanager
def stoppable() -> Iterator[None]:
    """Let a request to terminate end the runs as Ctrl-C does."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen) -> None:
    """Ask a process that still runs to stop, and wait for it; kill it if it does not."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _sentence(printed: str, code: int) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line.removeprefix('error: ') for line in lines if line.startswith('error: ')]
    if errors:
        return errors[-1]
    if code < 0:
        return f'The process was ended by {signal.Signals(-code).name}.'
    return f'The process ended with {code}: {lines[-1] if lines else "it printed nothing"}'


def _share(run: Run, model: Path) -> float:
    """Return the share of the budget that the run's history says is used up."""
    try:
        row = read_history(model)[-1]
        if run.budget.steps is not None:
            return min(1.0, int(row['step']) / run.budget.steps)
        return min(1.0, float(row['elapsed_s']) / (60 * run.budget.minutes))
    except (OSError, IndexError, KeyError, TypeError, ValueError):
        return 0.0  # not yet begun, or just being written
