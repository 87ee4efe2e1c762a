"""The tables of an evaluation, the same in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keypoint_perception.evaluation.tables import number, ReportTable

Report = dict[str, Any]
LABEL_TITLE = 'Other measures with labels'


def evaluation_tables(report: Report) -> Iterator[ReportTable]:
    """Yield the tables of a report; those that need labels only where it has them."""
    if 'points' in report:
        yield point_table(report)
        yield tracking_table(report['tracking'])
        yield label_table(report)
        if report['backward']:
            yield backward_table(report['backward'])
        if report.get('landmarks'):
            yield landmark_table(report['landmarks'])
    yield label_free_table(report['label_free'])


def _cells(values: Report, **formats: str) -> tuple[str, ...]:
    """Return the figures of these names, formatted."""
    return tuple(number(values[name], style) for name, style in formats.items())


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
        'first 70 % of the labelled frames and scored on the rest; if frames were withheld from '
        'the model, fitted on the others and scored on these. Errors in % of the image '
        'diagonal; trivial: the error of always predicting the mean label; explained: 1 - error / '
        'trivial; <5 %: share of frames with a smaller error; IDSW: identity switches; '
        'frames: fitted + scored.',
    )


def _point_row(name: str, point: Report, switches: int) -> tuple[str, ...]:
    return (
        name,
        *_cells(point, regressed_error_percent='.2f', trivial_error_percent='.2f'),
        number(point['explained'], '.3f'),
        *(number(share, '.0%') for share in point['pck'].values()),
        str(switches),
        f'{point["fitted_frames"]}+{point["scored_frames"]}',
    )


def tracking_table(scores: list[Report]) -> ReportTable:
    """Return tracking: a row per clip length and threshold."""
    formats = {
        'clip_frames': 'd',
        'epsilon_percent': 'g',
        'precision': '.2f',
        'precision_bound': '.2f',
        'share_of_bound': '.2f',
        'recall': '.2f',
        'recall_after_regression': '.2f',
    }
    return ReportTable(
        'Tracking',
        ('frames', 'within, %', 'precision', 'bound', 'of bound', 'recall', 'after regression'),
        [_cells(score, **formats) for score in scores],
        explanation='A match is a keypoint that stays within a distance, in % of the image '
        'diagonal, of its labelled point in every frame of a clip. Each labelled point matches '
        'one keypoint at most, which bounds precision by the mean over clips of min(K, labelled '
        'points that move and are labelled throughout) / K; of bound: precision / bound. After '
        'regression: recall of the points that the regression predicts, in frames that it was '
        'not fitted on.',
    )


def label_table(report: Report) -> ReportTable:
    """Return the other measures of a recording that need labels."""
    identity = report['identity']
    switches, per_1000, matched = _cells(
        identity, switches='d', switches_per_1000='.1f', matched_share='.0%'
    )
    rows = [
        ('identity switches', switches),
        ('identity switches per 1000 matched labels', per_1000),
        (f'labels matched within {identity["epsilon_percent"]:g} %', matched),
    ]
    if backward := report['backward']:
        error, explained = _cells(backward, error_percent='.2f', explained='.3f')
        rows.append(('backward error (labels to keypoints), %', error))
        rows.append(('backward explained', explained))
    rows.append(
        (
            'share on the background and off labelled points',
            number(report['plain_background_share'], '.0%'),
        )
    )
    if reliability := report['reliability']:
        calibration, rank = _cells(reliability, calibration_error='.2f', rank_correlation='.2f')
        rows.append(('confidence: calibration error', calibration))
        rows.append(('confidence: rank correlation with error', rank))
    return ReportTable(LABEL_TITLE, ('measure', 'value'), rows)


def backward_table(score: Report) -> ReportTable:
    """Return how well the labels predict each keypoint."""
    formats = {'error_percent': '.2f', 'explained': '.3f'}
    return ReportTable(
        'Keypoints predicted from labels',
        ('keypoint', 'error', 'explained'),
        [(p['name'] + _static(p), *_cells(p, **formats)) for p in score['keypoints']],
        ('mean (moving)', *_cells(score, **formats)),
        'The regression in the other direction: a low value means that the keypoint follows '
        'nothing that is labelled, or jumps. Errors in % of the image diagonal.',
    )


def landmark_table(score: Report) -> ReportTable:
    """Return how far a model's landmarks are from the labels of the same names."""
    formats = {'error_percent': '.2f', 'within': '.0%', 'frames': 'd'}
    return ReportTable(
        'Landmarks',
        ('landmark', 'error', 'within 5 %', 'frames'),
        [(p['name'], *_cells(p, **formats)) for p in score['points']],
        explanation='On labelled frames that the landmarks were not fitted on. Errors in % of '
        'the image diagonal.',
    )


def landmark_fit_table(report: Report) -> ReportTable:
    """Return the cross-validation of each landmark after the fit."""
    formats = {'frames': 'd', 'error_percent': '.2f', 'trivial_percent': '.2f'}
    formats |= {'explained': '.3f', 'within': '.0%'}
    return ReportTable(
        'Landmarks, cross-validated',
        ('landmark', 'frames', 'error', 'trivial', 'explained', 'within 5 %'),
        [(p['name'], *_cells(p, **formats)) for p in report['points']],
        explanation='Errors in % of the image diagonal.',
    )


def label_free_table(measures: Report) -> ReportTable:
    """Return the measures that need no labels."""
    pairs = ', '.join(' = '.join(pair) for pair in measures['duplicate_pairs'])
    jitter = f'jitter over {measures["still_pairs"]} pairs of still frames, %'
    rows = [
        ('equivariance error, %', number(measures['equivariance_error_percent'], '.2f')),
        ('background error, %', number(measures['background_error_percent'], '.2f')),
        ('illumination error, %', number(measures['light_error_percent'], '.2f')),
        (jitter, number(measures['still_jitter_percent'], '.3f')),
        ('duplicate keypoints', pairs or 'none'),
        ('dead keypoints', ', '.join(measures['dead_keypoints']) or 'none'),
        ('static keypoints', ', '.join(measures['static_keypoints']) or 'none'),
        ('background keypoints', ', '.join(measures['background_keypoints']) or 'none'),
        ('share on the background', number(measures['background_share'], '.0%')),
        ('camera moves, share of the frames', number(measures['camera_moving_share'], '.0%')),
        ('picture displaced within a clip, %', number(measures['camera_range_percent'], '.1f')),
        ('share static, dead or duplicate', number(measures['wasted_share'], '.0%')),
        ('share on parts that never move', number(measures['static_share'], '.0%')),
    ]
    return ReportTable(
        'Measures without labels',
        ('measure', 'value'),
        rows,
        explanation='Errors in % of the image diagonal: equivariance, under known warps; '
        "background, in front of another episode's background; illumination, under other "
        'exposures and white balances. Background keypoints lie in most frames on what does not '
        'move in the world: neither within its clip, nor from clip to clip where the camera is '
        'at the same place; frames of a moving camera are registered first.',
    )


def _static(point: Report) -> str:
    return '' if point['moves'] else ' (static)'
