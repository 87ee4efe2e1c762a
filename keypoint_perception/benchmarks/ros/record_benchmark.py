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
    ProcessSamples,
    Report,
    start_timeout,
)
from keypoint_perception.benchmarks.ros.node_benchmark import CameraLoad
from keypoint_perception.ros.installation import find_ros
from keypoint_perception.yaml_files import read_yaml_file

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
        samples = ProcessSamples(recorder)

        def sample(report: Report) -> None:
            samples.add()
            progress(report['seconds'], load.duration_s)

        cameras.send(label='measured', **asdict(load))
        sent = cameras.wait_for('done', sample)['sent']['recorder']
        time.sleep(ARRIVAL_S)
        samples.add()
        cpu_s = samples.cpu_s
    size_mb = sum(file.stat().st_size for file in bag.glob('*.mcap')) / 1e6
    about = read_yaml_file(bag / 'metadata.yaml')['rosbag2_bagfile_information']
    topic_counts = [json.loads(values) for values in about['custom_data'].values()]
    names = ('received', 'skipped', 'dropped', 'lost')
    counts = {name: sum(topic[name] for topic in topic_counts) for name in names}
    return {
        'load': asdict(load),
        'settings': dict(settings),
        'dds_profile': None if dds_profile is None else str(dds_profile),
        'sent': sent['images'] * load.cameras,
        'sent_hz': sent['hz'],
        'written': about['message_count'],
        **counts,
        'unseen': sent['images'] * load.cameras - counts['received'] - counts['lost'],
        'mb': size_mb,
        'mb_per_s': size_mb / (sent['images'] / sent['hz']),
        'cpu_s': cpu_s,
        'cpu_share': cpu_s / samples.seconds[-1],
        'memory_mb': {'idle': samples.memory_mb[0], 'most': max(samples.memory_mb)},
    }
