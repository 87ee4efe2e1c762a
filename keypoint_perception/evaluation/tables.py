"""What was measured, as tables in the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def point_table(report: dict) -> Table:
    """Return the labelled points and their means; points that do not move stand apart."""
    from rich.table import Table

    table = Table(title='labelled points: regressed and trivial error, % of the image diagonal')
    table.add_column('point')
    for title in ('error', 'trivial', 'explained', 'within 5 %', 'frames'):
        table.add_column(title, justify='right')
    points = sorted(report['points'], key=lambda point: not point['moves'])
    for index, point in enumerate(points):
        last_moving = point['moves'] and (
            index + 1 == len(points) or not points[index + 1]['moves']
        )
        table.add_row(
            point['name'] + ('' if point['moves'] else ' (does not move)'),
            *_figures(point),
            f'{point["fitted_frames"]} + {point["scored_frames"]}',
            end_section=last_moving,
        )
    table.add_section()
    frames = f'{report["fitted_frames"]} + {report["scored_frames"]}'
    table.add_row('mean of those that move', *_figures(report), frames, style='bold')
    return table


def tracking_table(scores: list[dict]) -> Table:
    """Return tracking precision and recall, a row a clip length, a column a threshold."""
    from rich.table import Table

    table = Table(title='tracking, precision / recall (% of the image diagonal)')
    table.add_column('clip, frames', justify='right')
    rows: dict[int, dict[float, str]] = {}
    for score in scores:
        shares = (_figure(score[name], '.2f') for name in ('precision', 'recall'))
        rows.setdefault(score['clip_frames'], {})[score['epsilon_percent']] = ' / '.join(shares)
    for epsilon in next(iter(rows.values()), {}):
        table.add_column(f'within {epsilon:g} %', justify='right')
    for frames, cells in rows.items():
        table.add_row(str(frames), *cells.values())
    return table


def landmark_table(report: dict) -> Table:
    """Return how well left-out frames tell each named point."""
    from rich.table import Table

    title = 'named points in frames that they were not fitted on, % of the image diagonal'
    table = Table(title=title)
    table.add_column('point')
    for name in ('frames', 'error', 'trivial', 'explained', 'within 5 %'):
        table.add_column(name, justify='right')
    for point in report['points']:
        explained = point['explained']
        table.add_row(
            point['name'],
            str(point['frames']),
            f'{point["error_percent"]:.2f}',
            f'{point["trivial_percent"]:.2f}',
            '-' if explained is None else f'{explained:.3f}',
            f'{point["within"]:.0%}',
        )
    return table


def label_table(report: dict) -> Table:
    """Return the other measures of a whole recording that need labels."""
    from rich.table import Table

    table = Table(title='other measures with labels')
    table.add_column('measure')
    table.add_column('value', justify='right')
    if back := report['backward']:
        error, explained = back['error_percent'], back['explained']
        table.add_row('backward error (labels to keypoints), %', _figure(error, '.2f'))
        table.add_row('backward explained', _figure(explained, '.3f'))
    identity = report['identity']
    table.add_row('identity switches', str(identity['switches']))
    table.add_row('  for 1000 matched labels', _figure(identity['switches_per_1000'], '.1f'))
    table.add_row('labels matched within 5 %', _figure(identity['matched_share'], '.0%'))
    if reliability := report['reliability']:
        error, rank = (reliability[n] for n in ('calibration_error', 'rank_correlation'))
        table.add_row('confidence: calibration error', _figure(error, '.2f'))
        table.add_row('confidence: rank correlation with error', _figure(rank, '.2f'))
    return table


def label_free_table(measures: dict) -> Table:
    """Return the measures that need no labels."""
    from rich.table import Table

    table = Table(title='without labels')
    table.add_column('measure')
    table.add_column('value', justify='right')
    pairs = ', '.join(f'{i}={j}' for i, j in measures['duplicate_pairs'])
    jitter = _figure(measures['still_jitter_percent'], '.3f')
    table.add_row(
        'equivariance error, % of the diagonal',
        _figure(measures['equivariance_error_percent'], '.2f'),
    )
    table.add_row(
        "on another episode's background, % of the diagonal",
        _figure(measures['background_error_percent'], '.2f'),
    )
    table.add_row(
        'in another light, % of the diagonal', _figure(measures['light_error_percent'], '.2f')
    )
    table.add_row('duplicate points', pairs or 'none')
    table.add_row('dead points', ', '.join(measures['dead_keypoints']) or 'none')
    table.add_row('static points', ', '.join(measures['static_keypoints']) or 'none')
    table.add_row('static, dead or duplicate', _figure(measures['wasted_share'], '.0%'))
    table.add_row('on parts that never move', _figure(measures['static_share'], '.0%'))
    table.add_row(f'jitter on {measures["still_pairs"]} still pairs, % of the diagonal', jitter)
    return table


def _figures(values: dict) -> tuple[str, str, str, str]:
    return (
        _figure(values['regressed_error_percent'], '.2f'),
        _figure(values['trivial_error_percent'], '.2f'),
        _figure(values['explained'], '.3f'),
        _figure(values['pck']['5'], '.0%'),
    )


def _figure(value: float, style: str) -> str:
    return format(value, style) if math.isfinite(value) else '-'
