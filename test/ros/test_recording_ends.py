"""Whatever ends a recording, no received message is lost."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('mcap', reason='mcap, which writes bags, is not installed')

# Ctrl-C shuts ROS down at once, but Python handles it at any time: here, while stopping.
INTERRUPTED_STOP = """
import atexit, os, runpy, signal, sys
atexit.register(lambda: print('at exit', signal.getsignal(signal.SIGINT).name))
from keypoint_perception.ros.recorder.recorder import Recorder
stop = Recorder.stop
def interrupted(recorder):
    os.kill(os.getpid(), signal.SIGINT)
    return stop(recorder)
Recorder.stop = interrupted
runpy.run_module(sys.argv.pop(1), run_name='__main__')
"""
# ... or while starting: it is subscribed already.
INTERRUPTED_START = """
import os, runpy, signal, sys, time
from keypoint_perception.ros.recorder.topic_subscription import TopicSubscription
from keypoint_perception.ros.stop_signals import stop_requested
follow = TopicSubscription.follow_publishers
def interrupted(topic):
    while not topic.listening:
        follow(topic)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGINT)
    while not stop_requested():
        time.sleep(0.01)
TopicSubscription.follow_publishers = interrupted
runpy.run_module(sys.argv.pop(1), run_name='__main__')
"""
PROGRAMS = {
    'node': (
        'keypoint_perception.ros.recorder_node', '--ros-args', '-p', 'topics:=[/numbers]',
        '-p', 'disk_floor:=0', '-p', 'out:={out}',
    ),
    'verb': ('keypoint_perception', 'record', '--topic', '/numbers', '--out', '{out}'),
}  # fmt: skip


@pytest.mark.parametrize('program', PROGRAMS)
def test_an_interrupt_while_it_is_being_stopped_loses_nothing(
    peer, start, tmp_path, program, messages_in
):
    from std_msgs.msg import Header

    path = tmp_path / 'run'
    command = [part.replace('{out}', str(path)) for part in PROGRAMS[program]]
    recorder = start('-c', INTERRUPTED_STOP, *command)
    publisher = peer.publisher(Header, '/numbers')
    publisher.publish(Header())
    peer.spin_until(publisher.wait_for_all_acked, 'the acknowledgement', recorder)
    assert recorder.stop() == 0, recorder.output
    assert recorder.count(r'/run: 1 messages'), recorder.output
    assert recorder.count('at exit SIG_IGN')  # a handler would be removed before the process ends
    assert messages_in(path) == 1


# ... or before there is anything to stop: both signals, when a module is imported or ROS starts.
INTERRUPTED_IMPORT = """
import os, runpy, signal, sys
moment = sys.argv.pop(1)
def interrupt():
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
class Finder:
    def find_spec(name, path, target=None):
        if name == moment:
            interrupt()
sys.meta_path.insert(0, Finder)
if moment == 'init':
    import rclpy
    init = rclpy.init
    def interrupted(*args, **kwargs):
        interrupt()
        init(*args, **kwargs)
        interrupt()
    rclpy.init = interrupted
runpy.run_module(sys.argv.pop(1), run_name='__main__')
"""


@pytest.mark.parametrize('moment', ['rclpy', 'rclpy.node', 'mcap.writer', 'init'])
@pytest.mark.parametrize('program', PROGRAMS)
def test_signals_before_the_start_end_it_in_order(start, tmp_path, program, moment, messages_in):
    path = tmp_path / 'run'
    command = [part.replace('{out}', str(path)) for part in PROGRAMS[program]]
    recorder = start('-c', INTERRUPTED_IMPORT, moment, *command)
    assert recorder.wait() == 0, recorder.output
    assert not recorder.count('Traceback|[Ee]rror|Exception'), recorder.output
    assert messages_in(path) == 0


@pytest.mark.parametrize('program', PROGRAMS)
def test_an_interrupt_during_the_start_loses_nothing(peer, start, tmp_path, program, messages_in):
    from std_msgs.msg import Header

    path = tmp_path / 'run'
    publisher = peer.publisher(Header, '/numbers', matched=False)
    command = [part.replace('{out}', str(path)) for part in PROGRAMS[program]]
    recorder = start('-c', INTERRUPTED_START, *command)
    peer.spin_until(publisher.get_subscription_count, 'the subscription', recorder)
    publisher.publish(Header())
    peer.spin_until(publisher.wait_for_all_acked, 'the acknowledgement', recorder)
    recorder.write('now')
    assert recorder.wait() == 0, recorder.output
    assert recorder.count(r'/run: 1 messages'), recorder.output
    assert messages_in(path) == 1


@pytest.mark.parametrize('alive', [True, False], ids=['in_ros', 'after_ros'])
def test_received_messages_are_recorded(peer, tmp_path, alive, messages_in):
    from keypoint_perception.ros.recorder.recorder import Recorder
    from keypoint_perception.ros.recorder.recorder_settings import RecorderSettings
    import rclpy
    from rclpy.duration import Duration
    from std_msgs.msg import Header

    context = rclpy.Context()
    context.init(domain_id=peer.node.context.get_domain_id())
    node = rclpy.create_node('recorder', context=context)
    settings = RecorderSettings(disk_floor=0)
    recorder = Recorder(node, topics=['/numbers'], out=tmp_path / 'run', settings=settings)
    publisher = peer.publisher(Header, '/numbers', matched=False)
    peer.spin_until(lambda: node.count_publishers('/numbers'), 'the discovery')
    recorder.start()
    peer.spin_until(publisher.get_subscription_count, 'the subscription')
    for _ in range(3):
        publisher.publish(Header())
    assert publisher.wait_for_all_acked(Duration(seconds=60))
    if not alive:
        context.shutdown()
    assert recorder.stop().messages == 3  # and nothing ever spun
    assert messages_in(tmp_path / 'run') == 3
    node.destroy_node()
    context.try_shutdown()


def test_a_failure_keeps_earlier_messages(ros_domain, tmp_path):
    del ros_domain
    from keypoint_perception.frames.bag_writer import BagWriter
    from keypoint_perception.ros.recorder.bag_recording import BagRecording
    from keypoint_perception.ros.recorder.recorder_settings import RecorderSettings
    from keypoint_perception.ros.recorder.recording_queue import QueuedMessage, RecordingQueue
    from keypoint_perception.ros.recorder.topic_subscription import TopicCounts, TopicInfo
    from rosbags.rosbag2 import Reader

    topic = SimpleNamespace(
        name='/numbers', info=TopicInfo('std_msgs/msg/String'), counts=TopicCounts()
    )
    queue = RecordingQueue(1000)
    for number in range(3):
        queue.put(QueuedMessage(topic, number, number, bytes([number]) * 8))
    settings = RecorderSettings(disk_floor=0)

    class FaultyWriter(BagWriter):
        def write(self, number, log_ns, publish_ns, data):
            if log_ns == 2:
                raise RuntimeError('a bug')
            super().write(number, log_ns, publish_ns, data)

    bag = FaultyWriter(tmp_path / 'run')
    recording = BagRecording(bag, queue, settings, lambda: {'/numbers': topic.counts}, print)

    with pytest.raises(RuntimeError, match='a bug'):
        recording.run()
    assert queue.closed
    with Reader(tmp_path / 'run') as reader:
        assert [stamp for _, stamp, _ in reader.messages()] == [0, 1]
