"""Bags are directories as rosbag2 writes them, valid from the start."""

import errno
from functools import partial
import os
import threading

from keypoint_perception.errors import SourceError
from keypoint_perception.frames import bag_writer, mcap_file
from keypoint_perception.frames.bag_writer import BagWriter
from keypoint_perception.frames.mcap_file import RecordedTopic
import pytest
import yaml

pytest.importorskip('mcap', reason='mcap, which writes bags, is not installed')
QOS = {
    'history': 'keep_last',
    'depth': 1,
    'reliability': 'best_effort',
    'durability': 'volatile',
    'deadline': {'sec': 0, 'nsec': 0},
    'lifespan': {'sec': 0, 'nsec': 0},
    'liveliness': 'automatic',
    'liveliness_lease_duration': {'sec': 0, 'nsec': 0},
    'avoid_ros_namespace_conventions': False,
}
LEFT = RecordedTopic('/left', 'std_msgs/msg/String', 'string data\n', 'RIHS01_00', [QOS])
RIGHT = RecordedTopic('/right', 'std_msgs/msg/String', 'string data\n', 'RIHS01_00', [QOS])


def read(path):
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        return [(c.topic, time_ns, data) for c, time_ns, data in reader.messages()]


def metadata(path):
    return yaml.safe_load((path / 'metadata.yaml').read_text())['rosbag2_bagfile_information']


def test_metadata_is_as_rosbag2_has_it(tmp_path):
    bag = BagWriter(tmp_path / 'run')
    assert metadata(bag.path)['message_count'] == 0
    assert metadata(bag.path)['starting_time']['nanoseconds_since_epoch'] == 2**63 - 1
    left, right = bag.add_topic(LEFT), bag.add_topic(RIGHT)
    bag.write(left, 1000, 900, b'l1')
    bag.write(right, 1500, 1400, b'r1')
    bag.write(left, 3000, 2900, b'l2')
    bag.custom_data['note'] = 'kept'
    bag.close()
    about = metadata(bag.path)
    # the keys of rosbag2's version 9, all of them
    assert set(about) == {
        'version', 'storage_identifier', 'duration', 'starting_time', 'message_count',
        'topics_with_message_count', 'compression_format', 'compression_mode',
        'relative_file_paths', 'files', 'custom_data', 'ros_distro',
    }  # fmt: skip
    assert about['version'] == 9
    assert about['storage_identifier'] == 'mcap'
    assert about['starting_time']['nanoseconds_since_epoch'] == 1000
    assert about['duration']['nanoseconds'] == 2000
    assert about['message_count'] == 3
    assert [t['message_count'] for t in about['topics_with_message_count']] == [2, 1]
    assert about['relative_file_paths'] == ['run_0.mcap']
    assert about['custom_data'] == {'note': 'kept'}
    assert '&' not in (bag.path / 'metadata.yaml').read_text()  # no anchors of YAML
    assert read(bag.path) == [
        ('/left', 1000, b'l1'), ('/right', 1500, b'r1'), ('/left', 3000, b'l2')
    ]  # fmt: skip


def test_files_follow_each_other_by_size(tmp_path):
    bag = BagWriter(tmp_path / 'run', split_bytes=100_000)
    topic = bag.add_topic(LEFT)
    for number in range(10):
        bag.write(topic, number, number, bytes([number]) * 30_000)
    bag.close()
    names = [f'run_{i}.mcap' for i in range(4)]
    assert metadata(bag.path)['relative_file_paths'] == names
    assert [f['message_count'] for f in metadata(bag.path)['files']] == [3, 3, 3, 1]
    assert all((bag.path / name).stat().st_size < 100_000 for name in names)
    assert bag.size_bytes == sum((bag.path / name).stat().st_size for name in names)
    assert [data[0] for _, _, data in read(bag.path)] == list(range(10))


def test_files_follow_each_other_by_time(tmp_path):
    bag = BagWriter(tmp_path / 'run', split_ns=10)
    topic = bag.add_topic(LEFT)
    for time_ns in (0, 9, 10, 19, 25, 26):
        bag.write(topic, time_ns, time_ns, b'x')
    bag.close()
    assert [f['message_count'] for f in metadata(bag.path)['files']] == [2, 2, 2]
    starts = [f['starting_time']['nanoseconds_since_epoch'] for f in metadata(bag.path)['files']]
    assert starts == [0, 10, 25]
    assert len(read(bag.path)) == 6


