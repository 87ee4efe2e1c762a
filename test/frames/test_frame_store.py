"""Frame stores contain what was extracted, can be extended, and are never partial unnoticed."""

import json
import struct
import subprocess
import sys
import zlib

from keypoint_perception.errors import ConfigError, EncodingError, PerceptionError, SourceError
from keypoint_perception.frames import store_writer
from keypoint_perception.frames.decoding import FrameDecoder
from keypoint_perception.frames.extraction import extract_frames, working_size
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.frames.source import read_frames
from keypoint_perception.frames.store_format import INDEX_DTYPE, StoreHeader
from keypoint_perception.frames.store_writer import StoreWriter
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import Fit
import numpy as np
import pytest

TOPIC = '/camera/image_raw'
SIZE = {'size': 32}


@pytest.fixture
def bag(tmp_path, recordings):
    return recordings.write_bag(tmp_path / 'bag', recordings.camera_rows(20, height=60, width=80))


@pytest.fixture
def decoded(monkeypatch):
    """Return a list that grows by one with each image decoded."""
    calls = []
    decode = FrameDecoder.decode

    def counting(decoder, encoded):
        calls.append(encoded.stamp_ns)
        return decode(decoder, encoded)

    monkeypatch.setattr(FrameDecoder, 'decode', counting)
    return calls


@pytest.mark.parametrize(
    ('image_hw', 'size', 'expected'),
    [
        ((480, 640), 128, (96, 128)),
        ((240, 320), 128, (96, 128)),
        ((128, 128), 128, (128, 128)),
        ((210, 160), 128, (128, 104)),  # 97.5 up to a multiple of 8
        ((720, 1280), 128, (72, 128)),
        ((100, 100), 100, (100, 100)),  # never more than size
        ((1, 1000), 128, (8, 128)),
    ],
)
def test_working_size_follows_the_first_image(image_hw, size, expected):
    assert working_size(image_hw, size) == expected


def test_store_holds_frames_stamps_and_where_they_came_from(tmp_path, recordings, bag):
    store = extract_frames([bag], [TOPIC], tmp_path / 'store', **SIZE)
    store = FrameStore.open(tmp_path / 'store')
    assert len(store) == 20
    assert store.network_hw == (24, 32)
    assert isinstance(store.images, np.memmap)
    assert store.images.shape == (20, 24, 32, 3)
    assert not store.images.flags.writeable
    fit = Fit((60, 80), (24, 32))
    for index in range(20):
        expected = fit_image(recordings.picture_number(index, 60, 80), fit)
        np.testing.assert_array_equal(store.images[index], expected)
    stamps = recordings.START_NS + np.arange(20) * recordings.PERIOD_NS
    np.testing.assert_array_equal(store.stamps_ns, stamps)
    assert store.stamps_ns.dtype == np.int64
    assert store.cameras == (TOPIC,)
    assert store.camera.tolist() == [0] * 20
    assert store.source.tolist() == [0] * 20
    assert store.image_hw.tolist() == [[60, 80]] * 20
    (source,) = store.sources
    assert (source['name'], source['topics'], source['frames']) == (str(bag), [TOPIC], 20)
    assert len(source['digest']) == 64


def test_digest_depends_on_the_content_only(tmp_path, recordings, bag):
    first = extract_frames([bag], [], tmp_path / 'store0', **SIZE).sources[0]['digest']
    moved = bag.rename(tmp_path / 'moved')
    assert extract_frames([moved], [], tmp_path / 'store1', **SIZE).sources[0]['digest'] == first
    path = recordings.storage_file(moved)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert extract_frames([moved], [], tmp_path / 'store2', **SIZE).sources[0]['digest'] != first


def test_several_cameras_are_in_order_of_time(tmp_path, recordings):
    rows = recordings.camera_rows(3, '/left') + recordings.camera_rows(3, '/right')
    bag = recordings.write_bag(tmp_path / 'bag', sorted(rows, key=lambda row: row[1]))
    store = extract_frames([bag], ['/right', '/left'], tmp_path / 'store', **SIZE)
    assert store.cameras == ('/left', '/right')
    assert store.camera.tolist() == [0, 1] * 3
    assert (np.diff(store.stamps_ns) >= 0).all()


