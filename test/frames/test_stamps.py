"""Stamps are those of one clock, whatever drivers write into headers, and what is odd is told."""

from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.frames.frame import EncodedFrame
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.frames.source import read_frames
from keypoint_perception.frames.stamps import checked_stamps, stamped_frames
import numpy as np
import pytest

START_NS, PERIOD_NS = 1_700_000_000_000_000_000, 50_000_000
COUNT = 120
BAG = [START_NS + index * PERIOD_NS for index in range(COUNT)]
# captured 3 ms to 7 ms before they were recorded
HEADER = [time - 3_000_000 - index % 3 * 2_000_000 for index, time in enumerate(BAG)]
BOOT = [time - START_NS + 7 * 10**9 for time in HEADER]


def stamps_of(header, bag=BAG, choice='', topics=('/camera',)):
    """Return the stamps that are given for those of headers and a bag."""

    def frames():
        for index, stamp_ns in enumerate(header):
            bag_ns = None if bag is None else bag[index]
            yield EncodedFrame(stamp_ns, topics[index % len(topics)], lambda: None, bag_ns, 10)

    return [frame.stamp_ns for frame in stamped_frames('run', frames(), choice)]


@pytest.mark.parametrize(
    'header',
    [
        HEADER,
        BOOT,
        [time - BOOT[0] for time in BOOT],  # a simulation starts at 0
        [index * PERIOD_NS // 5 for index in range(COUNT)],  # and may be five times slower
        [index * PERIOD_NS * 20 + 123 for index in range(COUNT)],  # or faster than the bag
        [HEADER[index ^ 1] for index in range(COUNT)],  # neighbours are swapped
        [HEADER[index - (index % 8 == 1)] for index in range(COUNT)],  # some twice
        HEADER[:60] + [time + 600 * 10**9 for time in HEADER[60:]],
        [time - 30 * 10**9 for time in HEADER],  # recorded late
    ],
    ids=['epoch', 'boot', 'zero', 'slow', 'fast', 'swapped', 'twice', 'pause', 'late'],
)
def test_headers_that_make_sense_are_kept(header, caplog):
    assert stamps_of(header) == header
    assert not caplog.records


def test_time_lapse_is_kept_and_questioned(caplog):
    minutes = [START_NS + index * 60 * 10**9 for index in range(8)]
    assert stamps_of(minutes, minutes) == minutes
    (record,) = caplog.records
    assert 'tell of 0.0167 images per second; if that is wrong, use' in record.getMessage()


@pytest.mark.parametrize(
    ('header', 'fault'),
    [
        ([START_NS] * COUNT, 'stand still (32 images, 1 stamp)'),
        ([0] * COUNT, 'are zero'),
        ([time - time % 10**9 for time in BAG], 'stand still (32 images, 2 stamps)'),
        ([time // 1000 for time in BAG], 'tell of 20,000 images per second'),
        ([time // 10**6 for time in BAG], 'tell of 20,000,000 images per second'),
        (list(range(COUNT)), 'tell of 1,000,000,000 images per second'),
        ([START_NS + index for index in range(COUNT)], 'tell of 1,000,000,000 images'),
        ([index * 10**9 for index in range(COUNT)], 'tell of 1 images per second where the bag'),
        ([index * 3600 * 10**9 // 7 for index in range(COUNT)], 'tell of 0.00194 images per s'),
        ([-time for time in BAG], 'are negative or after 2038'),
        ([2**32 * 10**9 - 10**9 + time % 10**9 for time in BAG], 'are negative or after 2038'),
        (BAG[::-1], 'go backwards'),
        ([(START_NS, 0)[index % 2] + time for index, time in enumerate(BOOT)], 'go backwards'),
    ],
    ids=[
        'constant', 'zero', 'seconds', 'us', 'ms', 'counter', 'counted', 'counted seconds',
        'slow', 'negative', 'ROS 1', 'backwards', 'alternating',
    ],
)  # fmt: skip
def test_times_of_the_bag_replace_headers_of_no_use(header, fault, caplog):
    assert stamps_of(header) == BAG
    (record,) = caplog.records
    assert f"header stamps of 'run' {fault}" in record.getMessage()
    assert 'the times of the bag are used instead; --stamps header' in record.getMessage()


def test_cameras_of_two_clocks_get_the_times_of_the_bag(caplog):
    header = [BOOT[index] if index % 2 else HEADER[index] for index in range(COUNT)]
    assert stamps_of(header, topics=('/left', '/right')) == BAG
    assert 'are of several clocks: the times of the bag' in caplog.text


@pytest.mark.parametrize('clock', [HEADER, BOOT], ids=['epoch', 'boot'])
@pytest.mark.parametrize('zeros', [{0}, {40}, {0, 9, 10, 11, 100}])
def test_zero_now_and_then_is_replaced_alone(clock, zeros, caplog):
    header = [0 if index in zeros else stamp for index, stamp in enumerate(clock)]
    given = stamps_of(header)
    wrong = np.abs(np.array(given) - np.array(clock))
    assert set(np.flatnonzero(wrong)) <= zeros
    assert wrong.max() <= 4_000_000
    (record,) = caplog.records
    assert f'{len(zeros)} of 120 header stamps' in record.getMessage()
    assert 'the first: 0.000000000 s' in record.getMessage()


@pytest.mark.parametrize(
    'later',
    [
        [time - START_NS for time in HEADER],
        [time + 8 * 365 * 86400 * 10**9 for time in HEADER],
        [time - 20 * 10**9 for time in HEADER],
        [time // 1000 for time in HEADER],
    ],
    ids=['another epoch', 'years', 'set back', 'us'],
)
def test_second_clock_continues_the_first(later, caplog):
    given = stamps_of(HEADER[:80] + later[80:])
    assert given[:80] == HEADER[:80]
    assert np.abs(np.array(given) - np.array(HEADER)).max() <= 4_000_000
    (record,) = caplog.records
    assert '40 of 120 header stamps' in record.getMessage()


def test_header_that_stands_still_later(caplog):
    given = stamps_of(HEADER[:80] + HEADER[79:80] * 40)
    assert np.abs(np.array(given) - np.array(HEADER))[[*range(80), *range(92, 120)]].max() < 5e6
    assert ' of 120 header stamps' in caplog.text


def test_clock_that_was_set_in_headers_and_bag_is_told(caplog):
    jump = 53 * 365 * 86400 * 10**9
    header, bag = ([t + jump * (i > 90) for i, t in enumerate(ts)] for ts in (BOOT, BAG))
    assert stamps_of(header, bag) == header
    (record,) = caplog.records
    assert "stamps of 'run' pause for 19,345.0 days, as when a clock is set" in record.getMessage()


@pytest.mark.parametrize('bag', [[0] * COUNT, [START_NS] * COUNT, [2**64 - 1] * COUNT])
def test_bag_whose_own_times_are_no_use(bag, caplog):
    assert stamps_of(HEADER, bag) == HEADER
    assert not caplog.records
    given = stamps_of([0] * COUNT, bag)
    assert given[:4] == [0, 33_333_333, 66_666_667, 100_000_000]
    assert '30 images per second are assumed' in caplog.text


def test_choice_is_taken_as_it_is(caplog):
    assert stamps_of(HEADER, choice='bag') == BAG
    given = stamps_of(HEADER, choice='index:10', topics=('/left', '/right'))
    assert given[:6] == [0, 0, 10**8, 10**8, 2 * 10**8, 2 * 10**8]
    assert stamps_of(HEADER, None, 'index')[2] == 66_666_667
    assert not caplog.records
    assert stamps_of([5] * COUNT, choice='header') == [5] * COUNT
    assert "stamps of 'run' stand still (32 images, 1 stamp); if that is wrong" in caplog.text
    assert stamps_of(HEADER, [2**64 - 1] * COUNT, 'bag')[0] == 2**63 - 1
    with pytest.raises(SourceError, match="'run' has no times of a bag; leave out --stamps, or"):
        stamps_of(HEADER, None, 'bag')


@pytest.mark.parametrize('text', ['index:0', 'index:', 'index:nan', 'index:-3', 'bag:3', 'Header'])
def test_other_choices_are_refused(text):
    with pytest.raises(ConfigError, match='expected header, bag, index or, with the number of im'):
        checked_stamps(text)


def test_rate_of_a_source_without_headers_is_questioned(caplog):
    stamps_of([index * 200_000 for index in range(COUNT)], None)
    assert "stamps of 'run' tell of 5,000 images per second; if" in caplog.text


def test_few_images_are_held(caplog):
    """Large ones would fill the memory."""
    held = []

    def frames():
        for index in range(COUNT):
            held.append(index)
            yield EncodedFrame(HEADER[index], '/camera', lambda: None, BAG[index], 20_000_000)

    given = stamped_frames('run', frames())
    next(given)
    assert len(held) == 4


def test_store_keeps_the_choice(tmp_path, recordings):
    from keypoint_perception.frames.extraction import extract_frames

    rows = [(topic, time + 4, message) for topic, time, message in recordings.camera_rows(3)]
    bag = recordings.write_bag(tmp_path / 'bag', rows)
    times = [time for _, time, _ in rows]
    assert [frame.stamp_ns for frame in read_frames(bag, stamps='bag')] == times
    out = tmp_path / 'store'
    extract_frames([bag], [], out, stamps='bag')
    assert FrameStore.open(out).stamps_ns.tolist() == times
    assert len(extract_frames([bag], [], out)) == 3
    assert len(extract_frames([bag], [], out, stamps='bag')) == 3
    refused = r'extracted with --stamps bag, not with --stamps header; do as before, or choose'
    with pytest.raises(SourceError, match=refused):
        extract_frames([bag], [], out, stamps='header')
    extract_frames([bag], [], tmp_path / 'other')
    refused = r'extracted without --stamps, not with --stamps index:30; do as before'
    with pytest.raises(SourceError, match=refused):
        extract_frames([bag], [], tmp_path / 'other', stamps='index')
