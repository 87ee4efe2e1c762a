"""
``kill -9`` at any moment of extract, train, export and record.

What was written must be whole, and a second run must end with the same result as one that was not
killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
import os
from pathlib import Path
from random import Random
import re
import shutil
import subprocess
import sys
import tempfile
import time

from torture.campaign import Tally

ROOT = Path(__file__).parents[1]
ARM = ROOT / 'demo' / 'arm'
NETWORK = 'checkpoint/network.safetensors'
TRAIN = ('--steps', '24', '--size', '64', '--keypoints', '3')
SETTINGS = 'width: 8\nbatch_size: 4\nthreads: 1\npicture_every_s: 0.2\n'
RECORD_S = 6.0
MOST_LOST_S = 1.0


@dataclass
class Verb:
    """
    A command that is killed.

    :param first: returns its arguments for an output directory
    :param again: returns those that complete it
    :param result: returns a digest of what it wrote
    :param model: whether it changes a model directory, of which a copy is put there first
    """

    name: str
    first: Callable[[Path], list[object]]
    again: Callable[[Path], list[object]]
    result: Callable[[Path], str]
    model: Path | None = None


def kill_verbs(directory: Path, cases: int, seed: int) -> Iterator[Tally]:
    """Kill each verb as often as ``cases``, and yield what came of it."""
    settings = directory / 'settings.yaml'
    settings.write_text(SETTINGS)
    train = ['train', ARM, *TRAIN, '--config', settings, '--out']
    model = directory / 'model'
    _run([*train, model])

    def resume(out: Path) -> list[object]:
        return [*train, out, *(['--resume'] if (out / 'checkpoint').is_dir() else [])]

    def extract(out: Path) -> list[object]:
        return ['extract', ARM, '--size', '64', '--out', out]

    for verb in (
        Verb('extract', extract, extract, _digest_of('images.bin', 'index.bin')),
        Verb('train', lambda out: [*train, out], resume, _digest_of(NETWORK)),
        Verb('export', lambda out: ['export', out], lambda out: ['export', out],
             _digest_of('keypointer.onnx'), model),
    ):  # fmt: skip
        yield _kill_verb(verb, directory / verb.name, cases, seed)
    yield kill_recorder(directory / 'record', cases, seed)


def _kill_verb(verb: Verb, place: Path, cases: int, seed: int) -> Tally:
    tally, chance = Tally(f'kill {verb.name}'), Random(f'{seed}/{verb.name}')
    place.mkdir()
    _prepare(verb, whole := place / 'whole')
    began = time.monotonic()
    _run(verb.first(whole))
    duration, expected = time.monotonic() - began, verb.result(whole)
    for number in range(cases):
        _prepare(verb, out := place / 'killed')
        process = subprocess.Popen(
            _command(verb.first(out)), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0, duration))
        process.kill()
        process.wait()
        kinds = {'cases'}
        if verb.model and not _is_whole_model(out):
            kinds.add('lost')
        again = _run(verb.again(out), check=False)
        if again.returncode or verb.result(out) != expected:
            kinds.add('wrong')
            tally.examples.append(f'{tally.name} {number}: {again.stderr[-300:]}')
        tally.counts.update(kinds)
        shutil.rmtree(out)
    return tally


def kill_recorder(place: Path, cases: int, seed: int) -> Tally:
    """Kill recorders of a topic of numbered images, which must be there without a gap."""
    tally, chance = Tally('kill record'), Random(f'{seed}/record')
    place.mkdir()
    environment = os.environ | {'ROS_DOMAIN_ID': '77'}
    publisher = subprocess.Popen([sys.executable, '-c', PUBLISHER], cwd=ROOT, env=environment)
    try:
        for number in range(cases):
            out = place / str(number)
            options = ['--compression', chance.choice(['none', 'zstd']), '--disk-floor', '0']
            command = _command(['record', '--topic', '/numbers', '--out', out, *options])
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(chance.uniform(0.3, RECORD_S))
            process.kill()
            killed_ns = time.time_ns()
            process.wait()
            tally.counts.update({'cases', *_judge_bag(out, killed_ns, tally)})
    finally:
        publisher.kill()
        publisher.wait()
    return tally


def _judge_bag(bag: Path, killed_ns: int, tally: Tally) -> set[str]:
    """Return the faults of a bag whose recorder was killed; the tally keeps the longest loss."""
    from keypoint_perception.cdr import read_stamp_ns
    from keypoint_perception.frames.source import open_recording
    from rosbags.rosbag2 import Reader

    if not bag.is_dir():
        return set()
    with Reader(bag) as reader:
        data = [message for _, _, message in reader.messages()]
    if not data:
        return set()
    counted = open_recording(bag).count(['/numbers'])
    numbers = [int(re.search(rb'(\d+)\0', message[12:40])[1]) for message in data]
    tally.seconds = max(tally.seconds, lost_s := (killed_ns - read_stamp_ns(data[-1])) / 1e9)
    gap = numbers != list(range(numbers[0], numbers[0] + len(numbers)))
    kinds = {'lost'} if lost_s > MOST_LOST_S else set()
    if gap or (counted or 0) > len(data):
        kinds.add('wrong')
    if kinds:
        told = f'{len(data)} of {counted} images, the last {lost_s:.2f} s before the end'
        tally.examples.append(f'{bag.name}: {told}, {"a gap" if gap else "no gap"}')
    return kinds


PUBLISHER = """
from keypoint_perception.ros.installation import find_ros
find_ros()
import array
import rclpy
from sensor_msgs.msg import Image

rclpy.init()
node = rclpy.create_node('numbers')
publisher = node.create_publisher(Image, '/numbers', 10)
image = Image(height=100, width=100, encoding='rgb8', step=300)
image.data = array.array('B', bytes(30000))
number = 0

def publish():
    global number
    number += 1
    image.header.frame_id = str(number)
    image.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(image)

node.create_timer(0.02, publish)
rclpy.spin(node)
"""


def _prepare(verb: Verb, out: Path) -> None:
    if verb.model is not None:
        shutil.copytree(verb.model, out)


def _is_whole_model(model: Path) -> bool:
    from keypoint_perception.errors import ModelError
    from keypoint_perception.manifest import read_manifest

    try:
        read_manifest(model)
    except ModelError:
        return False
    return True


def _digest_of(*names: str) -> Callable[[Path], str]:
    def digest(place: Path) -> str:
        files = [place / name for name in names]
        there = b''.join(file.read_bytes() for file in files if file.is_file())
        return sha256(there).hexdigest()

    return digest


def _command(arguments: list[object]) -> list[str]:
    return [sys.executable, '-m', 'keypoint_perception', *map(str, arguments)]


def _run(arguments: list[object], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as cwd:
        environment = os.environ | {'PYTHONPATH': str(ROOT)}
        return subprocess.run(
            _command(arguments),
            check=check,
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment,
        )
