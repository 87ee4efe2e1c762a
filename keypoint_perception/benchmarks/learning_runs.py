"""
The runs of a learning benchmark: what each is, and what is known of it on disk.

One directory a run, ``runs/RECORDING/VARIANT/seed_S/`` below the benchmark's, with ``run.json``
(what was asked for, how it ended, its figures), ``settings.yaml``, ``model/`` and what the two
processes printed. A run that is done is never repeated; one that was asked for differently is
refused, so that a table never mixes settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import re

from keypoint_perception.errors import ConfigError
from keypoint_perception.evaluation.report import write_json

FORMAT_VERSION = 1
RUN_NAME = 'run.json'
BEGUN, DONE, FAILED = 'begun', 'done', 'failed'


@dataclass(frozen=True)
class BenchmarkRecording:
    """
    A recording to learn and to be scored on.

    :param digest: of the recording and its labels, so that others of its name are noticed
    """

    name: str
    source: Path
    annotations: Path | None = None
    topic: str | None = None
    digest: str = ''


@dataclass(frozen=True)
class Variant:
    """
    A way to learn.

    :param settings: what differs from the package's own, as in a file for ``train --config``
    """

    name: str
    settings: dict


@dataclass(frozen=True)
class RunBudget:
    """The same for all runs: steps, or minutes of learning."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            msg = 'Give the budget of a run as either --steps or --minutes; it is for all alike.'
            raise ConfigError(msg)

    def __str__(self) -> str:
        """Return the budget in words."""
        return f'{self.steps} steps' if self.minutes is None else f'{self.minutes:g} minutes'


@dataclass(frozen=True)
class Run:
    """
    One recording, one variant, one seed.

    :param resolved: all its settings with their values, for comparison
    """

    recording: BenchmarkRecording
    variant: Variant
    seed: int
    budget: RunBudget
    resolved: dict

    @property
    def title(self) -> str:
        """Return what to call it."""
        return f'{self.recording.name} / {self.variant.name} / seed {self.seed}'

    def place(self, out: Path) -> Path:
        """Return its directory below the benchmark's."""
        parts = (file_name(self.recording.name), file_name(self.variant.name))
        return out.joinpath('runs', *parts, f'seed_{self.seed}')

    def asked(self) -> dict:
        """Return what was asked for, as JSON values."""
        return json.loads(
            json.dumps(
                {
                    'recording': self.recording.name,
                    'digest': self.recording.digest,
                    'topic': self.recording.topic,
                    'variant': self.variant.name,
                    'seed': self.seed,
                    'steps': self.budget.steps,
                    'minutes': self.budget.minutes,
                    'settings': self.resolved,
                }
            )
        )


def file_name(title: str) -> str:
    """Return a title with what no file system minds."""
    return re.sub(r'[^A-Za-z0-9+=._-]+', '_', title).strip('_.') or '_'


def read_record(place: Path) -> dict:
    """Return what is known of a run; an empty record if it was never begun."""
    try:
        record = json.loads((place / RUN_NAME).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        msg = f'{str(place / RUN_NAME)!r} is damaged ({error}); remove {str(place)!r}.'
        raise ConfigError(msg) from error
    return record if isinstance(record, dict) else {}


def write_record(place: Path, run: Run, state: str, **values) -> dict:
    """Write how a run stands, and return it."""
    record = {'format_version': FORMAT_VERSION, 'state': state, 'asked': run.asked()} | values
    write_json(place / RUN_NAME, record)
    return record


def check_asked(out: Path, runs: Sequence[Run]) -> None:
    """
    Refuse to go on with a benchmark whose runs were asked for differently.

    :raises ConfigError: naming the run and what differs
    """
    places: dict[Path, str] = {}
    for run in runs:
        place = run.place(out)
        if place in places:
            msg = (
                f'{run.title} and {places[place]} would be written to one place; give recordings '
                'and variants names that differ in letters and digits.'
            )
            raise ConfigError(msg)
        places[place] = run.title
        begun = read_record(place).get('asked')
        differences = [] if begun is None else list(_differences(begun, run.asked()))
        if differences:
            msg = (
                f'{str(out)!r} holds {run.title} with other settings ({", ".join(differences)}); '
                'repeat the command as it was, or name another --out.'
            )
            raise ConfigError(msg)


def _differences(before: dict, now: dict, prefix: str = '') -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f'{prefix}{name}.')
        elif old != new:
            yield f'{prefix}{name} {_short(old)} -> {_short(new)}'


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + '...'
