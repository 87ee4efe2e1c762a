"""The verb `record` as a process: its end, a full disk, and kill -9."""

import itertools
import json
import os
from pathlib import Path
import random
import re
import resource
import signal
import subprocess

import pytest
import yaml

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('mcap', reason='mcap, which writes bags, is not installed')
HERE = Path(__file__).parent
KILLS = 10


@pytest.fixture
def record(start):
    """Start the verb: ``record('/topic', out, '--rate', '5')``."""

    def run(topic, out, *options):
        verb = ['-m', 'keypoint_perception', 'record', '--topic', topic, '--out', str(out)]
        return start(*verb, '--default-dds', *options)

    return run


def numbers_of(path):
    """Return the numbers in a bag as read by rosbags and by our own reader."""
    from keypoint_perception.frames.salvage.mcap_salvage import McapSalvage
    from rosbags.rosbag2 import Reader

    ours = [
        int.from_bytes(message.data[4:8], 'little')
        for file in sorted(path.glob('*.mcap'))
        for message in McapSalvage(file).messages()
    ]
    try:
        with Reader(path) as reader:
            theirs = [int.from_bytes(data[4:8], 'little') for _, _, data in reader.messages()]
    except OSError:
        if not is_between_two_end_marks(path):
            raise
        theirs = None
    return theirs, ours


def is_between_two_end_marks(path):
    """Return whether the recorder was killed between the two writes that McapFile documents."""
    from keypoint_perception.frames.mcap_file import END_MARK

    content = sorted(path.glob('*.mcap'))[-1].read_bytes()
    return content.endswith(END_MARK) and content.count(END_MARK) == 2


