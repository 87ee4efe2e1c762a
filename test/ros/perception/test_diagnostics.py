"""Diagnostics report the most useful reason first."""

from dataclasses import replace
import math

import pytest

pytest.importorskip('diagnostic_msgs', reason='diagnostic_msgs is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from keypoint_perception.ros.perception import node_statistics as statistics_module
from keypoint_perception.ros.perception.diagnostics import assess, NodeCondition, to_status
from keypoint_perception.ros.perception.node_statistics import (
    NodeStatistics,
    percentiles,
    StageTimes,
)

ACTIVE = NodeCondition(state='active', topic='/cam/image', publishers=1)


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until it is set."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(statistics_module, 'time', clock)
    return clock


def test_rates_are_of_the_sliding_window(clock):
    statistics = NodeStatistics()
    for _ in range(100):
        clock.now += 0.1
        statistics.count_received(921_648)
        statistics.count_published(StageTimes(latency=4.0, engine=2.0))
    snapshot = statistics.snapshot()
    assert snapshot.spread_ms['engine'] == (2, 2, 2)
    assert snapshot.input_hz == pytest.approx(10, abs=0.3)
    assert snapshot.output_hz == pytest.approx(10, abs=0.3)
    assert snapshot.counts['received'] == snapshot.counts['published'] == 100
    assert snapshot.spread_ms['latency'] == (4, 4, 4)
    clock.now += 100
    snapshot = statistics.snapshot()
    assert (snapshot.input_hz, snapshot.counts['received'], snapshot.silent_s) == (0, 100, 100)
    assert all(math.isnan(p) for p in snapshot.spread_ms['latency'])


def test_percentiles_ignore_nan():
    values = [float('nan'), *range(1, 101)]
    assert percentiles(values) == pytest.approx((50.5, 95.05, 99.01))


def test_degraded_images_are_counted_apart_from_rejected_ones(clock):
    statistics = NodeStatistics()
    statistics.count_published(StageTimes())
    assert statistics.count_problem('degraded', 'no depth', 'no depth for 3 s')
    assert not statistics.count_problem('degraded', 'no depth', 'no depth for 4 s')
    snapshot = statistics.snapshot()
    assert (snapshot.rejected.counts, snapshot.degraded.counts) == ({}, {'no depth': 2})
    assert assess(ACTIVE, snapshot) == (DiagnosticStatus.WARN, 'no depth for 4 s')
    values = {pair.key: pair.value for pair in to_status('/node', ACTIVE, snapshot).values}
    assert (values['notes: no depth'], values['last note']) == ('2', 'no depth for 4 s')
    statistics.count_problem('rejected', 'step', 'a step')
    assert assess(ACTIVE, statistics.snapshot())[1] == '1 bad images in the last seconds; a step'
    clock.now += 100
    statistics.count_published(StageTimes())
    assert assess(ACTIVE, statistics.snapshot())[0] == DiagnosticStatus.OK


def test_a_clock_jump_discards_ages_only(clock):
    statistics = NodeStatistics()
    statistics.count_received(1, age_ms=9.0)
    statistics.count_published(StageTimes(latency=4.0, engine=2.0))
    statistics.count_clock_jump()
    snapshot = statistics.snapshot()
    assert snapshot.counts['clock_jumps'] == 1
    assert math.isnan(snapshot.spread_ms['age'][0])
    assert math.isnan(snapshot.spread_ms['latency'][0])
    assert snapshot.spread_ms['engine'] == (2, 2, 2)
    assert snapshot.output_hz == 1


def test_messages_that_differ_in_numbers_are_new_once():
    statistics = NodeStatistics()
    assert statistics.count_problem('rejected', 'step', 'a step of 5 bytes')
    assert not statistics.count_problem('rejected', 'step', 'a step of 6 bytes')
    assert statistics.count_problem('rejected', 'step', 'an image holds 6 bytes')
    snapshot = statistics.snapshot()
    assert snapshot.rejected.counts == {'step': 3}
    assert snapshot.rejected.last == 'an image holds 6 bytes'


def test_a_stream_of_new_messages_does_not_fill_the_log():
    statistics = NodeStatistics()
    new = [
        statistics.count_problem('rejected', 'encoding', f'encoding {"x" * i!r}')
        for i in range(500)
    ]
    assert sum(new) == 64
    assert statistics.snapshot().rejected.counts == {'encoding': 500}


def test_a_load_error_comes_first(clock):
    condition = NodeCondition(state='unconfigured', load_error='model not loaded: x')
    assert assess(condition, NodeStatistics().snapshot()) == (
        DiagnosticStatus.ERROR,
        'model not loaded: x',
    )


def test_waiting_for_a_lifecycle_manager_is_ok(clock):
    level, sentence = assess(NodeCondition(state='inactive'), NodeStatistics().snapshot())
    assert level == DiagnosticStatus.OK
    assert sentence == 'inactive: waiting for a lifecycle manager'


def test_no_subscriber_is_ok(clock):
    statistics = NodeStatistics()
    clock.now += 100
    idle = NodeCondition(state='active', idle_topics='/node/keypoints')
    assert assess(idle, statistics.snapshot()) == (
        DiagnosticStatus.OK,
        'idle: no subscriber to /node/keypoints',
    )


def test_the_first_seconds_are_ok(clock):
    statistics = NodeStatistics()
    clock.now += 1
    assert assess(ACTIVE, statistics.snapshot())[0] == DiagnosticStatus.OK


def silent(clock, statistics):
    clock.now += 3
    return assess(ACTIVE, statistics.snapshot())


def test_silence_due_to_rejected_images(clock):
    statistics = NodeStatistics()
    statistics.count_problem('rejected', 'encoding', "Encoding 'x' is not supported.")
    level, sentence = silent(clock, statistics)
    assert level == DiagnosticStatus.ERROR
    assert sentence == "nothing published: Encoding 'x' is not supported."


def test_silence_due_to_a_busy_engine(clock):
    statistics = NodeStatistics()
    statistics.count_received(921_648)
    clock.now += 3
    busy = replace(ACTIVE, busy_s=2.6)
    assert assess(busy, statistics.snapshot())[1] == (
        'nothing published: the engine has been busy for 3 s.'
    )


def test_an_idle_engine_is_not_blamed(clock):
    statistics = NodeStatistics()
    statistics.count_received(921_648)
    assert 'but no image for 3 s' in silent(clock, statistics)[1]


def test_an_engine_fault_comes_before_silence(clock):
    clock.now += 100
    broken = replace(ACTIVE, fault='the engine hangs.', idle_topics='/x')
    assert assess(broken, NodeStatistics().snapshot()) == (
        DiagnosticStatus.ERROR,
        'the engine hangs.',
    )


def test_disabled_cameras_are_ok(clock):
    clock.now += 100
    resting = replace(ACTIVE, disabled=True, idle_topics='/x')
    assert assess(resting, NodeStatistics().snapshot()) == (
        DiagnosticStatus.OK,
        'disabled by ~/enable',
    )


def test_silence_without_images(clock):
    _, sentence = silent(clock, NodeStatistics())
    assert '1 publisher(s) on /cam/image, but no image for 3 s' in sentence
    assert 'fastdds_large_images.xml' in sentence


@pytest.mark.parametrize('own', [None, '/my/profile.xml'])
def test_losses_are_explained(clock, monkeypatch, own):
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        monkeypatch.delenv(name, raising=False)
    if own:
        monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', own)
    statistics = NodeStatistics()
    for _ in range(20):
        statistics.count_received(921_648)
        statistics.count_published(StageTimes())
    statistics.count_lost(2)
    assert assess(ACTIVE, statistics.snapshot())[0] == DiagnosticStatus.OK
    statistics.count_lost(58)
    level, sentence = assess(ACTIVE, statistics.snapshot())
    assert level == DiagnosticStatus.WARN
    assert sentence.startswith('75% of the images on /cam/image are lost in transit')
    if own:
        assert 'start the publisher (this node has it already) with' in sentence
        assert 'FASTRTPS_DEFAULT_PROFILES_FILE=/my/profile.xml' in sentence
    else:
        assert 'start the publisher and this node with' in sentence
        assert sentence.endswith('config/fastdds_large_images.xml.')


def test_losses_of_small_images_are_not_blamed_on_shared_memory(clock):
    statistics = NodeStatistics()
    statistics.count_received(30_000)
    statistics.count_published(StageTimes())
    statistics.count_lost(1)
    _, sentence = assess(ACTIVE, statistics.snapshot())
    assert sentence.startswith('50% of the images on /cam/image are lost in transit: check the n')
    assert 'Fast DDS' not in sentence


def test_status_has_level_message_and_values(clock):
    statistics = NodeStatistics()
    statistics.count_problem('rejected', 'no pixels', 'An image has no pixels.')
    statistics.count_dropped()
    status = to_status('/arm/node', ACTIVE, statistics.snapshot())
    values = {pair.key: pair.value for pair in status.values}
    assert status.name == '/arm/node: keypoints'
    assert status.level == DiagnosticStatus.WARN
    assert values['bad images: no pixels'] == '1'
    assert values['dropped for a newer image'] == '1'
    assert values['state'] == 'active'


def test_status_of_one_of_several_cameras_has_its_name():
    condition = NodeCondition(state='active', camera='left')
    status = to_status('/arm/node', condition, NodeStatistics().snapshot())
    assert status.name == '/arm/node: left keypoints'
