"""
The node beside a bare rclpy node: images received, latency, CPU time.

Four processes: a camera, the two nodes, and a receiver. The camera sends blocks of images to one
node and then to the other, so that both are measured in one run and neither disturbs the other.
Latency is from the image's stamp at publication to the keypoints' arrival in the receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import json
import os
from pathlib import Path
import random
import subprocess
import sys
import threading
import time

from keypoint_perception.errors import EngineError
from keypoint_perception.ros.installation import DDS_PROFILE_VARIABLES, find_ros
import numpy as np

NODES = ('bare', 'perception')
IMAGE_TOPIC = '/benchmark/{}/image'
CLOUD_TOPIC = '/benchmark/{}/keypoints'
START_PATIENCE_S = 60.0
# The last answers are on their way when the last image has been sent.
ARRIVAL_S = 1.0


@dataclass(frozen=True)
class Load:
    """
    What the camera sends.

    :param frames: images to each node
    :param warm_up: images to each node before
    :param block: images in a row to one node
    """

    frames: int = 300
    hz: float = 30.0
    height: int = 480
    width: int = 640
    warm_up: int = 30
    block: int = 50


def measure_node(
    model_dir: Path,
    load: Load,
    *,
    engine: str = 'auto',
    threads: int = 0,
    dds_profile: Path | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """
    Run the benchmark and return what was measured.

    :param dds_profile: Fast DDS profile for all processes; None for Fast DDS's own settings
    :param progress: called with the images sent so far and all to be sent
    :raises EngineError: if a process does not start or ends early
    """
    find_ros()
    environment = isolated(dds_profile)
    with ExitStack() as processes:

        def start(module: str, *arguments: object) -> Child:
            return processes.enter_context(child(module, arguments, environment))

        nodes = {
            'bare': start('bare_node', *remapped('bare')),
            'perception': start(
                'perception_node',
                *remapped('perception'),
                *('-p', f'model:={Path(model_dir).resolve()}'),
                *('-p', f'engine:={engine}', '-p', f'threads:={threads}'),
                *('-p', 'silence_timeout:=60.0'),  # it waits for its turn
            ),
        }
        receiver = start('benchmark_receiver', *(CLOUD_TOPIC.format(n) for n in NODES))
        publisher = start('benchmark_publisher', *publisher_arguments(load))
        with patience(publisher, receiver):
            receiver.wait_for('ready')
            publisher.wait_for('ready')
        everyone = nodes | {'receiver': receiver, 'publisher': publisher}
        publisher.write('go')
        publisher.wait_for('warm-up done')
        before = {name: process.cpu_s() for name, process in everyone.items()}
        total = load.frames * len(NODES)
        publisher.wait_for('measured done', lambda line: report(line, total, progress))
        time.sleep(ARRIVAL_S)
        cpu_s = {name: p.cpu_s() - before[name] for name, p in everyone.items()}
        latencies_ms = json.loads(receiver.finish())
    return {
        'frames': load.frames,
        'hz': load.hz,
        'image': f'{load.width}x{load.height} rgb8',
        'dds_profile': None if dds_profile is None else str(dds_profile),
        **{n: summary(latencies_ms[CLOUD_TOPIC.format(n)], cpu_s[n]) for n in NODES},
        'publisher': {'cpu_s': round(cpu_s['publisher'], 2)},
        'receiver': {'cpu_s': round(cpu_s['receiver'], 2)},
    }


def isolated(dds_profile: Path | None) -> dict[str, str]:
    """Return an environment in which no robot hears the benchmark."""
    environment = os.environ | {
        'ROS_DOMAIN_ID': str(random.SystemRandom().randint(1, 101)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    for variable in DDS_PROFILE_VARIABLES:
        environment.pop(variable, None)
        if dds_profile is not None:
            environment[variable] = str(Path(dds_profile).resolve())
    return environment


def remapped(node: str) -> list[str]:
    """Return the arguments that give a node its topics."""
    image, cloud = IMAGE_TOPIC.format(node), CLOUD_TOPIC.format(node)
    return ['--ros-args', '-r', f'image:={image}', '-r', f'~/keypoints:={cloud}']


def publisher_arguments(load: Load) -> list[object]:
    """Return the camera's command line."""
    topics = [IMAGE_TOPIC.format(node) for node in NODES]
    size = ['--height', load.height, '--width', load.width]
    count = ['--frames', load.frames, '--warm-up', load.warm_up, '--block', load.block]
    return [*topics, *count, *size, '--hz', load.hz]


def report(line: str, total: int, progress: Callable[[int, int], None]) -> None:
    """Tell how many images are sent."""
    what, _, number = line.partition(' ')
    if what == 'sent':
        progress(int(number), total)


def summary(latencies_ms: list[float], cpu_s: float) -> dict:
    """Return one node's figures."""
    figures = np.percentile(latencies_ms, (50, 95, 99)) if latencies_ms else [float('nan')] * 3
    shown = {f'p{p}': round(float(f), 3) for p, f in zip((50, 95, 99), figures, strict=True)}
    return {'received': len(latencies_ms), 'latency_ms': shown, 'cpu_s': round(cpu_s, 2)}


class Child:
    """A process of the benchmark."""

    def __init__(self, name: str, process: subprocess.Popen) -> None:
        self._name = name
        self._process = process

    def wait_for(self, expected: str, seen: Callable[[str], None] = lambda line: None) -> None:
        """
        Read lines until the expected one.

        :raises EngineError: if the process ends before
        """
        for line in self._process.stdout:
            if line.strip() == expected:
                return
            seen(line.strip())
        self._fail()

    def _fail(self) -> None:
        msg = (
            f'The process {self._name} of the benchmark ended with {self._process.wait()} before '
            'its work was done; see what the processes said above.'
        )
        raise EngineError(msg)

    def end(self) -> None:
        """Tell the process to end."""
        self._process.terminate()

    def write(self, line: str) -> None:
        """Send a line."""
        self._process.stdin.write(line + '\n')
        self._process.stdin.flush()

    def finish(self) -> str:
        """End the process's input and return what it still says."""
        self._process.stdin.close()
        return self._process.stdout.read()

    def cpu_s(self) -> float:
        """Return the CPU time used so far (Linux)."""
        if self._process.poll() is not None:
            self._fail()
        stat = Path(f'/proc/{self._process.pid}/stat').read_text()
        user, system = stat.rpartition(')')[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')


@contextmanager
def patience(*processes: Child) -> Iterator[None]:
    """End processes that wait for others for too long, so that who waits for them learns it."""
    timer = threading.Timer(START_PATIENCE_S, lambda: [process.end() for process in processes])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def child(module: str, arguments: tuple, environment: dict[str, str]) -> Iterator[Child]:
    """Run a module of this room as a process that ends with the block."""
    command = [sys.executable, '-m', f'keypoint_perception.ros.{module}', *map(str, arguments)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
    try:
        yield Child(module, process)
    finally:
        process.stdin.close()  # the publisher waits for it, and ROS keeps signals to itself
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
