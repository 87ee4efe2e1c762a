"""The table of a learning benchmark, against values computed by hand."""

from keypoint_perception.benchmarks.learning.benchmark_run import DONE, FAILED
from keypoint_perception.benchmarks.learning.learning_table import learning_table, summarise
import pytest


def record(recording, variant, seed, explained, *, objective='default', **figures):
    asked = {'recording': recording, 'variant': variant, 'seed': seed}
    asked['settings'] = {'objective': objective}
    figures = {'explained': explained, 'steps': 10, 'tracking_recall': None} | figures
    return {'state': DONE, 'asked': asked, 'figures': figures}


def failed(recording, variant, seed, sentence):
    asked = {'recording': recording, 'variant': variant, 'seed': seed, 'settings': {}}
    return {'state': FAILED, 'asked': asked, 'sentence': sentence}


def row(rows, recording, variant):
    (found,) = [r for r in rows if (r['recording'], r['variant']) == (recording, variant)]
    return found


def mean(rows, recording, variant, name='explained'):
    return row(rows, recording, variant)['measures'][name]['mean']


RECORDS = [
    record('arm', 'ours', 0, 0.6),
    record('arm', 'ours', 1, 0.8),
    record('pong', 'ours', 0, 0.5),
    record('pong', 'ours', 1, 0.4),
    record('arm', 'labels', 0, 0.9, objective='supervised'),
    record('arm', 'labels', 1, 0.7, objective='supervised'),
]


def test_mean_and_spread_over_seeds():
    figures = row(summarise(RECORDS), 'arm', 'ours')['measures']['explained']
    assert figures['mean'] == pytest.approx(0.7)
    assert figures['spread'] == pytest.approx(0.2)
    assert figures['standard_deviation'] == pytest.approx(0.2 / 2**0.5)
    assert figures['values'] == [0.6, 0.8]


def test_over_recordings_a_seed_is_averaged_first():
    over = row(summarise(RECORDS), 'all', 'ours')
    figures = over['measures']['explained']
    assert figures['values'] == pytest.approx([0.55, 0.6])
    assert figures['spread'] == pytest.approx(0.05)
    assert over['least_explained'] == 0.4
    assert row(summarise(RECORDS), 'arm', 'ours')['least_explained'] == 0.6
    # the labels' runs are not done on all recordings
    assert row(summarise(RECORDS), 'all', 'labels')['runs'] == 0


def test_shares_of_the_ceiling():
    rows = summarise(RECORDS)
    assert mean(rows, 'arm', 'ours', 'ceiling_share') == pytest.approx(0.7 / 0.8)
    assert mean(rows, 'arm', 'labels', 'ceiling_share') == pytest.approx(1.0)
    assert 'ceiling_share' not in row(rows, 'pong', 'ours')['measures']


def test_a_failed_run_is_reported_and_not_counted():
    rows = summarise([*RECORDS, failed('arm', 'ours', 2, 'Nothing moves.')])
    ours = row(rows, 'arm', 'ours')
    assert (ours['runs'], ours['asked'], ours['failed']) == (2, 3, ['seed 2: Nothing moves.'])
    text = learning_table(rows, budget='3 steps', machine='M', date='D', command='C')
    assert 'arm / ours failed: seed 2: Nothing moves.' in text
    assert '| arm | ours | 0.700 (0.200) | 0.600 | 0.88 (0.25) | 10 (0) | 2 of 3 |' in text


def test_a_target_that_was_never_reached():
    records = [
        record('arm', 'ours', 0, 0.6, seconds_to={'0.5': 40.0}),
        record('arm', 'ours', 1, 0.4, seconds_to={'0.5': None}),
    ]
    text = learning_table(summarise(records), budget='', machine='', date='', command='')
    assert '| recording | variant | explained | least | steps | s to 0.5 | runs |' in text
    assert '| arm | ours | 0.500 (0.200) | 0.400 | 10 (0) | 40, 1 never | 2 |' in text


def test_measures_of_tracking_and_of_the_background():
    figures = {
        'tracking_precision': 0.3, 'tracking_precision_bound': 0.4,
        'tracking_share_of_bound': 0.75, 'tracking_recall': 0.6,
        'tracking_recall_after_regression': 0.9, 'background_share': 0.2,
        'plain_background_share': 0.1, 'wasted_share': 0.0, 'background_error_percent': 2.34,
        'keypoints': 10,
    }  # fmt: skip
    rows = summarise([record('arm', 'ours', 0, 0.5, regressed_error_percent=3.21, **figures)])
    text = learning_table(rows, budget='', machine='', date='', command='')
    titles = 'explained | least | error, % | precision | bound | of bound | recall | '
    titles += 'after regression | on background | off labels | uninformative | '
    assert f'| {titles}background error, % | keypoints | steps | runs |' in text
    cells = '0.500 | 0.500 | 3.21 | 0.30 | 0.40 | 0.75 | 0.60 | 0.90 | 0.20 | 0.10 | 0.00 | 2.3'
    assert f'| arm | ours | {cells} | 10.0 | 10 | 1 |' in text


def test_a_measure_without_values_has_no_column():
    text = learning_table(summarise(RECORDS), budget='', machine='', date='', command='')
    assert 'recall' not in text.splitlines()[6]
