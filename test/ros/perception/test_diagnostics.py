"""Diagnostics say the reason, most useful first."""

from dataclasses import replace
import math

import pytest

pytest.importorskip('diagnostic_msgs', reason='diagnostic_msgs is not installed')

from diagnostic_msgs.msg import DiagnosticStatus
from keypoint_perception.ros.perception import node_statistics as health_module
from keypoint_perception.ros.perception.diagnostics import Circumstances, judge, to_status
from keypoint_perception.ros.perception.node_statistics import NodeStatistics, percentiles, Times

ACTIVE = Circumstances(state='active', topic='/cam/image', publishers=1)


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until it is set."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(health_module, 'time', clock)
    return clock


def test_rates_speak_of_the_last_seconds(clock):
    health = NodeStatistics()
    for _ in range(100):
        clock.now += 0.1
        health.received(921_648)
        health.published(Times(latency=4.0, engine=2.0))
    counts = health.snapshot()
    assert counts.spread_ms['engine'] == (2, 2, 2)
    assert counts.input_hz == pytest.approx(10, abs=0.3)
    assert counts.output_hz == pytest.approx(10, abs=0.3)
    assert counts.received == counts.published == 100
    assert counts.spread_ms['latency'] == (4, 4, 4)
    clock.now += 100
    counts = health.snapshot()
    assert (counts.input_hz, counts.received, counts.silent_s) == (0, 100, 100)
    assert all(math.isnan(p) for p in counts.spread_ms['latency'])


def test_percentiles_leave_out_what_is_unknown():
    values = [float('nan'), *range(1, 101)]
    assert percentiles(values) == pytest.approx((50.5, 95.05, 99.01))


def test_notes_are_counted_beside_bad_images(clock):
    health = NodeStatistics()
    health.published(Times())
    assert health.noted('no depth', 'no depth for 3 s')
    assert not health.noted('no depth', 'no depth for 4 s')
    counts = health.snapshot()
    assert (counts.bad, counts.notes) == ({}, {'no depth': 2})
    assert judge(ACTIVE, counts) == (DiagnosticStatus.WARN, 'no depth for 4 s')
    values = {pair.key: pair.value for pair in to_status('/node', ACTIVE, counts).values}
    assert (values['notes: no depth'], values['last note']) == ('2', 'no depth for 4 s')
    health.refused('step', 'a step')
    assert judge(ACTIVE, health.snapshot())[1] == '1 bad images in the last seconds; a step'
    clock.now += 100
    health.published(Times())
    assert judge(ACTIVE, health.snapshot())[0] == DiagnosticStatus.OK


def test_a_jump_back_forgets_ages_and_no_more(clock):
    health = NodeStatistics()
    health.received(1, age_ms=9.0)
    health.published(Times(latency=4.0, engine=2.0))
    health.jumped_back()
    counts = health.snapshot()
    assert counts.jumps == 1
    assert math.isnan(counts.spread_ms['age'][0])
    assert math.isnan(counts.spread_ms['latency'][0])
    assert counts.spread_ms['engine'] == (2, 2, 2)
    assert counts.output_hz == 1


def test_each_kind_of_complaint_is_new_once():
    health = NodeStatistics()
    assert health.refused('step', 'a step of 5 bytes')
    assert not health.refused('step', 'a step of 6 bytes')
    assert health.refused('step', 'an image holds 6 bytes')
    counts = health.snapshot()
    assert counts.bad == {'step': 3}
    assert counts.last_bad == 'an image holds 6 bytes'


def test_ever_new_complaints_do_not_fill_the_log():
    health = NodeStatistics()
    new = [health.refused('encoding', f'encoding {"x" * i!r}') for i in range(500)]
    assert sum(new) == health_module.MAX_COMPLAINTS
    assert health.snapshot().bad == {'encoding': 500}


def test_model_that_is_not_loaded_comes_first(clock):
    circumstances = Circumstances(state='unconfigured', not_loaded='model not loaded: x')
    assert judge(circumstances, NodeStatistics().snapshot()) == (
        DiagnosticStatus.ERROR,
        'model not loaded: x',
    )