def test_store_can_be_added_to(tmp_path, recordings, bag, decoded):
    extract_frames([bag], [], tmp_path / 'store', **SIZE)
    other = recordings.write_bag(tmp_path / 'other', recordings.camera_rows(3, '/other'))
    decoded.clear()
    store = extract_frames([bag, other], [TOPIC, '/other'], tmp_path / 'store', **SIZE)
    assert len(decoded) == 3
    assert len(FrameStore.open(tmp_path / 'store')) == len(store) == 23
    assert store.source.tolist() == [0] * 20 + [1] * 3
    assert store.cameras == (TOPIC, '/other')


def test_another_working_size_is_refused(tmp_path, bag):
    extract_frames([bag], [], tmp_path / 'store', **SIZE)
    with pytest.raises(
        SourceError, match='has a working size of 32x24 px, expected a long side of 64 px; delete'
    ):
        extract_frames([bag], [], tmp_path / 'store', size=64)
    with pytest.raises(SourceError, match='has a working size of 32x24 px, expected 40x24 px;'):
        extract_frames([bag], [], tmp_path / 'store', network_hw=(24, 40))


@pytest.mark.parametrize('size', [0, 8, 5000])
def test_size_out_of_range_is_refused(tmp_path, bag, size):
    with pytest.raises(ConfigError, match=rf'size must be between 16 and 4096 px, got {size}\.'):
        extract_frames([bag], [], tmp_path / 'store', size=size)


def test_foreign_directory_is_left_alone(tmp_path, bag):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').write_text('years of work')
    with pytest.raises(SourceError, match=r"is not empty and not a frame store \(it holds 'thes"):
        extract_frames([bag], [], tmp_path / 'mine', **SIZE)
    with pytest.raises(SourceError, match='is a file; expected a directory'):
        extract_frames([bag], [], tmp_path / 'mine' / 'thesis.tex', **SIZE)
    assert (tmp_path / 'mine' / 'thesis.tex').read_text() == 'years of work'


def test_failed_extraction_leaves_nothing_behind(tmp_path, recordings):
    message = recordings.raw_message(recordings.picture_number(0), 1, encoding='wrong')
    bag = recordings.write_bag(tmp_path / 'bag', [(TOPIC, 1, message)])
    with pytest.raises(EncodingError, match="Encoding 'wrong' is not supported"):
        extract_frames([bag], [], tmp_path / 'store', **SIZE)
    assert not (tmp_path / 'store').exists()


def test_interrupted_extraction_resumes_where_it_stopped(tmp_path, bag, decoded, monkeypatch):
    whole = extract_frames([bag], [], tmp_path / 'whole', **SIZE)
    decoded.clear()

    def interrupt(done, total):
        assert total == 20
        if done == 13:
            raise KeyboardInterrupt('by the user')

    with pytest.raises(KeyboardInterrupt, match='by the user'):
        extract_frames([bag], [], tmp_path / 'store', progress=interrupt, **SIZE)
    with pytest.raises(
        SourceError, match=r'is incomplete \(13 frames, interrupted in .*bag\); run the same'
    ):
        FrameStore.open(tmp_path / 'store')
    assert len(decoded) == 13
    store = extract_frames([bag], [], tmp_path / 'store', **SIZE)
    assert len(decoded) == 20
    np.testing.assert_array_equal(store.images, whole.images)
    np.testing.assert_array_equal(store.stamps_ns, whole.stamps_ns)


def test_incomplete_store_is_finished_before_anything_is_added(tmp_path, recordings, bag):
    def interrupt(done, total):
        raise KeyboardInterrupt('by the user')

    with pytest.raises(KeyboardInterrupt, match='by the user'):
        extract_frames([bag], [], tmp_path / 'store', progress=interrupt, **SIZE)
    other = recordings.write_bag(tmp_path / 'other', recordings.camera_rows())
    with pytest.raises(SourceError, match=r"is incomplete: '.*bag' was interrupted and is not"):
        extract_frames([other], [], tmp_path / 'store', **SIZE)


