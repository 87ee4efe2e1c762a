"""Everything before the damage of a recording is used, and one sentence reports it."""

import contextlib
import random

import cv2
from keypoint_perception.errors import PerceptionError, SourceError
from keypoint_perception.frames.salvage.partial_decompression import decompress_prefix
from keypoint_perception.frames.source import list_image_topics, read_frames
import lz4.frame
import numpy as np
import pytest

zstd = pytest.importorskip('backports.zstd', reason='only needed below Python 3.14')

FRAMES = 30
COMPRESSORS = {'': None, 'lz4': lz4.frame.compress, 'zstd': zstd.compress}


def numbers(frames, recordings):
    """Return which frames these are, after checking that they are whole."""
    found = [int(frame.image[0, 0, 0]) for frame in frames]
    for number, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(frame.image, recordings.picture_number(number))
    return found


def warnings_of(caplog):
    return [record.message for record in caplog.records if record.levelname == 'WARNING']


@pytest.mark.parametrize('compression', list(COMPRESSORS))
@pytest.mark.parametrize('rows_per_chunk', [0, 4])
def test_mcap_of_a_recorder_that_crashed_is_read_whole(
    tmp_path, recordings, compression, rows_per_chunk, caplog
):
    path = tmp_path / 'crashed.mcap'
    recordings.write_plain_mcap(
        path,
        recordings.camera_rows(FRAMES),
        compress=COMPRESSORS[compression],
        compression=compression,
        rows_per_chunk=rows_per_chunk,
        finished=False,
    )
    assert list_image_topics(path) == ['/camera/image_raw']
    assert numbers(list(read_frames([path])), recordings) == list(range(FRAMES))
    (warning,) = warnings_of(caplog)
    assert 'the end mark of a complete file is missing' in warning
    assert f'readable images: {FRAMES}.' in warning


@pytest.mark.parametrize(
    ('compression', 'rows_per_chunk'), [('', 0), ('', 2), ('lz4', 2), ('zstd', 2)]
)
def test_mcap_cut_anywhere_gives_all_whole_chunks_before_the_cut(
    tmp_path, recordings, compression, rows_per_chunk, caplog
):
    path = tmp_path / 'whole.mcap'
    ends = recordings.write_plain_mcap(
        path,
        recordings.camera_rows(FRAMES),
        compress=COMPRESSORS[compression],
        compression=compression,
        rows_per_chunk=rows_per_chunk,
    )
    content = path.read_bytes()
    cut = tmp_path / 'cut.mcap'
    for index in range(200):
        size = index * len(content) // 200
        cut.write_bytes(content[:size])
        caplog.clear()
        frames = []
        with contextlib.suppress(PerceptionError):
            frames = list(read_frames([cut]))
        found = numbers(frames, recordings)
        assert found == list(range(len(found)))
        assert len(found) >= sum(end <= size for end in ends)
        if found and size < ends[-1]:
            (warning,) = warnings_of(caplog)
            assert f'readable images: {len(found)}.' in warning


@pytest.mark.parametrize('compression', list(COMPRESSORS))
def test_mcap_with_any_byte_changed_gives_all_chunks_before_it(tmp_path, recordings, compression):
    path = tmp_path / 'whole.mcap'
    ends = recordings.write_plain_mcap(
        path,
        recordings.camera_rows(FRAMES),
        compress=COMPRESSORS[compression],
        compression=compression,
    )
    content = path.read_bytes()
    head = content.index(b'\x06')  # nothing can be said of what names the topic and type
    changed = tmp_path / 'changed.mcap'
    chance = random.Random(0)
    for _ in range(200):
        offset = chance.randrange(len(content))
        wrong = bytearray(content)
        wrong[offset] ^= 1 << chance.randrange(8)
        changed.write_bytes(wrong)
        stamps = []
        with contextlib.suppress(PerceptionError):
            stamps = [frame.stamp_ns for frame in read_frames([changed])]
        before = sum(end <= offset for end in ends)
        expected = [recordings.START_NS + i * recordings.PERIOD_NS for i in range(before)]
        if offset > head:
            assert stamps[:before] == expected
        assert len(stamps) == len(set(stamps))


