"""Progress on stderr; stdout is for results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
import sys
import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from keypoint_perception.learning.run_monitor import RunProgress
    from keypoint_perception.ros.recorder.recorder import RecordingSummary
    from rich.progress import Progress, TaskID

Item = TypeVar('Item')
PRINT_INTERVAL_S = 5.0  # without a terminal


def show_progress(
    items: Iterable[Item], title: str, *, total: int | None = None
) -> Iterator[Item]:
    """Yield ``items`` under a progress bar with count, rate and remaining time."""
    with progress_bars() as bars:
        bars.show(title, 0, total, '')
        for done, item in enumerate(items, start=1):
            yield item
            bars.show(title, done, total, _count(done, total) + bars.rate(title))


@contextmanager
def progress_bars(*, quiet: bool = False) -> Iterator[Bars]:
    """Show progress bars from the first update on, or with ``quiet`` none."""
    from rich import progress as rich
    from rich.console import Console

    title, text = rich.TextColumn('{task.description}'), rich.TextColumn('{task.fields[text]}')
    done, times = rich.TaskProgressColumn(), (rich.TimeElapsedColumn(), rich.TimeRemainingColumn())
    columns = (title, rich.BarColumn(), done, text, *times)
    progress = rich.Progress(*columns, console=Console(stderr=True), disable=quiet)
    try:
        yield Bars(progress)
    finally:
        if progress.tasks and not quiet:
            progress.stop()


class Bars:
    """Progress bars by title, each created on first use; the methods serve as callbacks."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, title: str, done: float, total: float | None, text: str) -> None:
        if title not in self._tasks:
            self._progress.start()
            self._tasks[title] = self._progress.add_task(title, total=total, text=text)
        self._progress.update(self._tasks[title], completed=done, total=total, text=text)

    def rate(self, title: str) -> str:
        """Return the rate of a bar as text, empty if unknown."""
        speed = next((t.speed for t in self._progress.tasks if t.description == title), None)
        return '' if speed is None else f' {speed:.0f}/s'

    def counter(self, title: str) -> Callable[[int, int | None], None]:
        """Return the callback that updates a bar with count and total."""
        return lambda done, total: self.show(title, done, total, _count(done, total))

    def timer(self, title: str) -> Callable[[float, float], None]:
        """Return the callback that updates a bar with elapsed and total seconds."""
        return lambda done, total: self.show(title, done, total, f'{done:.0f}/{total:.0f} s')

    def phase(self, done: int, total: int, phase: str) -> None:
        """Update the bar of a phase of an engine build."""
        self.show(phase, done, total, '')

    def training(self, run: RunProgress) -> None:
        """Update the bar of a training run."""
        text = f'step {run.step}  loss {run.loss:.4f}  {run.pairs_per_s:.0f} pairs/s'
        self.show('training', run.done, 1.0, text)

    def log(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


class RunsProgress:
    """Shows the completed runs, the current ones, and a line for each that has ended."""

    def __init__(self, bars: Bars, count: int) -> None:
        self._bars = bars
        self._done, self._count = 0, count
        self._shares: dict[str, float] = {}
        self._lock = threading.Lock()

    def share(self, title: str, share: float) -> None:
        """Show how much of a run is done."""
        with self._lock:
            self._shares[title] = share
            self._show()

    def end(self, title: str, line: str) -> None:
        """End a run and print a line about it."""
        with self._lock:
            self._shares.pop(title, None)
            self._done += 1
            self._bars.log(line)
            self._show()

    def _show(self) -> None:
        running = sum(self._shares.values())
        mean = running / max(1, len(self._shares))
        self._bars.show('run', mean, 1.0, '; '.join(self._shares))
        self._bars.show('runs', self._done + running, self._count, _count(self._done, self._count))


@contextmanager
def recording_progress() -> Iterator[Callable[[RecordingSummary], None]]:
    """
    Show the state of a recording in one line; yields the callback for its summary.

    A terminal updates the line in place; elsewhere it is printed every few seconds.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    printed_at, last_s, last_messages = -PRINT_INTERVAL_S, time.monotonic(), 0

    def text(summary: RecordingSummary) -> str:
        nonlocal last_s, last_messages
        now = time.monotonic()
        rate = (summary.messages - last_messages) / max(now - last_s, 1e-9)
        last_s, last_messages = now, summary.messages
        minutes, seconds = divmod(int(summary.seconds), 60)
        total = summary.total
        skipped = f'{total.skipped} skipped  ' if total.skipped else ''
        return (
            f'recording {minutes}:{seconds:02d}  {summary.messages} messages  {rate:.0f}/s  '
            f'{summary.size_bytes / 1e6:.1f} MB  {skipped}'
            f'{total.dropped} dropped  {total.lost} lost  {summary.safe} safe'
        )

    def print_sometimes(summary: RecordingSummary) -> None:
        nonlocal printed_at
        if summary.seconds - printed_at >= PRINT_INTERVAL_S:
            printed_at = summary.seconds
            print(text(summary), file=sys.stderr, flush=True)

    if not console.is_terminal:
        yield print_sometimes
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda summary: live.update(text(summary), refresh=True)


def _count(done: int, total: int | None) -> str:
    return f'{done}/{total}' if total else str(done)
