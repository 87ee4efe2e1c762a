"""``benchmark learning``: objectives x recordings x seeds at an equal budget, as one table."""

from __future__ import annotations

from pathlib import Path
import shlex
import sys
from typing import Annotated

from keypoint_perception.errors import ConfigError
import typer


def learning(
    recording: Annotated[
        list[str],
        typer.Option(
            help='PATH or PATH:LABELS.csv; of a folder with bag/ and annotations.csv the folder. '
            'May be repeated, as may all but --out and the budget.'
        ),
    ],
    out: Annotated[Path, typer.Option(help='Directory to write; runs done in it are kept.')],
    topic: Annotated[
        list[str] | None, typer.Option(help='Image topic, for recordings with several.')
    ] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help='A way to learn, by name; A+B for two at once.')
    ] = None,
    config: Annotated[
        list[Path] | None, typer.Option(help='A way to learn, by a YAML file of settings.')
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help='"NAME: KEY=VALUE ...": a further variant of each of them, for ablations; dots '
            'lead into mappings, as in weights.spread=0.'
        ),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option('--set', help='KEY=VALUE for all variants.')
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help='Seeds; by default 0.')] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help='Budget of a run: minutes of learning.')
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help='Budget of a run: optimiser steps.')
    ] = None,
    target: Annotated[
        list[float] | None,
        typer.Option(help='Explained value; the seconds of learning until then are measured.'),
    ] = None,
    check_every: Annotated[
        float, typer.Option(min=0.1, help='Seconds between the checks of --target.')
    ] = 15.0,
) -> None:
    """Learn with each variant on each recording with each seed; stop and go on as you like."""
    from keypoint_perception.benchmarks.learning_curve import check_target
    from keypoint_perception.benchmarks.learning_plan import plan_runs, read_recordings
    from keypoint_perception.benchmarks.learning_processes import stoppable
    from keypoint_perception.benchmarks.learning_runs import check_asked, RunBudget
    from keypoint_perception.learning.variants import variants_of
    from keypoint_perception.sole_writer import sole_writer

    budget = RunBudget(steps, minutes)
    targets = tuple(target or ())
    for value in targets:
        check_target(value)
    common = list(setting or []) + ([f'snapshot_every_s={check_every}'] if targets else [])
    variants = variants_of(objective or [], config or [], vary or [], common)
    recordings = read_recordings(recording, topic or [])
    seeds = list(dict.fromkeys(seed or [0]))
    runs = plan_runs(recordings, variants, seeds, budget)
    if out.exists() and not out.is_dir():
        msg = f'--out {str(out)!r} is a file; name a directory.'
        raise ConfigError(msg)
    check_asked(out, runs)
    out.mkdir(parents=True, exist_ok=True)
    with sole_writer(out), stoppable():
        try:
            _carry_out_all(runs, out, targets)
        except KeyboardInterrupt:
            print('stopped; the same command goes on where it was', file=sys.stderr)
            raise


def _carry_out_all(runs: list, out: Path, targets: tuple[float, ...]) -> None:
    from keypoint_perception.benchmarks.learning_plan import frames_of
    from keypoint_perception.benchmarks.learning_processes import carry_out, RunError
    from keypoint_perception.benchmarks.learning_runs import (
        DONE,
        FAILED,
        read_record,
        write_record,
    )
    from keypoint_perception.commands.progress import runs_progress

    with runs_progress(len(runs)) as progress:
        for run in runs:
            record = read_record(run.place(out))
            if record.get('state') != DONE:
                progress.begin(run.title)
                try:
                    frames = frames_of(run, out)
                    record = carry_out(run, out, frames, targets=targets, report=progress.share)
                except RunError as error:  # of the extraction
                    record = write_record(run.place(out), run, FAILED, sentence=str(error))
            progress.end(f'{run.title}: {_outcome(record)}')
            _write_table(runs, out)
    _show(runs, out)


def _outcome(record: dict) -> str:
    if 'figures' not in record:
        return f'failed: {record["sentence"]}'
    figures = record['figures']
    explained = figures['explained']
    score = '' if explained is None else f'explained {explained:.3f}, '
    return f'{score}{figures["steps"]} steps'


def _write_table(runs: list, out: Path) -> list[dict]:
    """Write the table of what is done so far, and return its rows."""
    from keypoint_perception.benchmarks.learning_runs import FORMAT_VERSION, read_record
    from keypoint_perception.benchmarks.learning_table import markdown, summarise
    from keypoint_perception.evaluation.report import describe_machine, now, write_json

    records = [r for r in (read_record(run.place(out)) for run in runs) if r]
    rows = summarise(records)
    machine, date, budget = describe_machine(), now(), runs[0].budget
    command = shlex.join(['keypoint_perception', *sys.argv[1:]])
    values = {'format_version': FORMAT_VERSION, 'date': date, 'machine': machine}
    values |= {'command': command, 'budget': str(budget), 'rows': rows, 'runs': records}
    write_json(out / 'learning.json', values)
    where = f'{machine["processor"]}, {machine["cores"]} cores, {machine["system"]}'
    text = markdown(rows, budget=str(budget), machine=where, date=date[:10], command=command)
    (out / 'learning.md').write_text(text)
    return rows


def _show(runs: list, out: Path) -> None:
    rows = _write_table(runs, out)
    print((out / 'learning.md').read_text())
    failed = sum(len(row['failed']) for row in rows)
    if failed:
        print(f'{failed} of {len(runs)} runs failed; the same command tries them again')
    print('wrote')
    for name in ('learning.md', 'learning.json'):
        print(f'  {out / name}')
