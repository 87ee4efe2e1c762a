"""
The recorder under load: messages lost and dropped, CPU time, memory.

The cameras and the recorder are two processes. What the recorder wrote is read from the bag, after
its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
import json
from pathlib import Path
import time

from keypoint_perception.benchmarks.node_benchmark import Load
from keypoint_perception.benchmarks.node_processes import patience, Processes
from keypoint_perception.ros.installation import find_ros
import yaml

LABEL = 'measured'
ARRIVAL_S = 1.5  # the last image is on its way when it has been sent


def measure_recording(
    load: Load,
    bag: Path,
    settings: Mapping[str, object],
    *,
    dds_profile: Path | None,
    progress: Callable[[float, float], None],
) -> dict:
    """
    Record images of some cameras and return what was measured.

    :param load: at a rate, not at full speed
    :param bag: directory to make, which must not exist
    :param settings: of the recorder that are not its defaults, by their names
    :param progress: called with the seconds spent so far, and all
    :return: among others ``lost``, which the middleware has told of, and ``unseen``, of which
        nobody has: images that never came, of those sent
    :raises EngineError: if a process does not start or ends early
    """
    find_ros()
    topics = [f'/camera_{number}/image' for number in range(load.cameras)]
    parameters = {'topics': json.dumps(topics), 'out': str(bag)} | dict(settings)
    arguments = [text for n, v in parameters.items() for text in ('-p', f'{n}:={v}')]
    with Processes(dds_profile) as processes:
        recorder = processes.start('recorder_node', '--ros-args', *arguments)
        cameras = processes.start('benchmark_publisher', json.dumps({'recorder': topics}))
        with patience(recorder, cameras):
            cameras.wait_for('publishing')
            cameras.tell(matched=True)
            cameras.wait_for('ready')
        began_s, began_cpu_s = time.monotonic(), recorder.cpu_s()
        idle_mb = recorder.memory_mb()
        memory_mb = [idle_mb]

        def see(report: dict) -> None:
            memory_mb.append(recorder.memory_mb())
            progress(report['seconds'], load.duration_s)

        cameras.tell(label=LABEL, **asdict(load))
        sent = cameras.wait_for('done', see)['sent']['recorder']
        time.sleep(ARRIVAL_S)
        seconds = time.monotonic() - began_s
        cpu_s = recorder.cpu_s() - began_cpu_s
        memory_mb.append(recorder.memory_mb())
    size_mb = sum(file.stat().st_size for file in bag.glob('*.mcap')) / 1e6
    counts = count_messages(bag)
    return {
        'load': asdict(load),
        'settings': dict(settings),
        'dds_profile': None if dds_profile is None else str(dds_profile),
        'sent': sent['images'] * load.cameras,
        'sent_hz': sent['hz'],
        **counts,
        'unseen': sent['images'] * load.cameras - counts['received'] - counts['lost'],
        'mb': size_mb,
        'mb_per_s': size_mb / (sent['images'] / sent['hz']),
        'cpu_s': cpu_s,
        'cpu_share': cpu_s / seconds,
        'memory_mb': {'idle': idle_mb, 'most': max(memory_mb)},
    }


def count_messages(bag: Path) -> dict[str, int]:
    """Return what a bag of the recorder says of itself: written, received, dropped and so on."""
    about = yaml.safe_load((bag / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    counts = [json.loads(told) for told in about['custom_data'].values()]
    names = ('received', 'skipped', 'dropped', 'lost')
    return {'written': about['message_count']} | {n: sum(c[n] for c in counts) for n in names}
