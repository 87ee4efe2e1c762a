"""Progress of long work, on stderr so that stdout stays for results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar('Item')


def show_progress(
    items: Iterable[Item], title: str, *, total: int | None = None
) -> Iterator[Item]:
    """
    Yield ``items`` under a progress bar with their number, their rate and the time left.

    :param total: number of items, None if it is not known
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('{task.fields[rate]}'),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, rate='')
        for item in items:
            yield item
            progress.advance(task)
            speed = progress.tasks[0].speed
            progress.update(task, rate='' if speed is None else f'{speed:.0f}/s')


class TrainingProgress:
    """Shows extraction, then learning with its loss and its speed."""

    def __init__(self, progress) -> None:
        self._progress = progress
        self._tasks: dict[str, int] = {}

    def frames(self, done: int, total: int | None) -> None:
        """Show how many frames are extracted."""
        self._show('extracting frames', done, total, f'{done}' + (f'/{total}' if total else ''))

    def moment(self, moment) -> None:
        """Show a :class:`keypoint_perception.learning.watch.Moment`."""
        text = f'step {moment.step}  loss {moment.loss:.4f}  {moment.pairs_per_s:.0f} pairs/s'
        self._show('learning', moment.done, 1.0, text)

    def _show(self, title: str, done: float, total: float | None, text: str) -> None:
        if title not in self._tasks:
            self._tasks[title] = self._progress.add_task(title, total=total, text=text)
        self._progress.update(self._tasks[title], completed=done, total=total, text=text)


@contextmanager
def training_progress(*, quiet: bool) -> Iterator[TrainingProgress]:
    """
    Show the progress of a training run.

    :param quiet: show nothing, as all processes but the first do
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn('{task.fields[text]}'),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        yield TrainingProgress(progress)
