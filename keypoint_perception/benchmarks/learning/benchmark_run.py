"""
A run of a learning benchmark, and its record on disk.

Each run has a directory, ``runs/RECORDING/VARIANT/seed_S/`` below the benchmark's, with
``run.json`` (request, state, figures), ``settings.yaml``, ``model/`` and the logs of its
processes. A completed run is never repeated; a run that was requested with other settings is
refused, so that a table never mixes settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import re
from typing import Any

from keypoint_perception.errors import ConfigError
from keypoint_perception.evaluation.report import now, write_json

FORMAT_VERSION = 1
RUN_NAME = 'run.json'
STARTED, DONE, FAILED = 'begun', 'done', 'failed'


@dataclass(frozen=True)
class BenchmarkRecording:
    """A recording to train and score on; the digest, of its labels too, detects changes."""

    name: str
    source: Path
    annotations: Path | None = None
    topic: str | None = None
    digest: str = ''


@dataclass(frozen=True)
class Variant:
    """A configuration to compare: settings that differ from the defaults."""

    name: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class RunBudget:
    """The budget of every run: steps, or minutes of learning."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            msg = 'Specify the budget of a run as either --steps or --minutes.'
            raise ConfigError(msg)

    def __str__(self) -> str:
        """Return the budget as text."""
        return f'{self.steps} steps' if self.minutes is None else f'{self.minutes:g} minutes'


@dataclass(frozen=True)
class Run:
    """A recording, a variant and a seed; ``resolved`` holds all settings, to detect changes."""

    recording: BenchmarkRecording
    variant: Variant
    seed: int
    budget: RunBudget
    resolved: dict[str, Any]

    @property
    def title(self) -> str:
        """Return the name of the run."""
        return f'{self.recording.name} / {self.variant.name} / seed {self.seed}'

    def directory(self, out: Path) -> Path:
        """Return the run's directory below the benchmark's."""
        parts = (file_name(self.recording.name), file_name(self.variant.name))
        return out.joinpath('runs', *parts, f'seed_{self.seed}')

    def request(self) -> dict[str, Any]:
        """Return what was requested, as JSON values."""
        values = {
            'recording': self.recording.name,
            'digest': self.recording.digest,
            'topic': self.recording.topic,
            'variant': self.variant.name,
            'seed': self.seed,
            'steps': self.budget.steps,
            'minutes': self.budget.minutes,
            'settings': self.resolved,
        }
        request: dict[str, Any] = json.loads(json.dumps(values))
        return request


def file_name(title: str) -> str:
    """Return a title reduced to characters that every file system allows."""
    return re.sub(r'[^A-Za-z0-9+=._-]+', '_', title).strip('_.') or '_'


def read_record(directory: Path) -> dict[str, Any]:
    """
    Return the record of a run; empty if it was never started.

    :raises ConfigError: if it is damaged
    """
    path = directory / RUN_NAME
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        msg = f'{str(path)!r} is damaged ({error}); remove {str(directory)!r}.'
        raise ConfigError(msg) from error
    return record if isinstance(record, dict) else {}


def write_record(directory: Path, run: Run, state: str, **values: object) -> dict[str, Any]:
    """Write the state of a run, and return its record."""
    head = {'format_version': FORMAT_VERSION, 'state': state, 'asked': run.request()}
    record = {**head, **values}
    write_json(directory / RUN_NAME, record)
    return record


def write_failure(directory: Path, run: Run, error: Exception) -> dict[str, Any]:
    """Write that a run has failed, and return its record."""
    return write_record(directory, run, FAILED, sentence=str(error), date=now())


def check_request(out: Path, runs: Sequence[Run]) -> None:
    """
    Refuse to resume a benchmark whose runs were requested with other settings.

    :raises ConfigError: with the run and the differences
    """
    titles: dict[Path, str] = {}
    for run in runs:
        directory = run.directory(out)
        if directory in titles:
            msg = (
                f'{run.title} and {titles[directory]} would share a directory; give recordings '
                'and variants names that differ in letters and digits.'
            )
            raise ConfigError(msg)
        titles[directory] = run.title
        before = read_record(directory).get('asked')
        differences = [] if before is None else list(_differences(before, run.request()))
        if differences:
            msg = (
                f'{str(out)!r} holds {run.title} with other settings ({", ".join(differences)}); '
                'repeat the original command, or choose another --out.'
            )
            raise ConfigError(msg)


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ''
) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f'{prefix}{name}.')
        elif old != new:
            yield f'{prefix}{name} {_short(old)} -> {_short(new)}'


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + '...'
