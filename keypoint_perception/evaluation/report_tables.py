"""The tables of an evaluation, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keypoint_perception.evaluation.tables import number, ReportTable

Report = dict[str, Any]


def evaluation_tables(report: Report) -> Iterator[ReportTable]:
    """Yield the tables of a whole report; those that need labels only where it has them."""
    if 'points' in report:
        yield point_table(report)
        yield tracking_table(report['tracking'])
        yield label_table(report)
        if report.get('landmarks'):
            yield landmark_table(report['landmarks'])
    yield label_free_table(report['label_free'])


def point_table(report: Report) -> ReportTable:
    """Return the regression of each labelled point, moving points first, and the means."""
    points = sorted(report['points'], key=lambda point: not point['moves'])
    switches = {p['name']: p['switches'] for p in report['identity']['points']}
    limits = tuple(f'<{limit} %' for limit in report['pck'])
    return ReportTable(
        'Labelled points',
        ('point', 'error', 'trivial', 'explained', *limits, 'IDSW', 'frames'),
        [_point_row(p['name'] + _static(p), p, switches[p['name']]) for p in points],
        _point_row('mean (moving)', report, report['identity']['switches']),
        'Each labelled point predicted from the keypoints by ridge regression, fitted on the '
        'first 70 % of the labelled frames and scored on the rest. Errors in % of the image '
        'diagonal; trivial: the error of always predicting the mean label; explained: 1 - error / '
        'trivial; <5 %: share of frames with a smaller error; IDSW: identity switches; '
        'frames: fitted + scored.',
    )


def _point_row(name: str, point: Report, switches: int) -> tuple[str, ...]:
    return (
        name,
        number(point['regressed_error_percent'], '.2f'),
        number(point['trivial_error_percent'], '.2f'),
        number(point['explained'], '.3f'),
        *(number(share, '.0%') for share in point['pck'].values()),
        str(switches),
        f'{point["fitted_frames"]}+{point["scored_frames"]}',
    )


def tracking_table(scores: list[Report]) -> ReportTable:
    """Return tracking precision and recall: a row per clip length, a column per threshold."""
    limits = sorted({score['epsilon_percent'] for score in scores})
    rows: dict[int, list[str]] = {}
    for score in scores:
        cell = f'{number(score["precision"], ".2f")} / {number(score["recall"], ".2f")}'
        rows.setdefault(score['clip_frames'], []).append(cell)
    return ReportTable(
        'Tracking: precision / recall',
        ('clip, frames', *(f'within {limit:g} %' for limit in limits)),
        [(str(frames), *cells) for frames, cells in rows.items()],
        explanation='A match is a keypoint that stays within this distance, in % of the image '
        'diagonal, of its labelled point in every frame of a clip.',
    )


def label_table(report: Report) -> ReportTable:
    """Return the other measures of a recording that need labels."""
    identity = report['identity']
    rows = [
        ('identity switches', str(identity['switches'])),
        (
            'identity switches per 1000 matched labels',
            number(identity['switches_per_1000'], '.1f'),
        ),
        (
            f'labels matched within {identity["epsilon_percent"]:g} %',
            number(identity['matched_share'], '.0%'),
        ),
    ]
    if backward := report['backward']:
        rows += [
            ('backward error (labels to keypoints), %', number(backward['error_percent'], '.2f')),
            ('backward explained', number(backward['explained'], '.3f')),
        ]
    if reliability := report['reliability']:
        calibration, rank = reliability['calibration_error'], reliability['rank_correlation']
        rows += [
            ('confidence: calibration error', number(calibration, '.2f')),
            ('confidence: rank correlation with error', number(rank, '.2f')),
        ]
    return ReportTable('Other measures with labels', ('measure', 'value'), rows)


def backward_table(score: Report) -> ReportTable:
    """Return how well the labels predict each keypoint."""
    rows = [_backward_row(p['name'] + _static(p), p) for p in score['keypoints']]
    return ReportTable(
        'Keypoints predicted from labels',
        ('keypoint', 'error', 'explained'),
        rows,
        _backward_row('mean (moving)', score),
        'The regression in the other direction: a low value means that the keypoint follows '
        'nothing that is labelled, or jumps. Errors in % of the image diagonal.',
    )


def _backward_row(name: str, score: Report) -> tuple[str, ...]:
    return name, number(score['error_percent'], '.2f'), number(score['explained'], '.3f')


def landmark_table(score: Report) -> ReportTable:
    """Return how far a model's landmarks are from the labels of the same names."""
    rows = [
        (
            p['name'],
            number(p['error_percent'], '.2f'),
            number(p['within'], '.0%'),
            str(p['frames']),
        )
        for p in score['points']
    ]
    return ReportTable(
        'Landmarks',
        ('landmark', 'error', 'within 5 %', 'frames'),
        rows,
        explanation='On labelled frames that the landmarks were not fitted on. Errors in % of '
        'the image diagonal.',
    )


def landmark_fit_table(report: Report) -> ReportTable:
    """Return the cross-validation of each landmark after the fit."""
    rows = [
        (
            p['name'],
            str(p['frames']),
            number(p['error_percent'], '.2f'),
            number(p['trivial_percent'], '.2f'),
            number(p['explained'], '.3f'),
            number(p['within'], '.0%'),
        )
        for p in report['points']
    ]
    return ReportTable(
        'Landmarks, cross-validated',
        ('landmark', 'frames', 'error', 'trivial', 'explained', 'within 5 %'),
        rows,
        explanation='Errors in % of the image diagonal.',
    )


def label_free_table(measures: Report) -> ReportTable:
    """Return the measures that need no labels."""
    pairs = ', '.join(' = '.join(pair) for pair in measures['duplicate_pairs'])
    rows = [
        ('equivariance error, %', number(measures['equivariance_error_percent'], '.2f')),
        ('background error, %', number(measures['background_error_percent'], '.2f')),
        ('illumination error, %', number(measures['light_error_percent'], '.2f')),
        (
            f'jitter over {measures["still_pairs"]} pairs of still frames, %',
            number(measures['still_jitter_percent'], '.3f'),
        ),
        ('duplicate keypoints', pairs or 'none'),
        ('dead keypoints', ', '.join(measures['dead_keypoints']) or 'none'),
        ('static keypoints', ', '.join(measures['static_keypoints']) or 'none'),
        ('share static, dead or duplicate', number(measures['wasted_share'], '.0%')),
        ('share on parts that never move', number(measures['static_share'], '.0%')),
    ]
    return ReportTable(
        'Measures without labels',
        ('measure', 'value'),
        rows,
        explanation='Errors in % of the image diagonal: equivariance, under known warps; '
        "background, in front of another episode's background; illumination, under other "
        'exposures and white balances.',
    )


def _static(point: Report) -> str:
    return '' if point['moves'] else ' (static)'
