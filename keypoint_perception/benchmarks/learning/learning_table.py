"""
The runs of a learning benchmark as one table: means over the seeds, and their spread.

The spread is the maximum minus the minimum over the seeds. The mean over recordings is taken for
each seed first, over the labelled recordings, and only for seeds that are done on all of them.
What ``supervised`` explains at the same budget, the mean over its seeds, is the ceiling of a
recording, and the others are shown as shares of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
import math
import statistics
from typing import Any

from keypoint_perception.benchmarks.learning.benchmark_run import DONE, FAILED
from keypoint_perception.evaluation.tables import markdown_table

CEILING = 'supervised'
ALL = 'all'
TARGET = 'seconds_to_'
Record = Mapping[str, Any]
Row = dict[str, Any]


# Title and format of each measure.
MEASURES = {
    'explained': ('explained', '.3f'),
    'ceiling_share': ('of ceiling', '.2f'),
    'regressed_error_percent': ('error, %', '.2f'),
    'tracking_precision': ('precision', '.2f'),
    'tracking_precision_bound': ('bound', '.2f'),
    'tracking_share_of_bound': ('of bound', '.2f'),
    'tracking_recall': ('recall', '.2f'),
    'tracking_recall_after_regression': ('after regression', '.2f'),
    'background_share': ('on background', '.2f'),
    'plain_background_share': ('off labels', '.2f'),
    'wasted_share': ('uninformative', '.2f'),
    'background_error_percent': ('background error, %', '.1f'),
    'keypoints': ('keypoints', '.1f'),
    'pairs_per_s': ('pairs/s', '.0f'),
    'steps': ('steps', '.0f'),
    'peak_memory_mb': ('peak MB', '.0f'),
}
LEGEND = (
    'Mean over the seeds, with the spread (maximum minus minimum) in brackets; least: of all '
    'seeds, in the rows of means also of all recordings. The last 30 % of each recording were '
    'withheld from learning, and all scores are of them. of ceiling: explained / what the '
    'network explains when it learns from the labels of the other frames at the same budget; '
    'error: regressed error, % of the image diagonal; precision, its bound by the number of '
    'labels, precision / bound, recall, and recall after regression to the labels: tracking '
    'over clips of 100 frames within 5 %; on background: share of the keypoints that lie on '
    'what does not move in the world, and off labels: that are not near labelled points '
    'besides; uninformative: share of those that never move, are dead or duplicates; '
    'background error: displacement in front of the background of another episode, % of the '
    'diagonal.'
)


def summarise(records: Sequence[Record]) -> list[Row]:
    """Return a row for each recording and variant, then one for each variant over all."""
    done = [_flatten(record) for record in records if record.get('state') == DONE]
    _add_ceiling(done)
    recordings = _unique(record['asked']['recording'] for record in records)
    variants = _unique(record['asked']['variant'] for record in records)
    rows = []
    for recording, variant in product(recordings, variants):
        requested = [r for r in records if _is(r['asked'], recording, variant)]
        if requested:
            runs = [run for run in done if _is(run, recording, variant)]
            row = _row(recording, variant, runs, len(requested))
            failed = [r for r in requested if r.get('state') == FAILED]
            sentences = [f'seed {r["asked"]["seed"]}: {r["sentence"]}' for r in failed]
            rows.append(row | {'failed': sentences})
    labelled = _unique(run['recording'] for run in done if _finite(run.get('explained')))
    if len(labelled) > 1:
        rows += [_over_recordings(v, labelled, done) for v in variants]
    return rows


def _flatten(record: Record) -> Row:
    request, figures = record['asked'], record['figures']
    return {
        **{name: request[name] for name in ('recording', 'variant', 'seed')},
        'objective': request['settings'].get('objective'),
        **figures,
        **{f'{TARGET}{t}': s for t, s in (figures.get('seconds_to') or {}).items()},
    }


def _add_ceiling(done: list[Row]) -> None:
    """Add each run's share of what the supervised runs of its recording explain."""
    for recording in _unique(run['recording'] for run in done):
        mine = [run for run in done if run['recording'] == recording]
        ceiling = _mean([r.get('explained') for r in mine if r['objective'] == CEILING])
        for run in mine if ceiling > 0 else []:
            if _finite(run.get('explained')):
                run['ceiling_share'] = run['explained'] / ceiling


