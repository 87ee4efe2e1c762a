"""What was measured, as JSON and as a table."""

import html
import io
import json
import re

from keypoint_perception.evaluation.regression import score_regression
from keypoint_perception.evaluation.report import describe_machine, now, write_json
from keypoint_perception.evaluation.report_tables import (
    label_free_table,
    label_table,
    point_table,
    tracking_table,
)
from keypoint_perception.evaluation.scores import describe_regression, describe_tracking
from keypoint_perception.evaluation.tracking import TrackingScore
import numpy as np
import pytest
from rich.console import Console

NAN = float('nan')


def figures():
    generator = np.random.default_rng(0)
    keypoints = generator.uniform(0, 100, (50, 3, 2))
    labels = np.stack([np.full((50, 2), 7.0), keypoints[:, 0]], axis=1)
    score = score_regression(
        np.arange(50) * 10**8, keypoints, labels, names=('base', 'hand'), diagonal_px=100.0
    )
    return describe_regression(score)


def printed(table):
    """Return a table as the terminal shows it, which has the cells of its HTML."""
    console = Console(width=120, file=io.StringIO())
    console.print(table.terminal())
    text = console.file.getvalue()
    cells = {html.unescape(c) for c in re.findall(r'<t[dh][^>]*>([^<]+)</t', table.html())}
    assert cells == {c for row in (table.header, *table.rows, table.summary) for c in row}
    assert all(cell in text for cell in cells)
    return text


def test_json_is_strict_and_nan_is_null(tmp_path):
    path = tmp_path / 'new' / 'report.json'
    write_json(path, {'a': NAN, 'b': [1.5, {'c': float('inf')}], 'd': 'NaN'})
    assert json.loads(path.read_text()) == {'a': None, 'b': [1.5, {'c': None}], 'd': 'NaN'}
    assert [p.name for p in path.parent.iterdir()] == ['report.json']


def test_regression_names_every_figure():
    values = figures()
    base, hand = values['points']
    assert (base['name'], base['moves']) == ('base', False)
    assert hand['moves']
    assert values['explained'] == hand['explained'] > 0.999
    assert values['regressed_error_percent'] == hand['regressed_error_percent']
    assert values['labelled_frames'] == 50
    assert (values['fitted_frames'], values['scored_frames']) == (35, 15)


def test_table_sets_apart_what_does_not_move():
    values = figures()
    values['identity'] = {'switches': 3, 'points': []}
    values['identity']['points'] = [
        {'name': n, 'switches': 3 * (n == 'hand')} for n in ('base', 'hand')
    ]
    lines = printed(point_table(values)).splitlines()
    hand, base, mean = (
        next(i for i, line in enumerate(lines) if word in line)
        for word in (' hand ', 'base (static)', 'mean (moving)')
    )
    assert hand < base < mean
    assert '35+15' in lines[mean]


def test_label_free_table():
    text = printed(
        label_free_table(
            {
                'equivariance_error_percent': 1.234,
                'background_error_percent': 5.678,
                'light_error_percent': 9.012,
                'duplicate_pairs': [['kp0', 'kp3']],
                'dead_keypoints': [],
                'static_keypoints': ['kp7'],
                'background_keypoints': ['kp2', 'kp8'],
                'background_share': 0.21,
                'camera_moving_share': 0.35,
                'camera_range_percent': 12.3,
                'wasted_share': 0.4,
                'static_share': 0.25,
                'still_jitter_percent': NAN,
                'still_pairs': 0,
            }
        )
    )
    for part in (
        '1.23',
        '5.68',
        '9.01',
        'kp0 = kp3',
        'none',
        '25%',
        'kp7',
        'kp2, kp8',
        '21%',
        '35%',
        '12.3',
        '40%',
        'jitter over 0 pairs of still frames',
    ):
        assert part in text


def test_label_table():
    values = {
        'backward': {'error_percent': 2.345, 'explained': 0.678},
        'identity': {
            'epsilon_percent': 5.0,
            'switches': 12,
            'switches_per_1000': 3.21,
            'matched_share': 0.5,
        },
        'reliability': {'calibration_error': 0.34, 'rank_correlation': -0.56},
        'plain_background_share': 0.17,
    }
    text = printed(label_table(values))
    for part in ('2.35', '0.678', '12', '3.2', '50%', '17%', '0.34', '-0.56'):
        assert part in text
    without = printed(label_table(values | {'backward': None, 'reliability': None}))
    assert 'backward' not in without
    assert 'identity switches' in without


def test_tracking_table():
    scores = [
        TrackingScore(
            length, epsilon, epsilon / 10, NAN, 3, 0.4, 0.7, np.array([0.5]), np.array([NAN])
        )
        for length in (10, 50)
        for epsilon in (2.0, 5.0)
    ]
    after = {(10, 2.0): 0.91, (10, 5.0): 0.92, (50, 2.0): 0.93, (50, 5.0): NAN}
    values = describe_tracking(scores, after, ('kp0',), ('hand',))
    assert values[0] == {
        'clip_frames': 10,
        'epsilon_percent': 2.0,
        'precision': 0.2,
        'recall': values[0]['recall'],
        'clips': 3,
        'precision_bound': 0.4,
        'share_of_bound': 0.7,
        'recall_after_regression': 0.91,
        'precision_by_keypoint': {'kp0': 0.5},
        'recall_by_label': {'hand': pytest.approx(NAN, nan_ok=True)},
    }
    rows = [tuple(row) for row in tracking_table(values).rows]
    assert rows[0] == ('10', '2', '0.20', '0.40', '0.70', '-', '0.91')
    assert rows[-1] == ('50', '5', '0.50', '0.40', '0.70', '-', '-')
    assert 'after regression' in printed(tracking_table(values))


def test_machine_and_date_are_said():
    machine = describe_machine()
    assert machine['processor']
    assert machine['cores'] >= 1
    assert now().endswith('+00:00')