def check_counts(recorder, path, kept):
    """Check that what the recorder and the bag say about a full disk is what can be read."""
    recorder.wait_for(rf'{path.name}: {kept} messages, ')
    (line,) = [line for line in recorder.lines if line.startswith('  /numbers: ')]
    written, received, skipped, dropped, lost = map(int, re.findall(r'\d+', line))
    assert (written, received, skipped) == (kept, kept + dropped, 0)
    about = yaml.safe_load((path / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert about['message_count'] == kept == about['topics_with_message_count'][0]['message_count']
    told = json.loads(about['custom_data']['keypoint_perception /numbers'])
    assert told == {'received': received, 'skipped': 0, 'dropped': dropped, 'lost': lost}


def numbered(number, size=0):
    from std_msgs.msg import Header

    message = Header(frame_id='x' * size)
    message.stamp.sec = number
    return message


def numbered_image(number, size):
    import array

    from sensor_msgs.msg import Image

    data = array.array('B', bytes(size))
    message = Image(height=1, width=size, step=size, encoding='mono8', data=data)
    message.header.stamp.sec = number
    return message


def publish_until(peer, publisher, condition, *, size=0):
    """Publish 1, 2, 3 ... until a condition holds."""
    count = 0

    def published_and_done():
        nonlocal count
        count += 1
        publisher.publish(numbered(count, size))
        return condition()

    peer.spin_until(published_and_done, 'what was waited for')


def said_by(process, number, what):
    """Return the latest number that a recorder has printed."""
    begin = f'{number} {what} '
    said = [line.removeprefix(begin) for line in list(process.lines) if line.startswith(begin)]
    return int(said[-1]) if said else 0


def test_killed_recorders_leave_bags_that_can_be_read(peer, start, tmp_path):
    """Ten recorders, each killed as soon as a number of messages is safe."""
    from keypoint_perception.frames.source import read_frames
    from sensor_msgs.msg import Image

    paths = [tmp_path / f'run{number}' for number in range(KILLS)]
    recorders = start(str(HERE / 'recording_process.py'), *map(str, paths))
    kill_at = [random.Random(seed).randrange(1, 100) for seed in range(KILLS)]
    publisher = peer.publisher(Image, '/numbers', matched=False)
    for number in range(1, KILLS + 1):
        peer.spin_until(
            lambda n=number: publisher.get_subscription_count() >= n,
            f'{number} recorders',
            recorders,
        )
    killed = set()

    def kill_those_due():
        for number in range(KILLS):
            if number not in killed and said_by(recorders, number, 'safe') >= kill_at[number]:
                os.kill(said_by(recorders, number, 'pid'), signal.SIGKILL)
                killed.add(number)
        return len(killed)

    numbers = itertools.count(1)
    for number in range(1, KILLS + 1):
        peer.spin_until(
            lambda n=number: (
                publisher.publish(numbered_image(next(numbers), 2000)) or kill_those_due() >= n
            ),
            f'{number} kills',
            recorders,
        )
    assert recorders.wait() == 0
    refused = 0
    for number, path in enumerate(paths):
        assert said_by(recorders, number, 'ended') == -signal.SIGKILL
        theirs, ours = numbers_of(path)
        refused += theirs is None
        assert ours == list(range(ours[0], ours[0] + len(ours)))
        assert theirs in (ours, None)
        assert len(ours) >= said_by(recorders, number, 'safe') >= kill_at[number]
        frames = read_frames([path], ['/numbers'], stamps='header')
        assert [frame.stamp_ns // 10**9 for frame in frames] == ours
    assert refused <= 1


@pytest.mark.parametrize(
    ('how', 'name'),
    [(signal.SIGINT, 'run'), (signal.SIGTERM, 'r\xfcn\udcff')],
    ids=['int', 'term'],
)
def test_signals_end_it_in_order(peer, record, tmp_path, monkeypatch, how, name):
    """With a name too that neither the terminal nor UTF-8 can express."""
    from std_msgs.msg import Header

    path = tmp_path / name
    monkeypatch.setenv('PYTHONIOENCODING', 'ascii')
    recorder = record('/numbers', path, '--compression', 'zstd')
    recorder.wait_for('waiting for a publisher on /numbers')
    publisher = peer.publisher(Header, '/numbers')
    publish_until(peer, publisher, lambda: recorder.count(r'[1-9]\d* messages'))
    assert recorder.stop(how) == 0, recorder.output
    recorder.wait_for(r'/numbers: (\d+) of \1 received \(0 skipped, 0 dropped, 0 lost\)')
    theirs, ours = numbers_of(path)
    assert theirs == ours == list(range(1, len(ours) + 1))
    about = yaml.safe_load((path / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    assert about['message_count'] == len(ours)
    again = record('/numbers', path)
    assert again.wait() == 2
    shown = str(path).encode('ascii', 'backslashreplace').decode()
    assert again.lines[-1] == (
        f"error: '{shown}' already exists, and bags are never overwritten; remove it, or choose "
        'another directory.'
    )


@pytest.fixture
def small_disk(tmp_path):
    """Return a directory on a disk of 12 MiB."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f'a small tmpfs needs the right to mount: {mounted.stderr.strip()}')
    yield disk
    subprocess.run(['umount', str(disk)], check=True)


@pytest.mark.parametrize('floor', [0, 4])
def test_full_disk_ends_it_with_a_sentence(peer, record, small_disk, floor):
    from std_msgs.msg import Header

    path = small_disk / 'run'
    recorder = record('/numbers', path, '--disk-floor', str(floor))
    recorder.wait_for('waiting for a publisher on /numbers')
    publisher = peer.publisher(Header, '/numbers')
    publish_until(peer, publisher, lambda: recorder.count('^error:'), size=100_000)
    assert recorder.wait() == 2
    sentence = recorder.lines[-1]
    if floor:
        assert 'MB left, less than disk_floor (4 MB); free some space' in sentence
    else:
        assert f"'{path}' cannot be written any further: No space left on device;" in sentence
        assert 'what was written until then can be read' in sentence
    theirs, ours = numbers_of(path)
    assert theirs == ours == list(range(1, len(ours) + 1))
    # without a floor at most the chunk in work is lost, with one it ends in front of a message
    low, high = (8_200_000, 8_582_912) if floor else (8_200_000, 12_582_912)
    assert low < len(ours) * 100_000 < high
    check_counts(recorder, path, len(ours))


def test_limit_of_the_file_size_ends_it_too(peer, start, tmp_path):
    """Without a small disk: the kernel refuses to let a file grow."""
    from std_msgs.msg import Header

    path = tmp_path / 'run'
    limited = (
        'import resource\n'
        f'resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, {resource.RLIM_INFINITY}))\n'
        'from keypoint_perception.commands.program import main\n'
        f"main(['record', '--topic', '/numbers', '--out', {str(path)!r}, '--default-dds'])\n"
    )
    recorder = start('-c', limited)
    recorder.wait_for('waiting for a publisher on /numbers')
    publisher = peer.publisher(Header, '/numbers')
    publish_until(peer, publisher, lambda: recorder.count('^error:'), size=100_000)
    assert recorder.wait() == 2
    assert 'cannot be written any further: File too large' in recorder.lines[-1]
    theirs, ours = numbers_of(path)
    assert theirs == ours == list(range(1, len(ours) + 1))
    assert 18 <= len(ours) < 60  # at most a chunk of 4 MiB is lost
    check_counts(recorder, path, len(ours))
