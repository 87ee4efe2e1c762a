"""Progress of long work, on stderr so that stdout stays for results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, ExitStack
import sys
import time
from typing import TypeVar

Item = TypeVar('Item')
PRINT_S = 5.0  # between two lines where there is no terminal to renew one


def show_progress(
    items: Iterable[Item], title: str, *, total: int | None = None
) -> Iterator[Item]:
    """
    Yield ``items`` under a progress bar with their number, their rate and the time left.

    :param total: number of items, None if it is not known
    """
    with _progress() as progress:
        task = progress.add_task(title, total=total, text='')
        for done, item in enumerate(items, start=1):
            yield item
            speed = progress.tasks[0].speed
            rate = '' if speed is None else f' {speed:.0f}/s'
            progress.update(task, completed=done, text=_count(done, total) + rate)


@contextmanager
def extraction_progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar, and give the function to call with what is done and the total."""
    with _progress() as progress:
        yield Bars(progress).counter(title)


@contextmanager
def build_progress() -> Iterator[Callable[[int, int, str], None]]:
    """Give the function to call with how far an engine is built; nothing is shown before."""
    with ExitStack() as stack:
        bars: list[Bars] = []

        def show(done: int, total: int, phase: str) -> None:
            if not bars:
                bars.append(Bars(stack.enter_context(_progress())))
            bars[0].show(phase, done, total, '')

        yield show


@contextmanager
def seconds_progress(title: str) -> Iterator[Callable[[float, float], None]]:
    """Show a progress bar, and give the function to call with seconds done and their total."""
    with _progress() as progress:
        bars = Bars(progress)
        yield lambda done, total: bars.show(title, done, total, f'{done:.0f}/{total:.0f} s')


@contextmanager
def training_progress(*, quiet: bool) -> Iterator[TrainingProgress]:
    """
    Show the progress of a training run.

    :param quiet: show nothing, as all processes but the first do
    """
    with _progress(quiet=quiet) as progress:
        yield TrainingProgress(Bars(progress))


@contextmanager
def runs_progress(count: int) -> Iterator[RunsProgress]:
    """Show how many of several runs are done, and how far the present one is."""
    with _progress() as progress:
        yield RunsProgress(Bars(progress), progress.console, count)


@contextmanager
def recording_progress() -> Iterator[Callable]:
    """
    Show a line that tells how a recording goes, and give the function to call with its summary.

    On a terminal the line is renewed; elsewhere one is printed every few seconds.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    last = time.monotonic(), 0
    printed_at = -PRINT_S

    def line(summary) -> str:
        nonlocal last
        now = time.monotonic()
        rate = (summary.messages - last[1]) / max(now - last[0], 1e-9)
        last = now, summary.messages
        minutes, seconds = divmod(int(summary.seconds), 60)
        skipped = f'{summary.skipped} skipped  ' if summary.skipped else ''
        return (
            f'recording {minutes}:{seconds:02d}  {summary.messages} messages  {rate:.0f}/s  '
            f'{summary.size_bytes / 1e6:.1f} MB  {skipped}'
            f'{summary.dropped} dropped  {summary.lost} lost  {summary.safe} safe'
        )

    def print_now_and_then(summary) -> None:
        nonlocal printed_at
        if summary.seconds - printed_at >= PRINT_S:
            printed_at = summary.seconds
            print(line(summary), file=sys.stderr, flush=True)

    if not console.is_terminal:
        yield print_now_and_then
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda summary: live.update(line(summary), refresh=True)


class Bars:
    """Progress bars by their title, each made when it is first shown."""

    def __init__(self, progress) -> None:
        self._progress = progress
        self._tasks: dict[str, int] = {}

    def show(self, title: str, done: float, total: float | None, text: str) -> None:
        """Show how far one thing has come."""
        if title not in self._tasks:
            self._tasks[title] = self._progress.add_task(title, total=total, text=text)
        self._progress.update(self._tasks[title], completed=done, total=total, text=text)

    def counter(self, title: str) -> Callable[[int, int | None], None]:
        """Return the function to call with what is done and the total."""
        return lambda done, total: self.show(title, done, total, _count(done, total))


class TrainingProgress:
    """Shows extraction, then learning with its loss and its speed."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self.frames = bars.counter('extracting frames')

    def moment(self, moment) -> None:
        """Show a :class:`keypoint_perception.learning.run_monitor.RunProgress`."""
        text = f'step {moment.step}  loss {moment.loss:.4f}  {moment.pairs_per_s:.0f} pairs/s'
        self._bars.show('learning', moment.done, 1.0, text)


class RunsProgress:
    """Shows runs that are done, the one that goes on, and a line for each that has ended."""

    def __init__(self, bars: Bars, console, count: int) -> None:
        self._bars, self._console = bars, console
        self._done, self._count = 0, count
        self._title = ''

    def begin(self, title: str) -> None:
        """Name the run that goes on."""
        self._title = title
        self.share(0.0)

    def share(self, share: float) -> None:
        """Show how far it is."""
        self._bars.show('run', share, 1.0, self._title)
        self._bars.show('runs', self._done + share, self._count, _count(self._done, self._count))

    def end(self, line: str) -> None:
        """Show that a run is over."""
        self._done += 1
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self.share(0.0)


def _count(done: int, total: int | None) -> str:
    return f'{done}/{total}' if total else str(done)


def _progress(*, quiet: bool = False):
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
    return Progress(*columns, console=Console(stderr=True), disable=quiet)