# Kills its own process in the second commit, which is the fifth to the eighth time that something
# is synced: the images, the index, the new header, and its name.
KILLED = """
import os, signal, sys
from keypoint_perception.frames import extraction, store_writer

syncs = int(sys.argv[1])
bag, out = sys.argv[2:]
store_writer.BLOCK_FRAMES = 4
sync = os.fsync

def sync_or_die(handle):
    global syncs
    syncs -= 1
    if not syncs:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(handle)

os.fsync = sync_or_die
extraction.extract_frames([bag], [], out, size=32)
"""


@pytest.mark.parametrize(('syncs', 'committed'), [(5, 4), (6, 4), (7, 4), (8, 8)])
def test_killed_extraction_is_incomplete_and_continues(tmp_path, bag, decoded, syncs, committed):
    out = tmp_path / 'store'
    command = [sys.executable, '-c', KILLED, str(syncs), str(bag), str(out)]
    assert subprocess.run(command, check=False).returncode == -9
    with pytest.raises(SourceError, match=rf'is incomplete \({committed} frames, interrupted in'):
        FrameStore.open(out)
    store = extract_frames([bag], [], out, **SIZE)
    assert len(decoded) == 20 - committed
    whole = extract_frames([bag], [], tmp_path / 'whole', **SIZE)
    np.testing.assert_array_equal(FrameStore.open(out).images, whole.images)
    np.testing.assert_array_equal(store.stamps_ns, whole.stamps_ns)
    assert sorted(p.name for p in out.iterdir()) == ['images.bin', 'index.bin', 'store.json']


def test_interrupt_between_an_image_and_its_record_loses_nothing(tmp_path, bag, monkeypatch):
    crc32, calls = zlib.crc32, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 7:
            raise KeyboardInterrupt('by the user')
        return crc32(*args)

    with monkeypatch.context() as patch:
        patch.setattr(store_writer.zlib, 'crc32', interrupted)
        with pytest.raises(KeyboardInterrupt, match='by the user'):
            extract_frames([bag], [], tmp_path / 'store', **SIZE)
    store = extract_frames([bag], [], tmp_path / 'store', **SIZE)
    whole = extract_frames([bag], [], tmp_path / 'whole', **SIZE)
    np.testing.assert_array_equal(store.images, whole.images)
    np.testing.assert_array_equal(FrameStore.open(tmp_path / 'store').stamps_ns, whole.stamps_ns)


# The header of a store that version 0.1.0 wrote, two of its frames committed.
STORE_0_1_0 = {
    'network_hw': [16, 24],
    'cameras': [TOPIC],
    'sources': [
        {
            'name': 'camera_bag',
            'digest': '0' * 64,
            'topics': [TOPIC],
            'frames': 2,
            'position': 3,
            'failed': 1,
            'complete': True,
        }
    ],
    'blocks': [[1, 1141708554, 2344006855], [1, 964463610, 4234033009]],
    'format_version': 1,
}


def test_a_store_of_version_0_1_0_still_opens(tmp_path):
    images = np.arange(2 * 16 * 24 * 3).astype(np.uint8).reshape(2, 16, 24, 3)
    (tmp_path / 'images.bin').write_bytes(images.tobytes() + b'not committed')
    (tmp_path / 'index.bin').write_bytes(
        struct.pack('<qiiii', 7, 0, 0, 60, 80) + struct.pack('<qiiii', 9, 0, 0, 30, 40)
    )
    (tmp_path / 'store.json').write_text(json.dumps(STORE_0_1_0))
    store = FrameStore.open(tmp_path)
    np.testing.assert_array_equal(store.images, images)
    assert store.network_hw == (16, 24)
    assert store.stamps_ns.tolist() == [7, 9]
    assert store.image_hw.tolist() == [[60, 80], [30, 40]]
    assert (store.cameras, store.sources[0]['digest']) == ((TOPIC,), '0' * 64)
    frames = list(read_frames(tmp_path))
    assert [frame.stamp_ns for frame in frames] == [7, 9]
    np.testing.assert_array_equal(frames[1].image, images[1])


