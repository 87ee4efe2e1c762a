"""What files claim is not believed, what they expand to is bounded, and the rest is read."""

import bz2
import shutil
import sqlite3

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.salvage import partial_decompression
from keypoint_perception.frames.source import count_frames, list_image_topics, read_frames
from keypoint_perception.limits import VARIABLE
import lz4.frame
import numpy as np
import pytest

zstd = pytest.importorskip('backports.zstd', reason='only needed below Python 3.14')

COMPRESSORS = {'lz4': lz4.frame.compress, 'zstd': zstd.compress}


def numbers(path, recordings):
    """Return which frames these are, after checking that they are whole."""
    found = []
    for frame in read_frames([path]):
        found.append(int(frame.image[0, 0, 0]))
        np.testing.assert_array_equal(frame.image, recordings.picture_number(found[-1]))
    return found


def bomb_rows(recordings, size):
    """Return four images of a camera, of which the second is of a size in bytes."""
    rows = recordings.camera_rows(4)
    rows[1][2].data = np.zeros(size, np.uint8)
    return rows


@pytest.mark.parametrize('compression', list(COMPRESSORS))
def test_chunk_that_expands_too_far_is_left_out_until_its_limit_is_raised(
    tmp_path, recordings, compression, caplog, monkeypatch
):
    path = tmp_path / 'bomb.mcap'
    recordings.write_plain_mcap(
        path,
        bomb_rows(recordings, 5_000_000),
        compress=COMPRESSORS[compression],
        compression=compression,
        rows_per_chunk=1,
    )
    monkeypatch.setenv(VARIABLE, 'max_chunk_mb=1')
    assert numbers(path, recordings) == [0, 2, 3]
    (warning,) = [record.message for record in caplog.records]
    assert 'is not read whole (a chunk has more than 1 MB; if it is meant to be so' in warning
    value = warning.partition(f'set {VARIABLE}=')[2].partition(')')[0]
    assert value == 'max_chunk_mb=6'
    caplog.clear()
    monkeypatch.setenv(VARIABLE, value)
    assert len(list(read_frames([path]))) == 4
    assert not caplog.records


def test_message_that_expands_too_far_is_left_out(tmp_path, recordings, caplog, monkeypatch):
    rows, mode = bomb_rows(recordings, 5_000_000), recordings.CompressionMode.MESSAGE
    bag = recordings.write_bag(tmp_path / 'bag', rows, storage='sqlite3', compression=mode)
    monkeypatch.setenv(VARIABLE, 'max_message_mb=1')
    assert numbers(bag, recordings) == [0, 2, 3]
    assert f'a message has more than 1 MB; if it is meant to be so large, set {VARIABLE}=' in (
        caplog.text
    )


def test_file_expands_to_so_many_times_its_size(tmp_path, recordings, caplog, monkeypatch):
    monkeypatch.setattr(partial_decompression, 'ALWAYS_EXPANDED', 20_000)
    monkeypatch.setenv(VARIABLE, 'max_expansion=2')
    path = tmp_path / 'small.mcap'
    rows = recordings.camera_rows(30)
    recordings.write_plain_mcap(path, rows, compress=zstd.compress, compression='zstd')
    assert numbers(path, recordings) == list(range(4))
    assert f'2 times its size; if it is meant to be so large, set {VARIABLE}=max_exp' in (
        caplog.text
    )