def _row(recording: str, variant: str, runs: Sequence[Record], requested: int) -> Row:
    values = {n: _statistics([run.get(n) for run in runs]) for n in [*MEASURES, *_targets(runs)]}
    row = {'recording': recording, 'variant': variant, 'runs': len(runs), 'asked': requested}
    row['least_explained'] = _least(runs)
    return row | {'measures': {name: v for name, v in values.items() if v is not None}}


def _over_recordings(variant: str, recordings: list[str], done: list[Row]) -> Row:
    """Return the means over recordings: first those of each seed, then over the seeds."""
    mine = [run for run in done if run['variant'] == variant]
    by_seed = {seed: [r for r in mine if r['seed'] == seed] for seed in {r['seed'] for r in mine}}
    complete = {
        seed: [run for run in runs if run['recording'] in recordings]
        for seed, runs in by_seed.items()
        if set(recordings) <= {run['recording'] for run in runs}
    }
    means = []
    for seed, runs in sorted(complete.items()):
        names = [*MEASURES, *_targets(runs)]
        means.append({'seed': seed} | {n: _mean([r.get(n) for r in runs]) for n in names})
    row = _row(ALL, variant, means, len(by_seed)) | {'failed': [], 'recordings': len(recordings)}
    everything = [run for runs in complete.values() for run in runs]
    return row | {'least_explained': _least(everything)}


def _least(runs: Iterable[Record]) -> float | None:
    explained = [run['explained'] for run in runs if _finite(run.get('explained'))]
    return min(explained, default=None)


def _targets(rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the names of the learning times, which depend on the targets of the benchmark."""
    return _unique(name for row in rows for name in row if name.startswith(TARGET))


def _statistics(values: Sequence[Any]) -> dict[str, Any] | None:
    """Return mean, spread, deviation and the finite values themselves; None without any."""
    known = [value for value in values if _finite(value)]
    if not known:
        return None
    return {
        'mean': _mean(known),
        'spread': max(known) - min(known),
        'standard_deviation': statistics.stdev(known) if len(known) > 1 else 0.0,
        'values': known,
        'missing': len(values) - len(known),
    }


def learning_table(
    rows: Sequence[Row], *, budget: str, machine: str, date: str, command: str
) -> str:
    """Return the table in Markdown, with everything needed to reproduce it."""
    targets = _targets(row['measures'] for row in rows)
    columns = {n: m for n, m in MEASURES.items() if any(n in row['measures'] for row in rows)}
    columns |= {name: (f's to {name.removeprefix(TARGET)}', '.0f') for name in targets}
    titles = [title for title, _ in columns.values()]
    titles = ['recording', 'variant', *titles[:1], 'least', *titles[1:], 'runs']
    table = markdown_table(titles, [_cells(row, columns) for row in rows], align=False)
    head = f'Budget of a run: {budget}. {machine}. {date}.\n\n    {command}\n\n{LEGEND}\n'
    failures = [
        f'\n{row["recording"]} / {row["variant"]} failed: {sentence}'
        for row in rows
        for sentence in row['failed']
    ]
    return '\n'.join([head, table, *failures]) + '\n'


def _cells(row: Row, columns: Mapping[str, tuple[str, str]]) -> list[str]:
    cells = [_cell(row, name, style) for name, (_, style) in columns.items()]
    name = f'mean of {row["recordings"]}' if row['recording'] == ALL else row['recording']
    least = row['least_explained']
    cells.insert(1, '-' if least is None else format(least, '.3f'))
    count = f'{row["runs"]}' if row['runs'] == row['asked'] else f'{row["runs"]} of {row["asked"]}'
    return [name, row['variant'], *cells, count]


def _cell(row: Row, name: str, style: str) -> str:
    values = row['measures'].get(name)
    if values is None:
        return '-'
    text = format(values['mean'], style)
    if len(values['values']) > 1:
        text += f' ({format(values["spread"], style)})'
    if values['missing'] and name.startswith(TARGET):
        text += f', {values["missing"]} never'
    return text


def _is(values: Record, recording: str, variant: str) -> bool:
    return bool((values['recording'], values['variant']) == (recording, variant))


def _unique(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _mean(values: Iterable[Any]) -> float:
    known = [value for value in values if _finite(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