def test_bag_that_exists_is_kept(tmp_path):
    (tmp_path / 'run').mkdir()
    with pytest.raises(SourceError, match=r"run' exists already and bags are not overwritten"):
        BagWriter(tmp_path / 'run')
    assert list((tmp_path / 'run').iterdir()) == []


def test_failure_to_create_leaves_nothing(tmp_path):
    path = tmp_path / ('x' * 250)  # its file would have a longer name
    for _ in range(2):
        with pytest.raises(OSError, match='File name too long'):
            BagWriter(path)
        assert not path.exists()


def test_flushed_messages_are_counted(tmp_path):
    bag = BagWriter(tmp_path / 'run')
    topic = bag.add_topic(LEFT)
    bag.write(topic, 1, 1, b'x')
    assert (bag.messages, bag.flushed_messages) == (1, 0)
    bag.flush()
    assert bag.flushed_messages == 1
    assert len(read(bag.path)) == 1  # while it goes on
    bag.close()


@pytest.mark.parametrize('split', [False, True])
def test_full_disk_leaves_true_counts(tmp_path, monkeypatch, split):
    bag = BagWriter(tmp_path / 'run', split_bytes=100_000 if split else 0)
    left, right = bag.add_topic(LEFT), bag.add_topic(RIGHT)
    for topic in (left, right, left):
        bag.write(topic, 10, 10, b'abcd')
    bag.flush()
    bag.write(right, 20, 20, b'abcd')
    bag.write(right, 21, 21, b'abcd')
    bag.write_metadata()
    assert metadata(bag.path)['message_count'] == 3  # what a kill would leave
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    write_at = mcap_file.write_at

    def write(handle, pieces, offset):
        if split or pieces != [mcap_file.END_MARK]:
            raise full
        write_at(handle, pieces, offset)  # over the old mark

    if split:  # the next file cannot even be started
        bag.flush()
        monkeypatch.setattr(bag_writer, 'McapFile', partial(fail_once_open, write, monkeypatch))
    else:
        monkeypatch.setattr(mcap_file, 'write_at', write)
    with pytest.raises(OSError, match='No space left'):
        bag.write(left, 30, 30, bytes(100_000))
        bag.flush()
    lost = bag.abandon()
    bag.write_metadata()
    assert lost == ([] if split else [right, right, left])
    about = metadata(bag.path)
    counts = [topic['message_count'] for topic in about['topics_with_message_count']]
    assert counts == ([2, 3] if split else [2, 1])
    assert about['message_count'] == bag.messages == sum(counts) == len(read(bag.path))
    assert about['files'][0]['message_count'] == sum(counts)
    assert about['duration']['nanoseconds'] == (11 if split else 0)
    assert [path.name for path in bag.path.glob('*.mcap')] == ['run_0.mcap']


def fail_once_open(write, monkeypatch, *args, **kwargs):
    monkeypatch.setattr(mcap_file, 'write_at', write)
    return mcap_file.McapFile(*args, **kwargs)


def test_older_metadata_never_replace_newer(tmp_path, monkeypatch):
    """A thread that writes the metadata is slow; a topic is added meanwhile."""
    bag = BagWriter(tmp_path / 'run')
    real, begun, go_on = bag_writer.replace_file, threading.Event(), threading.Event()

    def slowly(path, text, **options):
        if threading.current_thread() is slow:
            begun.set()
            go_on.wait()
        real(path, text, **options)

    monkeypatch.setattr(bag_writer, 'replace_file', slowly)
    slow = threading.Thread(target=bag.write_metadata)
    adding = threading.Thread(target=lambda: bag.add_topic(LEFT))
    slow.start()
    begun.wait()
    adding.start()
    adding.join(0.2)  # it may wait for the other, or not: both must end well
    go_on.set()
    slow.join()
    adding.join()
    names = [t['topic_metadata']['name'] for t in metadata(bag.path)['topics_with_message_count']]
    assert names == ['/left']
    bag.close()
