"""What tests of the nodes share: an isolated domain, processes, and a peer to talk to them."""

from __future__ import annotations

import array
import fcntl
import importlib
import os
from pathlib import Path
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
# How long to wait for an event before the test fails; never how long a test takes.
PATIENCE_S = 120.0
AGAIN_S = 0.5
HEIGHT, WIDTH = 48, 64


def lock_domain(at_end) -> int:
    """Return a domain that no other session of tests on this machine uses."""
    domains = list(range(1, 102))
    random.SystemRandom().shuffle(domains)
    for domain in domains:
        # left where it is: who removes it takes it from a session that has it open
        path = Path(tempfile.gettempdir(), f'keypoint_perception_domain_{domain}.lock')
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # another user's
            continue
        at_end(lambda lock=lock: os.close(lock))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        return domain
    pytest.fail('All 101 ROS domains of this machine are used by tests.')


@pytest.fixture(scope='session')
def ros_domain(request):
    """Keep this session's nodes apart from all others, and let ROS find itself."""
    pytest.importorskip('rclpy', reason='rclpy is not installed')
    from keypoint_perception.ros.installation import find_ros

    with warnings.catch_warnings():
        # ROS's own parser imports modules that Python has deprecated
        warnings.simplefilter('ignore', DeprecationWarning)
        importlib.import_module('rosidl_generator_py')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(lock_domain(request.addfinalizer)))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.setenv('AMENT_PREFIX_PATH', os.environ.get('AMENT_PREFIX_PATH', ''))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        patch.setenv('PYTHONPATH', path)
        find_ros()
        yield


@pytest.fixture(scope='session')
def model_dir(tmp_path_factory):
    """Return a model of three keypoints that finds the brightest pixel."""
    pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
    pytest.importorskip('onnx', reason='the package onnx, which writes models, is not installed')
    from keypoint_perception.inference.synthetic_model import write_synthetic_model

    path = tmp_path_factory.mktemp('models') / 'brightest'
    write_synthetic_model(path, keypoints=3, input_hw=(HEIGHT, WIDTH))
    return path


class Process:
    """A process whose output can be waited for."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self._changed = threading.Condition()
        self.lines: list[str] = []
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.rstrip('\n'))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return '\n'.join(self.lines)

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in list(self.lines))

    def wait_for(self, pattern: str, count: int = 1) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or self.count(pattern) >= count, timeout=PATIENCE_S
            )
        assert self.count(pattern) >= count, f'no {pattern!r} in:\n{self.output}'

    def write(self, line: str) -> None:
        self._process.stdin.write(line + '\n')
        self._process.stdin.flush()

    def wait(self) -> int:
        code = self._process.wait(timeout=PATIENCE_S)
        with self._changed:
            self._changed.wait_for(lambda: self._ended, timeout=PATIENCE_S)
        return code

    def stop(self, how: int = signal.SIGINT) -> int:
        if self._process.poll() is None:
            self._process.send_signal(how)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self.wait()
        self._reader.join()
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture(scope='module')
def start(ros_domain):
    """Start processes that end with the module; each by ``start(command)``."""
    del ros_domain
    started = []

    def start_process(*command: str) -> Process:
        started.append(Process([sys.executable, *command]))
        return started[-1]

    yield start_process
    for process in started:
        process.kill()


@pytest.fixture(scope='module')
def start_node(start):
    """Start nodes: ``start_node(model=..., remaps={'image': '/x'}, threads=1)``."""

    def node(*, module='keypoint_perception.ros.perception_node', remaps=None, **parameters):
        command = ['-m', module] if '/' not in module else [module]
        command.append('--ros-args')
        for name, value in parameters.items():
            shown = str(value).lower() if isinstance(value, bool) else value
            command += ['-p', f'{name}:={shown}']
        for name, topic in (remaps or {}).items():
            command += ['-r', f'{name}:={topic}']
        return start(*command)

    return node


class Peer:
    """A node of the test: publishes images, collects what comes back."""

    def __init__(self, context, executor, node) -> None:
        self._context = context
        self.node = node
        self._executor = executor

    def spin_until(self, condition, what: str, *processes: Process) -> None:
        """Serve callbacks until a condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                said = '\n'.join(process.output for process in processes)
                pytest.fail(f'{what} did not happen; the processes said:\n{said}')
            self._executor.spin_once(timeout_sec=0.02)

    def publish_until(self, condition, publisher, message, what: str, *processes: Process) -> None:
        """
        Publish a message, again after a while, until a condition holds.

        A node that listens with best effort may be a moment later than its publisher in knowing
        that they have found each other.
        """
        due = time.monotonic()

        def published_and_done():
            nonlocal due
            if time.monotonic() >= due:
                publisher.publish(message)
                due = time.monotonic() + AGAIN_S
            return condition()

        self.spin_until(published_and_done, what, *processes)

    def collect(self, kind, topic: str, **qos) -> list:
        """Return a list that grows by every message of a topic."""
        from rclpy.qos import QoSProfile

        messages = []
        profile = QoSProfile(**({'depth': 50} | qos))
        self.node.create_subscription(kind, topic, messages.append, profile)
        return messages

    def publisher(self, kind, topic: str, *, matched: bool = True, best_effort: bool = False):
        """Return a publisher; by default one that somebody already listens to."""
        from rclpy.qos import QoSProfile, ReliabilityPolicy

        how = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        publisher = self.node.create_publisher(kind, topic, QoSProfile(depth=10, reliability=how))
        if matched:
            self.spin_until(publisher.get_subscription_count, f'a subscription to {topic}')
        return publisher

    def diagnosed(self, pattern: str, messages: list, *processes: Process) -> dict[str, str]:
        """Wait for a diagnosis that matches; return its values."""

        def found():
            return [m for m in messages if re.search(pattern, m.status[0].message)]

        self.spin_until(found, f'a diagnosis {pattern!r}', *processes)
        return {pair.key: pair.value for pair in found()[-1].status[0].values}

    def call(self, kind, service: str, request):
        """Return the answer of a service."""
        client = self.node.create_client(kind, service)
        self.spin_until(client.service_is_ready, f'the service {service}')
        future = client.call_async(request)
        self.spin_until(future.done, f'an answer of {service}')
        self.node.destroy_client(client)
        return future.result()


@pytest.fixture
def peer(ros_domain):
    """Return a node of this process in a context of its own."""
    del ros_domain
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    rclpy.init(args=['--ros-args', '--disable-rosout-logs'], context=context)
    executor = SingleThreadedExecutor(context=context)
    node = rclpy.create_node('peer', context=context)
    executor.add_node(node)
    yield Peer(context, executor, node)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def make_image():
    """Return a function that makes images: one white pixel at (u, v) unless told otherwise."""
    pytest.importorskip('sensor_msgs', reason='sensor_msgs is not installed')
    from sensor_msgs.msg import Image

    def image(sec: int, *, u: int = 0, v: int = 0, frame_id: str = 'camera_optical', **fields):
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        pixels[v, u] = 255
        message = Image(height=HEIGHT, width=WIDTH, encoding='rgb8', step=3 * WIDTH)
        message.data = array.array('B', pixels.tobytes())
        message.header.stamp.sec, message.header.stamp.nanosec = sec, 123_456_789
        message.header.frame_id = frame_id
        for name, value in fields.items():
            setattr(message, name, value)
        return message

    return image


@pytest.fixture(scope='session')
def messages_in():
    """Count the messages of a bag: ``messages_in(path)``."""

    def count(path) -> int:
        from rosbags.rosbag2 import Reader

        with Reader(path) as reader:
            return reader.message_count

    return count
