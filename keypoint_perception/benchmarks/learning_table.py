"""
The runs of a learning benchmark as one table: means over seeds, and how far seeds differ.

The spread is the largest minus the smallest value over the seeds. The mean over recordings is
taken seed by seed, over the recordings that have labels, from the seeds that are done on all of
them. Where ``supervised`` is among the variants, what it explains is the ceiling of a recording,
and the others are shown as shares of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import math

from keypoint_perception.benchmarks.learning_runs import DONE, FAILED

CEILING = 'supervised'
ALL = 'all'


@dataclass(frozen=True)
class Measure:
    """
    A column.

    :param style: how a value is written
    :param over_recordings: whether a mean over recordings means something
    """

    name: str
    title: str
    style: str
    over_recordings: bool = True


MEASURES = (
    Measure('explained', 'explained', '.3f'),
    Measure('ceiling_share', 'of ceiling', '.2f'),
    Measure('regressed_error_percent', 'error, %', '.2f'),
    Measure('tracking_recall', 'recall', '.2f'),
    Measure('tracking_precision', 'precision', '.2f'),
    Measure('wasted_share', 'bad points', '.2f'),
    Measure('pairs_per_s', 'pairs/s', '.0f'),
    Measure('steps', 'steps', '.0f'),
    Measure('peak_memory_mb', 'peak MB', '.0f'),
)
LEGEND = (
    'Mean over the seeds, in brackets the spread (largest minus smallest). error: regressed '
    'error, % of the image diagonal; recall and precision: tracking over clips of 100 frames '
    'within 5 %; bad points: share of the exported points that never move, are dead or duplicates.'
)


def summarise(records: Sequence[dict]) -> list[dict]:
    """
    Return one row for each recording and variant, then one for each variant over all recordings.

    :param records: of the runs, as ``run.json`` holds them; what is not done counts as missing
    """
    done = [_flat(record) for record in records if record.get('state') == DONE]
    _add_ceiling(done)
    recordings = _names(record['asked']['recording'] for record in records)
    variants = _names(record['asked']['variant'] for record in records)
    rows = []
    for recording in recordings:
        for variant in variants:
            mine = [r for r in records if _is(r['asked'], recording, variant)]
            runs = [run for run in done if _is(run, recording, variant)]
            if mine:
                rows.append(_row(recording, variant, runs, len(mine)) | {'failed': _failed(mine)})
    labelled = _names(run['recording'] for run in done if _finite(run.get('explained')))
    if len(labelled) > 1:
        rows += [_over_recordings(v, labelled, done) for v in variants]
    return rows


def _flat(record: dict) -> dict:
    asked = record['asked']
    own = {name: asked[name] for name in ('recording', 'variant', 'seed')}
    times = record['figures'].get('seconds_to') or {}
    objective = asked['settings'].get('objective')
    return own | {'objective': objective} | record['figures'] | _times(times)


def _times(seconds_to: dict) -> dict:
    return {f'seconds_to_{target}': seconds for target, seconds in seconds_to.items()}


def _add_ceiling(done: list[dict]) -> None:
    """Add each run's share of what its recording's supervised runs explain."""
    for recording in _names(run['recording'] for run in done):
        mine = [run for run in done if run['recording'] == recording]
        ceiling = _mean([r.get('explained') for r in mine if r['objective'] == CEILING])
        if not _finite(ceiling) or ceiling <= 0:
            continue
        for run in mine:
            if _finite(run.get('explained')):
                run['ceiling_share'] = run['explained'] / ceiling


def _row(recording: str, variant: str, runs: list[dict], asked: int) -> dict:
    names = [measure.name for measure in MEASURES] + _time_names(runs)
    values = {name: _statistics([run.get(name) for run in runs]) for name in names}
    row = {'recording': recording, 'variant': variant, 'runs': len(runs), 'asked': asked}
    return row | {'measures': {name: v for name, v in values.items() if v is not None}}


def _over_recordings(variant: str, recordings: list[str], done: list[dict]) -> dict:
    """Return the means over recordings: each seed's first, then over the seeds."""
    mine = [run for run in done if run['variant'] == variant]
    by_seed = {seed: [r for r in mine if r['seed'] == seed] for seed in {r['seed'] for r in mine}}
    complete = {
        seed: [run for run in runs if run['recording'] in recordings]
        for seed, runs in by_seed.items()
        if set(recordings) <= {run['recording'] for run in runs}
    }
    means = []
    for seed, runs in sorted(complete.items()):
        names = [measure.name for measure in MEASURES] + _time_names(runs)
        means.append({'seed': seed} | {n: _mean([r.get(n) for r in runs]) for n in names})
    row = _row(ALL, variant, means, len(by_seed)) | {'failed': [], 'recordings': len(recordings)}
    everything = [run for runs in complete.values() for run in runs]
    least = [r['explained'] for r in everything if _finite(r.get('explained'))]
    return row | {'least_explained': min(least, default=None)}


