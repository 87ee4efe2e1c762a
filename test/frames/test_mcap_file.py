"""An MCAP file is always valid, and a failed write leaves the previous content."""

import errno
import os
import resource
import shutil
import subprocess
import sys

from keypoint_perception.frames import mcap_file
from keypoint_perception.frames.mcap_file import END_MARK, McapFile, RecordedTopic
from keypoint_perception.frames.salvage.mcap_salvage import McapSalvage
import pytest

pytest.importorskip('mcap', reason='mcap, which writes bags, is not installed')
TOPIC = RecordedTopic('/numbers', 'std_msgs/msg/String', 'string data\n')


def write(file, channel, number):
    file.write(channel, number, 100 + number, 90 + number, bytes([number]) * 50)


def read_with_rosbags(path):
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        return [data[0] for _, _, data in reader.messages()]


def salvage(path):
    return [message.data[0] for message in McapSalvage(path).messages()]


def test_end_mark_is_as_the_format_has_it():
    # data end: kind 15, 4 bytes; footer: kind 2, 20 bytes; the magic
    assert END_MARK.hex() == (
        '0f0400000000000000' + '00000000' + '021400000000000000' + 20 * '00' + '894d434150300d0a'
    )


def test_every_state_on_the_disk_can_be_read(tmp_path, monkeypatch):
    """Each write is a state in which the process may be killed; a copy is taken of each."""
    path, states, flushed = tmp_path / 'a.mcap', [], 0
    real = mcap_file.write_at

    def write_and_copy(handle, pieces, offset):
        real(handle, pieces, offset)
        states.append((tmp_path / f'{len(states)}.mcap', flushed))
        shutil.copy(path, states[-1][0])

    monkeypatch.setattr(mcap_file, 'write_at', write_and_copy)
    file = McapFile(path)
    channel = file.add_topic(TOPIC)
    for number in range(1, 7):
        write(file, channel, number)
        if number % 2 == 0:
            file.flush()
            flushed = number
    file.close('')
    assert len(states) == 1 + 3 * 4 + 1
    refused = []
    for index, (state, safe) in enumerate(states):
        numbers = salvage(state)
        assert numbers == list(range(1, len(numbers) + 1))
        assert safe <= len(numbers) <= safe + 2
        try:
            assert read_with_rosbags(state) == numbers
        except Exception as error:
            refused.append((index, str(error)))
    # only where the new end mark stands and the room before it is not yet a record
    assert [index for index, _ in refused] == [1, 5, 9]
    assert read_with_rosbags(path) == [1, 2, 3, 4, 5, 6]


def test_compressed_chunks_are_read(tmp_path):
    path = tmp_path / 'a.mcap'
    file = McapFile(path, compression='zstd')
    channel = file.add_topic(TOPIC)
    write(file, channel, 7)
    file.flush()
    assert b'zstd' in path.read_bytes()
    assert read_with_rosbags(path) == salvage(path) == [7]
    file.close('')
    assert read_with_rosbags(path) == [7]


def test_large_message_is_flushed_at_once(tmp_path):
    file = McapFile(tmp_path / 'a.mcap')
    channel = file.add_topic(TOPIC)
    file.write(channel, 0, 1, 1, bytes(10))
    assert file.waiting_bytes == 10
    file.write(channel, 1, 2, 2, bytes(mcap_file.CHUNK_BYTES))
    assert file.waiting_bytes == 0
    assert len(salvage(file.path)) == 2
    file.abandon()
    assert read_with_rosbags(file.path) == [0, 0]


LIMITED = """
import errno, resource, signal, sys
from pathlib import Path
from keypoint_perception.frames.mcap_file import McapFile, RecordedTopic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
file = McapFile(Path(sys.argv[1]))
channel = file.add_topic(RecordedTopic('/numbers', 'std_msgs/msg/String', 'string data'))
try:
    for number in range(100):
        file.write(channel, number, number, number, bytes([number]) * 1000)
        file.flush()
        print(number, flush=True)
except OSError as error:
    print(errno.errorcode[error.errno])
file.abandon()
"""


def test_a_file_is_closed_once(tmp_path):
    file = McapFile(tmp_path / 'a.mcap')
    number = file._stream.handle
    file.close('')
    with (tmp_path / 'other').open('wb') as other:
        assert other.fileno() == number  # which the next file gets
        file.abandon()
        other.write(b'still open')
    assert (tmp_path / 'other').read_bytes() == b'still open'


def test_failed_write_leaves_a_valid_file(tmp_path):
    assert resource.RLIMIT_FSIZE is not None
    path = tmp_path / 'a.mcap'
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    *numbers, why = done.stdout.split()
    assert why == 'EFBIG'
    assert len(numbers) > 10
    assert read_with_rosbags(path) == salvage(path) == [int(number) for number in numbers]
    assert path.read_bytes().endswith(END_MARK)


@pytest.mark.parametrize('fails', [1, 2, 3, 4])
def test_write_that_breaks_off_is_undone(tmp_path, monkeypatch, fails):
    """A disk that is full at any of the four steps, the third of them half written."""
    path, calls = tmp_path / 'a.mcap', 0
    file = McapFile(path)
    channel = file.add_topic(TOPIC)
    write(file, channel, 1)
    file.flush()
    before, real = path.read_bytes(), mcap_file.write_at

    def write_until_full(handle, pieces, offset):
        nonlocal calls
        calls += 1
        if calls == fails:
            real(handle, [bytes(b''.join(pieces))[: sum(map(len, pieces)) // 2]], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle, pieces, offset)

    monkeypatch.setattr(mcap_file, 'write_at', write_until_full)
    write(file, channel, 2)
    with pytest.raises(OSError, match='No space left'):
        file.flush()
    assert path.read_bytes() == before
    file.abandon()
    assert read_with_rosbags(path) == [1]
