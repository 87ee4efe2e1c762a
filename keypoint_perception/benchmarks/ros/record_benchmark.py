"""
The recorder under load: lost and dropped messages, CPU time, memory.

Cameras and recorder are two processes. The recorder's counts are read from its finished bag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
import json
from pathlib import Path
import time
from typing import Any

from keypoint_perception.benchmarks.ros.child_processes import (
    ChildProcesses,
    Report,
    start_timeout,
)
from keypoint_perception.benchmarks.ros.node_benchmark import CameraLoad
from keypoint_perception.ros.installation import find_ros
import yaml

ARRIVAL_S = 1.5  # the last image is in transit when it has been sent


def measure_recording(
    load: CameraLoad,
    bag: Path,
    settings: Mapping[str, object],
    *,
    dds_profile: Path | None,
    progress: Callable[[float, float], None],
) -> dict[str, Any]:
    """
    Record the images of some cameras and return the measurements.

    :param load: at a fixed rate
    :param bag: directory to create
    :param settings: recorder settings that differ from their defaults
    :param progress: called with the seconds spent so far and their total
    :return: includes ``lost``, images that the middleware reported as lost, and ``unseen``, images
        that were sent but neither received nor reported
    :raises EngineError: if a process does not start or ends early
    """
    find_ros()
    topics = [f'/camera_{number}/image' for number in range(load.cameras)]
    parameters = {'topics': json.dumps(topics), 'out': str(bag), **settings}
    arguments = [text for n, v in parameters.items() for text in ('-p', f'{n}:={v}')]
    with ChildProcesses(dds_profile) as processes:
        recorder = processes.start('ros.recorder_node', '--ros-args', *arguments)
        cameras = processes.start(
            'benchmarks.ros.image_publisher', json.dumps({'recorder': topics})
        )
        with start_timeout(recorder, cameras):
            cameras.wait_for('publishing')
            cameras.send(matched=True)
            cameras.wait_for('ready')
        started_s, started_cpu_s = time.monotonic(), recorder.cpu_s()
        idle_mb = recorder.memory_mb()
        memory_mb = [idle_mb]

        def sample(report: Report) -> None:
            memory_mb.append(recorder.memory_mb())
            progress(report['seconds'], load.duration_s)

        cameras.send(label='measured', **asdict(load))
        sent = cameras.wait_for('done', sample)['sent']['recorder']
        time.sleep(ARRIVAL_S)
        seconds = time.monotonic() - started_s
        cpu_s = recorder.cpu_s() - started_cpu_s
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
    """Return the recorder's own counts from its bag: written, received, skipped and so on."""
    about = yaml.safe_load((bag / 'metadata.yaml').read_text())['rosbag2_bagfile_information']
    counts = [json.loads(values) for values in about['custom_data'].values()]
    names = ('received', 'skipped', 'dropped', 'lost')
    return {'written': about['message_count']} | {n: sum(c[n] for c in counts) for n in names}