def _time_names(runs: Iterable[dict]) -> list[str]:
    return _names(name for run in runs for name in run if name.startswith('seconds_to_'))


def _statistics(values: list) -> dict | None:
    """Return mean, spread, deviation and the values themselves; None if there are none."""
    known = [value for value in values if _finite(value)]
    if not known:
        return None
    mean = _mean(known)
    squares = sum((value - mean) ** 2 for value in known)
    return {
        'mean': mean,
        'spread': max(known) - min(known),
        'standard_deviation': math.sqrt(squares / max(1, len(known) - 1)),
        'values': known,
        'missing': len(values) - len(known),
    }


def markdown(rows: Sequence[dict], *, budget: str, machine: str, date: str, command: str) -> str:
    """Return the table as Markdown, with what a reader must know to repeat it."""
    columns = [m for m in MEASURES if any(m.name in row['measures'] for row in rows)]
    targets = _names(
        name for row in rows for name in row['measures'] if name.startswith('seconds_to_')
    )
    columns += [
        Measure(name, f's to {name.removeprefix("seconds_to_")}', '.0f') for name in targets
    ]
    lines = [
        f'Budget of a run: {budget}. {machine}. {date}.',
        '',
        f'    {command}',
        '',
        LEGEND,
        '',
        '| recording | variant | ' + ' | '.join(c.title for c in columns) + ' | runs |',
        '| --- | --- |' + ' --- |' * (len(columns) + 1),
    ]
    lines += [_line(row, columns) for row in rows]
    for row in rows:
        lines += [f'\n{row["recording"]} / {row["variant"]} failed: {s}' for s in row['failed']]
    return '\n'.join(lines) + '\n'


def _line(row: dict, columns: Sequence[Measure]) -> str:
    cells = [_cell(row, column) for column in columns]
    name = f'mean of {row["recordings"]}' if row['recording'] == ALL else row['recording']
    count = f'{row["runs"]}' if row['runs'] == row['asked'] else f'{row["runs"]} of {row["asked"]}'
    return '| ' + ' | '.join([name, row['variant'], *cells, count]) + ' |'


def _cell(row: dict, column: Measure) -> str:
    values = row['measures'].get(column.name)
    if values is None:
        return '-'
    text = format(values['mean'], column.style)
    if len(values['values']) > 1:
        text += f' ({format(values["spread"], column.style)})'
    if values['missing'] and column.name.startswith('seconds_to_'):
        text += f', {values["missing"]} never'
    return text


def _failed(records: list[dict]) -> list[str]:
    return [
        f'seed {r["asked"]["seed"]}: {r["sentence"]}' for r in records if r.get('state') == FAILED
    ]


def _is(values: dict, recording: str, variant: str) -> bool:
    return (values['recording'], values['variant']) == (recording, variant)


def _names(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _mean(values: Iterable) -> float:
    known = [value for value in values if _finite(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _finite(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
