"""Subjects, which are damaged and then used, and the counts of what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
import shutil
import tempfile

from torture.isolation import MOST_BYTES, MOST_SECONDS, Outcome, run_case
from torture.mutations import mutate

# What may not happen; everything else is in order.
FAULTS = ('traceback', 'killed', 'slow', 'large', 'lost', 'wrong', 'silent')


@dataclass
class Subject:
    """
    Files, and how they are used.

    :param original: the undamaged directory
    :param damaged: the files of it that are damaged, one per case
    :param use: opens the directory and returns the identities of what is in it
    :param whole: the identities that the undamaged directory has
    :param promised: returns those that a damaged directory still has by a simple reader
    :param checked: whether checksums protect the content, so that what is wrong has to be told
    :param repair: brings digests up to date, so that the damage is not all found by them
    """

    name: str
    original: Path
    damaged: tuple[str, ...]
    use: Callable[[Path], list[str]]
    whole: frozenset[str] = frozenset()
    promised: Callable[[Path], set[str]] = lambda _: set()
    checked: bool = False
    repair: Callable[[Path], None] = lambda _: None


@dataclass
class Tally:
    """Counts of the cases of a subject, and the worst of them."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    peak_bytes: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Return the number of cases in which something happened that may not."""
        return sum(self.counts[kind] for kind in FAULTS)

    def row(self) -> dict[str, str | int]:
        """Return a row of the table."""
        shown = {kind: self.counts[kind] for kind in ('cases', 'refused', 'told', *FAULTS)}
        worst = {'worst s': f'{self.seconds:.1f}', 'worst MB': self.peak_bytes >> 20}
        return {'subject': self.name, **shown, **worst}


def torture(subject: Subject, cases: int, seed: int) -> Tally:
    """Damage a subject again and again, each case from a seed of its own."""
    tally = Tally(subject.name)
    with tempfile.TemporaryDirectory(prefix='torture_') as directory:
        for number in range(cases):
            place = Path(directory, 'case')
            shutil.copytree(subject.original, place)
            chance = Random(f'{seed}/{subject.name}/{number}')
            path = place / chance.choice(subject.damaged)
            mutation, content = mutate(path.read_bytes(), chance)
            path.write_bytes(content)
            subject.repair(place)
            outcome = run_case(lambda place=place: subject.use(place))
            kinds = judge(subject, outcome, subject.promised(place), mutation)
            _count(tally, outcome, kinds, f'{number} ({mutation} of {path.name})')
            shutil.rmtree(place)
    return tally


def judge(subject: Subject, outcome: Outcome, promised: set[str], mutation: str) -> set[str]:
    """Return what came of a case, in the words of :data:`FAULTS`, ``refused`` and ``told``."""
    found = set(outcome.found)
    unsaid = not outcome.sentence and not outcome.notices
    kinds = {
        'refused': bool(outcome.sentence),
        'told': bool(outcome.notices),
        'traceback': outcome.fault.startswith('Traceback'),
        'killed': outcome.fault.startswith('ended'),
        'slow': outcome.seconds > MOST_SECONDS,
        'large': outcome.peak_bytes > MOST_BYTES,
        'lost': not promised <= found and not outcome.fault,
        'wrong': unsaid and subject.checked and not found <= subject.whole,
        'silent': unsaid and not outcome.fault and len(found) < len(subject.whole),
    }
    if mutation == 'repeat':  # one image more may stand where another was counted
        kinds['silent'] = False
    return {kind for kind, there in kinds.items() if there}


def _count(tally: Tally, outcome: Outcome, kinds: set[str], what: str) -> None:
    tally.counts.update({'cases', *kinds})
    tally.seconds = max(tally.seconds, outcome.seconds)
    tally.peak_bytes = max(tally.peak_bytes, outcome.peak_bytes)
    if faults := sorted(kinds & set(FAULTS)):
        said = outcome.fault[-300:] or outcome.sentence or ' '.join(outcome.notices)
        tally.examples.append(f'{tally.name} {what}: {", ".join(faults)}: {said}')
