"""``benchmark learning``: objectives x recordings x seeds at an equal budget, as one table."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
import shlex
import sys
from typing import Annotated, Any, TYPE_CHECKING

from keypoint_perception.errors import ConfigError
import typer

if TYPE_CHECKING:
    from keypoint_perception.benchmarks.learning.benchmark_run import Run


def learning(
    recording: Annotated[
        list[str],
        typer.Option(
            help='PATH or PATH:LABELS.csv, or a folder with bag/ and annotations.csv; repeatable.'
        ),
    ],
    out: Annotated[Path, typer.Option(help='Directory to write; completed runs in it are kept.')],
    topic: Annotated[
        list[str] | None,
        typer.Option(help='Image topic, for recordings with several; repeatable.'),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help='Objective to compare, A+B for a composite; repeatable.'),
    ] = None,
    config: Annotated[
        list[Path] | None, typer.Option(help='YAML file with settings to compare; repeatable.')
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help='"NAME: KEY=VALUE ...": another variant of each objective and file, for '
            'ablations; dots address nested settings, as in weights.spread=0; repeatable.'
        ),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option('--set', help='KEY=VALUE for all variants; repeatable.')
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help='Seed; repeatable; by default 0.')] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help='Budget of a run: minutes of learning.')
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help='Budget of a run: optimiser steps.')
    ] = None,
    target: Annotated[
        list[float] | None,
        typer.Option(
            help='Explained fraction (0 to 1); reports the training time until it is reached; '
            'repeatable.'
        ),
    ] = None,
    check_every: Annotated[
        float, typer.Option(min=0.1, help='Seconds between the snapshots for --target.')
    ] = 15.0,
    ceiling: Annotated[
        bool,
        typer.Option(
            help='Learn from the labels too, at the same budget, and show the share of what that '
            'explains.'
        ),
    ] = True,
    jobs: Annotated[
        int,
        typer.Option(
            min=1, max=256, help='Runs side by side, each with its share of the CPU threads.'
        ),
    ] = 1,
) -> None:
    """Train each variant on each recording with each seed; can be interrupted and resumed."""
    from keypoint_perception.atomic_files import sole_writer
    from keypoint_perception.benchmarks.learning.benchmark_run import check_request, RunBudget
    from keypoint_perception.benchmarks.learning.learning_curve import check_target
    from keypoint_perception.benchmarks.learning.run_plan import (
        ceiling_of,
        plan_runs,
        read_recordings,
    )
    from keypoint_perception.benchmarks.learning.run_pool import threads_of
    from keypoint_perception.benchmarks.learning.run_process import stoppable
    from keypoint_perception.learning.variants import read_assignments, variants_of

    budget = RunBudget(steps, minutes)
    targets = tuple(target or ())
    for value in targets:
        check_target(value)
    common = list(setting or []) + ([f'snapshot_every_s={check_every}'] if targets else [])
    if jobs > 1 and 'threads' not in read_assignments(common):
        common.append(f'threads={threads_of(jobs)}')
    variants = variants_of(objective or [], config or [], vary or [], common)
    supervised = ceiling_of(variants, read_assignments(common)) if ceiling else {}
    recordings = read_recordings(recording, topic or [])
    seeds = list(dict.fromkeys(seed or [0]))
    runs = plan_runs(recordings, variants, seeds, budget, supervised)
    if out.exists() and not out.is_dir():
        msg = f'--out {str(out)!r} is a file; specify a directory.'
        raise ConfigError(msg)
    check_request(out, runs)
    out.mkdir(parents=True, exist_ok=True)
    with sole_writer(out), stoppable():
        try:
            _execute_all(runs, out, targets, jobs)
        except KeyboardInterrupt:
            print('stopped; repeat the command to resume', file=sys.stderr)
            raise


def _execute_all(runs: list[Run], out: Path, targets: tuple[float, ...], jobs: int) -> None:
    from keypoint_perception.benchmarks.learning.run_pool import execute_runs
    from keypoint_perception.commands.progress import progress_bars, RunsProgress

    rows: list[dict[str, Any]] = []
    with progress_bars() as bars:
        progress = RunsProgress(bars, len(runs))
        # closed also after an interrupt of this loop, which stops the runs
        with closing(execute_runs(runs, out, targets, jobs, progress.share)) as ended:
            for run, record in ended:
                progress.end(run.title, f'{run.title}: {_outcome(record)}')
                rows = _write_table(runs, out, jobs)
    print((out / 'learning.md').read_text())
    failed = sum(len(row['failed']) for row in rows)
    if failed:
        print(f'{failed} of {len(runs)} runs failed; repeat the command to retry them')
    print(f'wrote\n  {out / "learning.md"}\n  {out / "learning.json"}')


def _outcome(record: dict[str, Any]) -> str:
    if 'figures' not in record:
        return f'failed: {record["sentence"]}'
    figures = record['figures']
    explained = figures['explained']
    score = '' if explained is None else f'explained {explained:.3f}, '
    return f'{score}{figures["steps"]} steps'


def _write_table(runs: list[Run], out: Path, jobs: int) -> list[dict[str, Any]]:
    """Write the table of the runs so far, and return its rows."""
    from keypoint_perception.benchmarks.learning.benchmark_run import FORMAT_VERSION, read_record
    from keypoint_perception.benchmarks.learning.learning_table import learning_table, summarise
    from keypoint_perception.benchmarks.results import write_results

    records = [r for r in (read_record(run.directory(out)) for run in runs) if r]
    rows, budget = summarise(records), str(runs[0].budget)
    command = shlex.join(['keypoint_perception', *sys.argv[1:]])
    values = {'format_version': FORMAT_VERSION, 'command': command, 'budget': budget}
    results = write_results(out / 'learning.json', {**values, 'rows': rows, 'runs': records})
    about, date = results['machine'], results['date'][:10]
    machine = f'{about["processor"]}, {about["cores"]} cores, {about["system"]}'
    beside = '' if jobs == 1 else f', {jobs} runs side by side'
    threads = {run.resolved['threads'] for run in runs} - {0}
    if len(threads) == 1:
        count = min(threads)
        beside += f', {count} thread{"s" * (count != 1)} each'
    text = learning_table(
        rows, budget=budget + beside, machine=machine, date=date, command=command
    )
    (out / 'learning.md').write_text(text)
    return rows