def test_waiting_for_a_manager_is_no_fault(clock):
    level, sentence = judge(Circumstances(state='inactive'), NodeStatistics().snapshot())
    assert level == DiagnosticStatus.OK
    assert sentence == 'inactive: waiting for a lifecycle manager'


def test_nobody_listening_is_no_fault(clock):
    health = NodeStatistics()
    clock.now += 100
    idle = Circumstances(state='active', unheard='/node/keypoints')
    assert judge(idle, health.snapshot()) == (
        DiagnosticStatus.OK,
        'idle: nobody listens to /node/keypoints',
    )


def test_first_seconds_are_no_silence(clock):
    health = NodeStatistics()
    clock.now += 1
    assert judge(ACTIVE, health.snapshot())[0] == DiagnosticStatus.OK


def silent(clock, health):
    clock.now += 3
    return judge(ACTIVE, health.snapshot())


def test_silence_by_bad_images(clock):
    health = NodeStatistics()
    health.refused('encoding', "Encoding 'x' is not supported.")
    level, sentence = silent(clock, health)
    assert level == DiagnosticStatus.ERROR
    assert sentence == "nothing published: Encoding 'x' is not supported."


def test_silence_by_a_busy_engine(clock):
    health = NodeStatistics()
    health.received(921_648)
    clock.now += 3
    busy = replace(ACTIVE, busy_s=2.6)
    assert judge(busy, health.snapshot())[1] == (
        'nothing published: the engine has been busy for 3 s.'
    )


def test_an_engine_at_rest_is_not_blamed(clock):
    health = NodeStatistics()
    health.received(921_648)
    assert 'but no image for 3 s' in silent(clock, health)[1]


def test_an_engine_that_is_not_at_work_comes_before_silence(clock):
    clock.now += 100
    broken = replace(ACTIVE, fault='the engine hangs.', unheard='/x')
    assert judge(broken, NodeStatistics().snapshot()) == (
        DiagnosticStatus.ERROR,
        'the engine hangs.',
    )


def test_rest_that_was_asked_for_is_no_fault(clock):
    clock.now += 100
    resting = replace(ACTIVE, disabled=True, unheard='/x')
    assert judge(resting, NodeStatistics().snapshot()) == (
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
    health = NodeStatistics()
    for _ in range(20):
        health.received(921_648)
        health.published(Times())
    health.lost(2)
    assert judge(ACTIVE, health.snapshot())[0] == DiagnosticStatus.OK
    health.lost(58)
    level, sentence = judge(ACTIVE, health.snapshot())
    assert level == DiagnosticStatus.WARN
    assert sentence.startswith('75% of the images on /cam/image are lost on their way')
    if own:
        assert 'start the publisher (this node has it already) with' in sentence
        assert 'FASTRTPS_DEFAULT_PROFILES_FILE=/my/profile.xml' in sentence
    else:
        assert 'start the publisher and this node with' in sentence
        assert sentence.endswith('config/fastdds_large_images.xml.')


def test_losses_of_small_images_are_not_blamed_on_shared_memory(clock):
    health = NodeStatistics()
    health.received(30_000)
    health.published(Times())
    health.lost(1)
    _, sentence = judge(ACTIVE, health.snapshot())
    assert sentence.startswith(
        '50% of the images on /cam/image are lost on their way: check the n'
    )
    assert 'Fast DDS' not in sentence


def test_message_has_level_sentence_and_values(clock):
    health = NodeStatistics()
    health.refused('no pixels', 'An image has no pixels.')
    health.dropped()
    status = to_status('/arm/node', ACTIVE, health.snapshot())
    values = {pair.key: pair.value for pair in status.values}
    assert status.name == '/arm/node: keypoints'
    assert status.level == DiagnosticStatus.WARN
    assert values['bad images: no pixels'] == '1'
    assert values['dropped for a newer image'] == '1'
    assert values['state'] == 'active'


def test_status_of_one_of_several_cameras_has_its_name():
    circumstances = Circumstances(state='active', camera='left')
    status = to_status('/arm/node', circumstances, NodeStatistics().snapshot())
    assert status.name == '/arm/node: left keypoints'
