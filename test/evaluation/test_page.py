"""The parts of a page."""

from keypoint_perception.evaluation.charts import (
    ChartArea,
    loss_chart,
    reliability_charts,
    thin,
    track_charts,
)
from keypoint_perception.evaluation.page import flat, page, section
from keypoint_perception.evaluation.tables import html_table, markdown_table, number
import numpy as np

NAN = float('nan')


def test_what_users_wrote_is_not_taken_for_html():
    assert '<bag>' not in html_table(('<bag>',), [['<bag>']])
    assert '&lt;bag&gt;' in section('<bag>', 'x', '<bag>')
    assert '<title>a &lt;b&gt;</title>' in page('a <b>', [])


def test_a_section_without_a_body_is_not_there():
    assert section('Reconstruction', '') == ''


def test_numbers():
    assert [number(v) for v in (None, NAN, float('inf'), 1.23456)] == ['-', '-', '-', '1.23']
    assert flat({'a': {'b': 1, 'c': {'d': 2}}, 'e': 3}) == [('a.b', 1), ('a.c.d', 2), ('e', 3)]


def test_markdown_columns_line_up():
    rows = [[1.0, None], ['a|b', 7]]
    assert markdown_table(['x', 'long'], rows).splitlines() == [
        '| x    | long |',
        '| ---- | ---- |',
        '| 1.00 | -    |',
        '| a/b  | 7    |',
    ]
    assert markdown_table(['x', 'long'], rows, align=False).splitlines() == [
        '| x | long |',
        '| --- | --- |',
        '| 1.00 | - |',
        '| a/b | 7 |',
    ]


def test_lines_point_up_and_break_where_nothing_is():
    frame = ChartArea((0, 10), (0, 1), size=(164, 136))
    # 52 + 12 px beside and 10 + 26 px above and below: 100 x 100 px are drawn in
    assert frame.path([0, 5, 10], [0, 0.5, 1]) == 'M52.0 110.0L102.0 60.0L152.0 10.0'
    assert frame.path([0, 5, 10], [0, NAN, 1]) == 'M52.0 110.0M152.0 10.0'


def test_loss_chart_is_logarithmic():
    chart = loss_chart([0, 1, 2], [100, 10, 1])
    # equal steps down: 10 to 194 px over three powers
    assert 'd="M52.0 10.0L380.0 102.0L708.0 194.0"' in chart
    assert '>1e+02<' in chart
    assert loss_chart([0], [1]) == loss_chart([], []) == ''


def test_tracks_do_not_cross_a_pause():
    seconds = np.array([0.0, 1.0, 50.0, 51.0, 52.0])
    positions = np.full((5, 1, 2), 50.0)
    charts = track_charts(seconds, positions, ('kp0',), np.array([0, 0, 1, 1, 1]))
    assert charts.count('class="track"') == 2
    first = charts.split('class="track"')[1].split('d="')[1].split('"')[0]
    assert (first.count('M'), first.count('L')) == (2, 2)


def test_reliability_has_error_and_hits():
    bins = [
        {'confidence': 0.2, 'error_percent': 9.0, 'within': 0.1, 'count': 5},
        {'confidence': 0.9, 'error_percent': 1.0, 'within': 0.95, 'count': 20},
    ]
    charts = reliability_charts(bins)
    assert charts.count('<circle') == 4
    assert charts.count('class="ideal"') == 1
    assert reliability_charts([]) == ''


def test_thinning_keeps_both_ends():
    thinned = thin(np.arange(10_000))
    assert (len(thinned), thinned[0], thinned[-1]) == (360, 0, 9999)
    assert list(thin(np.arange(3))) == [0, 1, 2]