def test_an_extraction_that_version_0_1_0_left_continues(tmp_path, bag):
    """It had been killed before its first commit."""
    out = tmp_path / 'store'
    out.mkdir()
    for name in ('images.bin', 'index.bin', 'store.json.part'):
        (out / name).write_bytes(b'half')
    assert len(extract_frames([bag], [], out, **SIZE)) == 20
    assert len(FrameStore.open(out)) == 20


@pytest.mark.parametrize('name', ['images.bin', 'index.bin'])
@pytest.mark.parametrize('damage', ['change', 'cut', 'delete'])
def test_changed_store_is_refused(tmp_path, bag, name, damage, monkeypatch):
    monkeypatch.setattr(store_writer, 'BLOCK_FRAMES', 8)
    extract_frames([bag], [], tmp_path / 'store', **SIZE)
    path = tmp_path / 'store' / name
    content = bytearray(path.read_bytes())
    if damage == 'change':
        content[len(content) // 2] ^= 1
    elif damage == 'cut':
        del content[-1]
    path.write_bytes(content)
    if damage == 'delete':
        path.unlink()
    sentence = rf'does not match its store.json \({name} .*; delete the store and extract'
    with pytest.raises(SourceError, match=sentence):
        FrameStore.open(tmp_path / 'store')
    with pytest.raises(SourceError, match=sentence):
        extract_frames([bag], [], tmp_path / 'store', **SIZE)


@pytest.mark.parametrize('text', ['', '{', '{}', '[]', '{"format_version": 1}'])
def test_damaged_header_is_refused(tmp_path, bag, text):
    extract_frames([bag], [], tmp_path / 'store', **SIZE)
    (tmp_path / 'store' / 'store.json').write_text(text)
    with pytest.raises(SourceError, match=r'has a damaged store.json \(.*; delete the store and'):
        FrameStore.open(tmp_path / 'store')


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'network_hw': [48, 'x']}, 'a number is not a whole one'),
        ({'network_hw': [10**9, 10**9]}, 'network_hw is not two sides from 1 to 4096'),
        ({'network_hw': [48]}, 'network_hw is not two sides'),
        ({'blocks': [[-1, 0, 0]]}, 'a number is not a whole one, 0 or more'),
        ({'blocks': [[True, 0, 0]]}, 'a number is not a whole one, 0 or more'),
        ({'cameras': [5]}, 'a name is no text'),
        ({'sources': [{'name': 'x'}]}, "'frames'"),
        ({'sources': 7}, "'int' object is not iterable"),
    ],
)
def test_a_header_with_values_that_cannot_be_meant_is_refused(tmp_path, bag, changes, reason):
    extract_frames([bag], [], tmp_path / 'store', **SIZE)
    header = tmp_path / 'store' / 'store.json'
    header.write_text(json.dumps(json.loads(header.read_text()) | changes))
    with pytest.raises(SourceError, match=r'has a damaged store\.json') as raised:
        FrameStore.open(tmp_path / 'store')
    assert reason in str(raised.value)


@pytest.mark.parametrize('field', ['camera', 'source'])
def test_frames_of_no_camera_or_source_are_refused(tmp_path, bag, field):
    extract_frames([bag], [], tmp_path / 'store', **SIZE)
    path, header = tmp_path / 'store' / 'index.bin', tmp_path / 'store' / 'store.json'
    index = np.fromfile(path, INDEX_DTYPE)
    index[field][1] = 3
    index.tofile(path)
    values = json.loads(header.read_text())
    values['blocks'] = [[len(index), values['blocks'][0][1], zlib.crc32(path.read_bytes())]]
    header.write_text(json.dumps(values))
    with pytest.raises(SourceError, match='has frames of no camera or source; delete the store'):
        FrameStore.open(tmp_path / 'store')


