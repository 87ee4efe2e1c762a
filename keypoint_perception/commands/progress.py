"""Progress on stderr; stdout is for results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, ExitStack
import sys
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from keypoint_perception.learning.run_monitor import RunProgress
    from keypoint_perception.ros.recorder.recorder import RecordingSummary
    from rich.console import Console
    from rich.progress import Progress, TaskID

Item = TypeVar('Item')
CountProgress = Callable[[int, int | None], None]
PRINT_INTERVAL_S = 5.0  # without a terminal


def show_progress(
    items: Iterable[Item], title: str, *, total: int | None = None
) -> Iterator[Item]:
    """
    Yield ``items`` under a progress bar with count, rate and remaining time.

    :param total: number of items, None if unknown
    """
    with _progress() as progress:
        task = progress.add_task(title, total=total, text='')
        for done, item in enumerate(items, start=1):
            yield item
            speed = progress.tasks[0].speed
            rate = '' if speed is None else f' {speed:.0f}/s'
            progress.update(task, completed=done, text=_count(done, total) + rate)


@contextmanager
def extraction_progress(title: str) -> Iterator[CountProgress]:
    """Show a progress bar; yields the callback for count and total."""
    with _progress() as progress:
        yield Bars(progress).counter(title)


@contextmanager
def build_progress() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar per phase of an engine build from the first call; yields the callback."""
    with ExitStack() as stack:
        bars: list[Bars] = []

        def show(done: int, total: int, phase: str) -> None:
            if not bars:
                bars.append(Bars(stack.enter_context(_progress())))
            bars[0].show(phase, done, total, '')

        yield show


@contextmanager
def seconds_progress(title: str) -> Iterator[Callable[[float, float], None]]:
    """Show a progress bar; yields the callback for elapsed and total seconds."""
    with _progress() as progress:
        bars = Bars(progress)
        yield lambda done, total: bars.show(title, done, total, f'{done:.0f}/{total:.0f} s')


@contextmanager
def training_progress(*, quiet: bool) -> Iterator[TrainingProgress]:
    """
    Show the progress of a training run.

    :param quiet: show nothing, for all processes but the first
    """
    with _progress(quiet=quiet) as progress:
        yield TrainingProgress(Bars(progress))


@contextmanager
def runs_progress(count: int) -> Iterator[RunsProgress]:
    """Show the progress of several runs and of the current one."""
    with _progress() as progress:
        yield RunsProgress(Bars(progress), progress.console, count)


@contextmanager
def recording_progress() -> Iterator[Callable[[RecordingSummary], None]]:
    """
    Show the state of a recording in one line; yields the callback for its summary.

    A terminal updates the line in place; elsewhere it is printed every few seconds.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    line = RecordingLine()
    printed_at = -PRINT_INTERVAL_S

    def print_sometimes(summary: RecordingSummary) -> None:
        nonlocal printed_at
        if summary.seconds - printed_at >= PRINT_INTERVAL_S:
            printed_at = summary.seconds
            print(line.text(summary), file=sys.stderr, flush=True)

    if not console.is_terminal:
        yield print_sometimes
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda summary: live.update(line.text(summary), refresh=True)


class RecordingLine:
    """The state of a recording as text, with the message rate since the previous line."""

    def __init__(self) -> None:
        self._last_s, self._last_messages = time.monotonic(), 0

    def text(self, summary: RecordingSummary) -> str:
        """Return the next line."""
        now = time.monotonic()
        rate = (summary.messages - self._last_messages) / max(now - self._last_s, 1e-9)
        self._last_s, self._last_messages = now, summary.messages
        minutes, seconds = divmod(int(summary.seconds), 60)
        skipped = f'{summary.skipped} skipped  ' if summary.skipped else ''
        return (
            f'recording {minutes}:{seconds:02d}  {summary.messages} messages  {rate:.0f}/s  '
            f'{summary.size_bytes / 1e6:.1f} MB  {skipped}'
            f'{summary.dropped} dropped  {summary.lost} lost  {summary.safe} safe'
        )


class Bars:
    """Progress bars by title, each created on first use."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, title: str, done: float, total: float | None, text: str) -> None:
        """Update a bar."""
        if title not in self._tasks:
            self._tasks[title] = self._progress.add_task(title, total=total, text=text)
        self._progress.update(self._tasks[title], completed=done, total=total, text=text)

    def counter(self, title: str) -> CountProgress:
        """Return the callback that updates a bar with count and total."""
        return lambda done, total: self.show(title, done, total, _count(done, total))


class TrainingProgress:
    """Shows extraction, then training with loss and speed."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self.frames = bars.counter('extracting frames')

    def run(self, run: RunProgress) -> None:
        """Show the progress of the run."""
        text = f'step {run.step}  loss {run.loss:.4f}  {run.pairs_per_s:.0f} pairs/s'
        self._bars.show('training', run.done, 1.0, text)


class RunsProgress:
    """Shows the completed runs, the current one, and a line for each that has ended."""

    def __init__(self, bars: Bars, console: Console, count: int) -> None:
        self._bars, self._console = bars, console
        self._done, self._count = 0, count
        self._title = ''

    def begin(self, title: str) -> None:
        """Start a run."""
        self._title = title
        self.share(0.0)

    def share(self, share: float) -> None:
        """Show how much of the current run is done."""
        self._bars.show('run', share, 1.0, self._title)
        self._bars.show('runs', self._done + share, self._count, _count(self._done, self._count))

    def end(self, line: str) -> None:
        """End the current run and print a line about it."""
        self._done += 1
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self.share(0.0)


def _count(done: int, total: int | None) -> str:
    return f'{done}/{total}' if total else str(done)


def _progress(*, quiet: bool = False) -> Progress:
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