@pytest.mark.parametrize('form', ['mcap', 'mcap zstd', 'sqlite3', 'ros1'])
@pytest.mark.parametrize('damage', ['cut', 'change'])
def test_no_damage_ends_in_a_traceback(tmp_path, recordings, form, damage):
    if form == 'ros1':
        path = recordings.write_ros1_bag(tmp_path / 'whole.bag', FRAMES)
    else:
        mode = recordings.CompressionMode['STORAGE' if 'zstd' in form else 'NONE']
        storage = form.split()[0]
        rows = recordings.camera_rows(FRAMES)
        bag = recordings.write_bag(tmp_path / 'bag', rows, storage=storage, compression=mode)
        path = recordings.storage_file(bag)
    content = path.read_bytes()
    wrong_path = tmp_path / f'wrong{path.suffix}'
    chance = random.Random(0)
    most = 0
    for index in range(200):
        wrong = bytearray(content)
        if damage == 'cut':
            del wrong[index * len(content) // 200 :]
        else:
            wrong[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        wrong_path.write_bytes(wrong)
        with contextlib.suppress(PerceptionError):
            most = max(most, len(list(read_frames([wrong_path]))))
    assert most == FRAMES or damage == 'cut'
    assert most >= FRAMES - 2


def test_chunk_whose_checksum_is_wrong_is_not_used(tmp_path, recordings, caplog):
    path = tmp_path / 'whole.mcap'
    ends = recordings.write_plain_mcap(path, recordings.camera_rows(6))
    content = bytearray(path.read_bytes())
    content[ends[1] + 400] ^= 1
    path.write_bytes(content)
    assert numbers(list(read_frames([path])), recordings) == [0, 1, 4, 5]
    (warning,) = warnings_of(caplog)
    assert f'is damaged at byte {ends[1]:,} (the checksum of a chunk is wrong' in warning


def test_damaged_chunk_loses_only_what_is_in_it(tmp_path, recordings, caplog):
    path = tmp_path / 'whole.mcap'
    ends = recordings.write_plain_mcap(
        path, recordings.camera_rows(8), compress=zstd.compress, compression='zstd'
    )
    content = bytearray(path.read_bytes())
    content[ends[3] - 40 : ends[3] - 20] = bytes(20)  # in the second of four chunks
    path.write_bytes(content)
    assert numbers(list(read_frames([path])), recordings) == [0, 1, 4, 5, 6, 7]
    (warning,) = warnings_of(caplog)
    assert f'is damaged at byte {ends[1]:,} (zstd data is damaged' in warning
    assert 'bytes are lost; readable images: 6.' in warning


def test_damaged_first_chunk_does_not_take_the_names_with_it(tmp_path, recordings):
    rows = recordings.camera_rows(40, height=120, width=160)
    mode = recordings.CompressionMode.STORAGE
    path = recordings.storage_file(recordings.write_bag(tmp_path / 'bag', rows, compression=mode))
    content = bytearray(path.read_bytes())
    content[100:140] = bytes(40)
    path.write_bytes(content)
    stamps = [frame.stamp_ns for frame in read_frames([path])]
    assert 5 < len(stamps) < 40
    assert stamps[-1] == recordings.START_NS + 39 * recordings.PERIOD_NS


def test_cut_sqlite_bag_is_used_up_to_the_cut(tmp_path, recordings, caplog):
    rows = recordings.camera_rows(FRAMES, height=48, width=64)
    path = recordings.storage_file(recordings.write_bag(tmp_path / 'bag', rows, storage='sqlite3'))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    for source in (path, tmp_path / 'bag'):
        caplog.clear()
        stamps = [frame.stamp_ns for frame in read_frames([source])]
        assert 10 <= len(stamps) < FRAMES
        assert stamps == [
            recordings.START_NS + i * recordings.PERIOD_NS for i in range(len(stamps))
        ]
        (warning,) = warnings_of(caplog)
        assert 'it is shorter than its header states; damaged parts: ' in warning
        assert f'bytes are lost; readable images: {len(stamps)}.' in warning


def test_sqlite_bag_with_bytes_too_many_is_told(tmp_path, recordings, caplog):
    """SQLite itself reads such a file, and may give fewer rows without a word."""
    rows = recordings.camera_rows(FRAMES, height=48, width=64)
    path = recordings.storage_file(recordings.write_bag(tmp_path / 'bag', rows, storage='sqlite3'))
    path.write_bytes(path.read_bytes() + bytes(16))
    assert len(list(read_frames([path]))) == FRAMES
    assert 'it has 16 bytes that are in no page' in caplog.text


def test_rows_in_a_write_ahead_log_are_read(tmp_path, recordings):
    import sqlite3

    rows = recordings.camera_rows(3)
    path = recordings.storage_file(recordings.write_bag(tmp_path / 'bag', rows, storage='sqlite3'))
    recorder = sqlite3.connect(path)
    recorder.execute('PRAGMA journal_mode = WAL')
    recorder.execute(
        'INSERT INTO messages (topic_id, timestamp, data) '
        'SELECT topic_id, timestamp + 1, data FROM messages WHERE id = 3'
    )
    recorder.commit()
    assert path.with_name(path.name + '-wal').stat().st_size
    assert len(list(read_frames([path]))) == 4
    recorder.close()


def test_ros1_bag_cut_short_is_used_up_to_the_cut(tmp_path, recordings, caplog):
    path = recordings.write_ros1_bag(tmp_path / 'whole.bag', FRAMES)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    found = numbers(list(read_frames([path])), recordings)
    assert found == list(range(len(found)))
    assert 5 < len(found) < FRAMES
    (warning,) = warnings_of(caplog)
    assert "whole.bag' is damaged at byte" in warning
    assert f'readable images: {len(found)}.' in warning


def test_bag_without_metadata_is_read(camera_bag, recordings, caplog):
    (camera_bag / 'metadata.yaml').unlink()
    assert numbers(list(read_frames([camera_bag])), recordings) == [0, 1, 2]
    (warning,) = warnings_of(caplog)
    assert 'has no metadata.yaml, as after a crash of the recorder' in warning


@pytest.mark.parametrize('text', ['', 'nonsense: [', 'rosbag2_bagfile_information: {}'])
def test_bag_with_damaged_metadata_is_read(camera_bag, recordings, text, caplog):
    (camera_bag / 'metadata.yaml').write_text(text)
    assert numbers(list(read_frames([camera_bag])), recordings) == [0, 1, 2]
    (warning,) = warnings_of(caplog)
    assert 'has an unusable metadata.yaml' in warning


def test_files_that_the_metadata_does_not_name_are_read(camera_bag, tmp_path, recordings, caplog):
    later = recordings.write_bag(tmp_path / 'later', recordings.camera_rows(5)[3:])
    recordings.storage_file(later).rename(camera_bag / 'camera_bag_1.mcap')
    assert numbers(list(read_frames([camera_bag])), recordings) == [0, 1, 2, 3, 4]
    (warning,) = warnings_of(caplog)
    assert 'does not have camera_bag_1.mcap: the files that are there are read' in warning


def test_bag_whose_storage_is_gone_is_refused(camera_bag, recordings):
    recordings.storage_file(camera_bag).unlink()
    with pytest.raises(
        SourceError, match=r'lacks its storage \(camera_bag.mcap\); copy the whole'
    ):
        read_frames([camera_bag])


def test_bag_with_an_empty_storage_file_is_refused(camera_bag, recordings, caplog):
    recordings.storage_file(camera_bag).write_bytes(b'')
    sentence = r'camera_bag. has no readable image on /camera/image_raw; follow'
    with pytest.raises(SourceError, match=sentence):
        list(read_frames([camera_bag]))
    assert 'is empty (0 bytes) and has no images' in caplog.text


def test_file_compression_cut_short_gives_what_was_before(tmp_path, recordings, caplog):
    rows = recordings.camera_rows(40, height=60, width=80)
    chance = np.random.default_rng(0)
    for _, _, message in rows:  # pictures that do not compress, so that zstd has many blocks
        message.data = chance.integers(0, 256, message.data.size, np.uint8)
    mode = recordings.CompressionMode.FILE
    bag = recordings.write_bag(tmp_path / 'bag', rows, compression=mode)
    path = recordings.storage_file(bag)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    stamps = [frame.stamp_ns for frame in read_frames([bag])]
    assert 10 <= len(stamps) < 40
    assert 'has truncated zstd data: the rest is lost' in caplog.text


def test_broken_image_in_a_folder_is_skipped(tmp_path, recordings, caplog):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f'{index}.png'), recordings.picture_number(index))
    (tmp_path / '1.png').write_bytes(b'broken')
    assert len(list(read_frames([tmp_path]))) == 2
    assert '1 of 3 images' in caplog.text