def test_newer_format_and_other_directories_are_refused(tmp_path, bag):
    extract_frames([bag], [], tmp_path / 'store', **SIZE)
    header = tmp_path / 'store' / 'store.json'
    header.write_text(json.dumps(json.loads(header.read_text()) | {'format_version': 2}))
    with pytest.raises(SourceError, match='has format 2, this package reads 1; delete the store'):
        FrameStore.open(tmp_path / 'store')
    with pytest.raises(SourceError, match=r'is not a frame store \(it has no store.json\)'):
        FrameStore.open(bag)


def test_frames_that_change_size_are_fitted_each_on_its_own(tmp_path, recordings, caplog):
    rows = recordings.camera_rows(4, height=60, width=80)
    for index in (2, 3):
        topic, stamp_ns, _ = rows[index]
        picture = recordings.picture_number(index, 40, 40)
        rows[index] = (topic, stamp_ns, recordings.raw_message(picture, stamp_ns))
    bag = recordings.write_bag(tmp_path / 'bag', rows)
    store = extract_frames([bag], [], tmp_path / 'store', **SIZE)
    assert store.image_hw.tolist() == [[60, 80]] * 2 + [[40, 40]] * 2
    expected = fit_image(recordings.picture_number(3, 40, 40), Fit((40, 40), (24, 32)))
    np.testing.assert_array_equal(store.images[3], expected)
    assert not store.images[3][:, :4].any()  # the black border
    (record,) = caplog.records
    stamp_ns = recordings.START_NS + 2 * recordings.PERIOD_NS
    assert (
        f"2 images of '{bag}' on {TOPIC} have another size than the first, 80x60 (40x40 at "
        f'stamp {stamp_ns}): each is fitted to 32x24 on its own.'
    ) == record.message


def test_skipped_images_are_counted_over_an_interruption(tmp_path, recordings, caplog):
    rows = recordings.camera_rows(6)
    rows[1] = (*rows[1][:2], recordings.raw_message(recordings.picture_number(1), 1, step=1))
    bag = recordings.write_bag(tmp_path / 'bag', rows)

    def interrupt(done, total):
        if done == 4:
            raise KeyboardInterrupt('by the user')

    with pytest.raises(KeyboardInterrupt, match='by the user'):
        extract_frames([bag], [], tmp_path / 'store', progress=interrupt, **SIZE)
    store = extract_frames([bag], [], tmp_path / 'store', **SIZE)
    assert store.stamps_ns.tolist() == [
        recordings.START_NS + index * recordings.PERIOD_NS for index in (0, 2, 3, 4, 5)
    ]
    assert '1 of 6 images' in caplog.text


def test_incomplete_store_is_no_source(tmp_path, bag):
    def interrupt(done, total):
        raise KeyboardInterrupt('by the user')

    with pytest.raises(KeyboardInterrupt, match='by the user'):
        extract_frames([bag], [], tmp_path / 'store', progress=interrupt, **SIZE)
    with pytest.raises(SourceError, match='is incomplete'):
        extract_frames([tmp_path / 'store'], [], tmp_path / 'other', **SIZE)


def test_a_store_is_not_added_to_itself(tmp_path, bag):
    extract_frames([bag], [], tmp_path / 'store', size=32)
    with pytest.raises(SourceError, match='cannot be added to itself; specify another directory'):
        extract_frames([tmp_path / 'store'], [], tmp_path / 'store', size=32)
    assert len(FrameStore.open(tmp_path / 'store').sources) == 1


def test_two_extractions_into_one_store_do_not_mix(tmp_path, bag):
    out = tmp_path / 'store'

    def extract_again(_done, _total):
        with pytest.raises(PerceptionError, match='is being written by another process; wait'):
            extract_frames([bag], [], out, **SIZE)

    extract_frames([bag], [], out, **SIZE, progress=extract_again)
    late = StoreHeader(FrameStore.open(out).network_hw)
    with pytest.raises(SourceError, match='was changed by another process; run this again'):
        StoreWriter(out, late)
    FrameStore.open(out)
