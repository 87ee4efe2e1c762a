"""
Runs of a learning benchmark side by side, each in processes of its own.

With as many runs as cores, each on one thread, all cores are busy without one waiting for another,
which is how a table of many runs is made fastest.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import as_completed, ThreadPoolExecutor
import os
from pathlib import Path
import threading
from typing import Any

from keypoint_perception.benchmarks.learning import benchmark_run
from keypoint_perception.benchmarks.learning.benchmark_run import Run
from keypoint_perception.benchmarks.learning.run_plan import frames_of
from keypoint_perception.benchmarks.learning.run_process import execute_run, RunError

Record = dict[str, Any]


def threads_of(jobs: int) -> int:
    """Return the CPU threads of each of several runs side by side, at least one."""
    return max(1, (os.cpu_count() or 1) // jobs)


def execute_runs(
    runs: Sequence[Run],
    out: Path,
    targets: tuple[float, ...],
    jobs: int,
    share: Callable[[str, float], None],
) -> Generator[tuple[Run, Record]]:
    """
    Yield each run and its record as it ends; those that were done before are not repeated.

    If this is interrupted, so are the runs, which write their checkpoints first.

    :param targets: explained values whose learning time is measured
    :param jobs: number of runs side by side
    :param share: called with the title of a run and the share of it that is done
    """
    extraction, stopping = threading.Lock(), threading.Event()

    def execute(run: Run) -> Record:
        directory = run.directory(out)
        record = benchmark_run.read_record(directory)
        if record.get('state') == benchmark_run.DONE:
            return record

        def report(done: float) -> None:
            if stopping.is_set():
                raise KeyboardInterrupt
            share(run.title, done)

        report(0.0)
        try:
            with extraction:  # of a recording once
                frames = frames_of(run, out)
            return execute_run(run, out, frames, targets=targets, report=report)
        except RunError as error:  # of the extraction
            return benchmark_run.write_failure(directory, run, error)

    with ThreadPoolExecutor(jobs) as pool:
        started = {pool.submit(execute, run): run for run in runs}
        try:
            for future in as_completed(started):
                yield started[future], future.result()
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