@pytest.mark.parametrize('compression', ['zstd', 'lz4', 'bz2'])
def test_decompression_stops_at_the_damage(compression):
    import bz2

    compress = COMPRESSORS.get(compression, bz2.compress)
    # several blocks of each library (up to 900 kB), which compress a little
    data = np.random.default_rng(0).integers(0, 99, 1 << 21, np.uint8).tobytes()
    packed = compress(data)
    assert decompress_prefix(packed, compression, len(data)) == (data, '')
    assert decompress_prefix(packed, compression, 1000)[0] == data[:1000]
    place = len(packed) * 3 // 4
    for wrong_end, sentence in ((b'', 'data is truncated'), (bytes(99), 'data is damaged')):
        wrong = packed[:place] + wrong_end
        wrong += packed[len(wrong) :] if wrong_end else b''
        found, clause = decompress_prefix(wrong, compression, len(data))
        assert found[: len(data) // 3] == data[: len(data) // 3]
        assert clause.startswith(f'{compression} {sentence}')


def test_images_that_go_missing_without_a_trace_are_counted(tmp_path, recordings, caplog):
    bag = recordings.write_bag(tmp_path / 'bag', recordings.camera_rows(FRAMES))
    metadata = bag / 'metadata.yaml'
    text = metadata.read_text()
    assert f'message_count: {FRAMES}' in text
    metadata.write_text(text.replace(f'message_count: {FRAMES}', 'message_count: 70'))
    assert numbers(list(read_frames([bag])), recordings) == list(range(FRAMES))
    (warning,) = warnings_of(caplog)
    assert 'announces 70 images on /camera/image_raw but has only 30: 40 are missing' in warning