@pytest.mark.parametrize('stated', [True, False])
def test_packed_file_that_expands_too_far_is_refused(tmp_path, recordings, stated, monkeypatch):
    monkeypatch.setattr(partial_decompression, 'ALWAYS_EXPANDED', 1000)
    rows = recordings.camera_rows(40, height=60, width=80)
    path = recordings.storage_file(recordings.write_bag(tmp_path / 'bag', rows))
    content, packed = path.read_bytes(), tmp_path / 'packed.mcap.zstd'
    compressor = zstd.ZstdCompressor()
    pieces = [compressor.compress(content), compressor.flush()]
    packed.write_bytes(zstd.compress(content) if stated else b''.join(pieces))
    monkeypatch.setenv(VARIABLE, 'max_expansion=1.5')
    with pytest.raises(SourceError, match=f'set {VARIABLE}=max_expansion=') as refusal:
        count_frames([packed])
    value = str(refusal.value).partition(f'set {VARIABLE}=')[2].rstrip('.')
    monkeypatch.setenv(VARIABLE, value)
    assert count_frames([packed]) == 40
    usage = shutil.disk_usage(tmp_path)._replace(free=100_010_000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(SourceError, match=r'has only 0.0 GB to spare; set TMPDIR to a directory'):
        count_frames([packed])


def test_other_files_than_the_one_that_expands_too_far_are_read(
    tmp_path, recordings, caplog, monkeypatch
):
    rows, mode = recordings.camera_rows(6, height=60, width=80), recordings.CompressionMode.FILE
    bag = recordings.write_bag(tmp_path / 'bag', rows[:3], compression=mode)
    later = recordings.write_bag(tmp_path / 'later', rows[3:])
    recordings.storage_file(later).rename(bag / 'bag_1.mcap')
    monkeypatch.setattr(partial_decompression, 'ALWAYS_EXPANDED', 1000)
    monkeypatch.setenv(VARIABLE, 'max_expansion=1.5')
    stamps = [frame.stamp_ns for frame in read_frames([bag])]
    assert stamps == [recordings.START_NS + i * recordings.PERIOD_NS for i in (3, 4, 5)]
    assert "bag.mcap.zstd' expands to" in caplog.text


def test_packed_file_with_damage_gives_all_blocks_before_it(tmp_path, recordings, caplog):
    rows = recordings.camera_rows(20, height=60, width=80)
    chance = np.random.default_rng(0)
    for _, _, message in rows:
        message.data = chance.integers(0, 256, message.data.size, np.uint8)
    path = recordings.storage_file(recordings.write_bag(tmp_path / 'bag', rows))
    content = bytearray(zstd.compress(path.read_bytes()))
    content[len(content) // 2 :] = b'\xff' * (len(content) // 2)
    packed = tmp_path / 'packed.mcap.zstd'
    packed.write_bytes(content)
    assert len(list(read_frames([packed]))) >= 5  # blocks have 128 KiB, images 14 kB
    assert 'is damaged near byte' in caplog.text


ENDLESS = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS id, '


@pytest.mark.parametrize(
    'statements',
    [
        [f'CREATE VIEW messages AS {ENDLESS} 1 AS topic_id, x AS timestamp, x AS data FROM c'],
        [f'CREATE VIEW MESSAGES AS {ENDLESS} 1 AS topic_id, x AS timestamp, x AS data FROM c'],
        [
            'CREATE TABLE messages(topic_id INTEGER, timestamp INTEGER, '
            'data BLOB AS (zeroblob(900000000)))',
            'INSERT INTO messages VALUES (1, 1)',
        ],
        ['CREATE VIRTUAL TABLE messages USING rtree(topic_id, timestamp, data)'],
    ],
)
def test_only_tables_of_sqlite_files_are_read(tmp_path, recordings, statements):
    bag = recordings.write_bag(tmp_path / 'bag', recordings.camera_rows(3), storage='sqlite3')
    path = recordings.storage_file(bag).rename(tmp_path / 'bare.db3')
    connection = sqlite3.connect(path)
    for statement in ['DROP TABLE messages', *statements]:
        connection.execute(statement)
    connection.commit()
    connection.close()
    sentence = "its tables are unreadable: 'messages' is no table with columns data, timestamp, t"
    with pytest.raises(SourceError, match=sentence):
        list_image_topics(path)


def test_rows_that_are_missing_are_counted(tmp_path, recordings, caplog):
    bag = recordings.write_bag(tmp_path / 'bag', recordings.camera_rows(9), storage='sqlite3')
    connection = sqlite3.connect(recordings.storage_file(bag))
    connection.execute('DELETE FROM messages WHERE id IN (3, 4, 7)')
    connection.commit()
    connection.close()
    assert numbers(bag, recordings) == [0, 1, 4, 5, 7, 8]
    assert 'is not read whole (3 of its rows are missing, lost or deleted)' in caplog.text


def test_broken_page_of_a_sqlite_file_loses_only_its_rows(tmp_path, recordings, caplog):
    rows = recordings.camera_rows(30, height=48, width=64)
    path = recordings.storage_file(recordings.write_bag(tmp_path / 'bag', rows, storage='sqlite3'))
    content = bytearray(path.read_bytes())
    page = len(content) // 2 // 4096 * 4096
    content[page : page + 4096] = bytes(4096)
    path.write_bytes(content)
    stamps = [frame.stamp_ns for frame in read_frames([path])]
    assert 28 <= len(stamps) <= 30
    assert stamps[-1] == recordings.START_NS + 29 * recordings.PERIOD_NS


@pytest.mark.parametrize('name', ['rec.bag.active', 'REC.BAG.ACTIVE', 'rec.BAG'])
def test_ros1_bag_whose_recorder_was_killed_is_read(tmp_path, recordings, name, caplog):
    whole = recordings.write_ros1_bag(tmp_path / 'whole.bag', 20)
    path = tmp_path / name
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 8 // 10])
    found = numbers(path, recordings)
    assert found == list(range(len(found)))
    assert 10 < len(found) < 20
    assert 'is damaged at byte' in caplog.text


@pytest.mark.parametrize('compression', ['bz2', 'lz4'])
def test_ros1_bag_takes_names_from_the_index_at_its_end(tmp_path, recordings, compression):
    path = tmp_path / 'whole.bag'
    recordings.write_ros1_bag(path, 60, compression=compression, chunk_bytes=2000)
    content = bytearray(path.read_bytes())
    first = content.index(b'compression=' + compression.encode())
    magic = {'bz2': b'BZh', 'lz4': b'\x04"M\x18'}[compression]
    content[content.index(magic, first)] ^= 1
    path.write_bytes(content)
    found = numbers(path, recordings)
    assert found == list(range(60 - len(found), 60))
    assert 40 < len(found) < 60


def test_last_chunk_of_a_ros1_bag_that_states_no_size_is_read(tmp_path, recordings):
    path = recordings.write_ros1_bag(tmp_path / 'whole.bag', 6, compression='bz2')
    content = path.read_bytes()
    start = content.index(b'BZh')
    packed = bz2.BZ2Decompressor()
    packed.decompress(content[start:])
    end = len(content) - len(packed.unused_data)
    path.write_bytes(content[: start - 4] + bytes(4) + content[start:end])
    assert numbers(path, recordings) == list(range(6))


@pytest.mark.parametrize('wrong', ['sensor_msgs/msg/Imbge', 'sensor_msgs/msg/\xffmage'])
def test_summary_that_the_data_contradicts_is_not_used(tmp_path, recordings, wrong):
    path = recordings.storage_file(
        recordings.write_bag(tmp_path / 'bag', recordings.camera_rows(5))
    ).rename(tmp_path / 'bare.mcap')
    content = bytearray(path.read_bytes())
    at = content.rindex(b'sensor_msgs/msg/Image')
    assert at > content.index(b'sensor_msgs/msg/Image')
    content[at : at + len(wrong)] = wrong.encode('latin-1')
    path.write_bytes(content)
    assert numbers(path, recordings) == list(range(5))


def test_chunk_that_the_index_misplaces_is_read(tmp_path, recordings, caplog):
    path = recordings.storage_file(
        recordings.write_bag(tmp_path / 'bag', recordings.camera_rows(5))
    )
    content = bytearray(path.read_bytes())
    at = content.rindex(b'\x08', 0, len(content) - 100)
    content[at + 9 : at + 33] = bytes(24)
    path.write_bytes(content)
    assert numbers(path, recordings) == list(range(5))
    assert not caplog.records
