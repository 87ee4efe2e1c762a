"""The idle node, and the node under ten times the load that its engine can handle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keypoint_perception.benchmarks.ros.child_processes import ChildProcesses
from keypoint_perception.benchmarks.ros.latency_figures import newest_ages_ms, percentiles
from keypoint_perception.benchmarks.ros.node_benchmark import (
    CameraLoad,
    measure_engine,
    NodeRig,
    NodeSetup,
    Progress,
)
from keypoint_perception.ros.installation import find_ros

OVERLOAD = 10.0
MS_PER_S = 1e3


def measure_idle(setup: NodeSetup, load: CameraLoad, *, progress: Progress) -> dict[str, Any]:
    """
    Return the cost of the node while cameras send and nobody subscribes to its keypoints.

    :raises EngineError: if a process does not start or ends early
    """
    find_ros()
    with ChildProcesses(setup.dds_profile) as processes:
        rig = NodeRig(processes, setup, load.cameras, ['perception'], receive=False)
        rig.wait_until_ready(matched=False)
        single_block = replace(load, block=load.frames)
        case = rig.measure(single_block, lambda seconds: progress(seconds, load.duration_s))
    progress(load.duration_s, load.duration_s)
    node = case['perception']
    return {
        **setup.describe(),
        'idle': {
            **{name: case[name] for name in ('image', 'hz', 'cameras')},
            'images_sent': node['sent'],
            'subscriptions': case['subscriptions'],
            'seconds': node['seconds'],
            'cpu_percent_of_a_core': round(100 * node['cpu_s'] / node['seconds'], 2),
            'memory_mb': node['memory_mb'],
        },
    }


def measure_overload(
    setup: NodeSetup, load: CameraLoad, seconds: float, *, progress: Progress
) -> dict[str, Any]:
    """
    Return the age of keypoints while cameras send ten times what the engine can answer.

    :param load: specifies the image size and the number of cameras
    :raises EngineError: if a process does not start or ends early
    """
    find_ros()
    engine_ms = measure_engine(setup, [load.cameras])[load.cameras]
    hz = OVERLOAD * MS_PER_S / engine_ms
    with ChildProcesses(setup.dds_profile) as processes:
        rig = NodeRig(processes, setup, load.cameras, ['perception'])
        rig.wait_until_ready()
        overload = replace(load, hz=hz, frames=0, seconds=seconds, block_s=seconds)
        case = rig.measure(overload, lambda spent: progress(min(spent, seconds), seconds))
        progress(seconds, seconds)
        ages_ms = [age for clouds in rig.received('perception') for age in newest_ages_ms(clouds)]
    node = case['perception']
    ages = {'newest_age': percentiles(ages_ms), 'latency': node['latency_ms']}
    in_engine_times = {
        f'{age}_in_engine_times': {n: ms and round(ms / engine_ms, 2) for n, ms in figures.items()}
        for age, figures in ages.items()
    }
    return {
        **setup.describe(),
        'overload': {
            'image': case['image'],
            'cameras': load.cameras,
            'engine_ms': round(engine_ms, 3),
            'engine_in_node_ms': case['engine_in_node_ms'],
            'sent_hz': node['sent_hz'],
            'sent_per_engine_time': round(node['sent_hz'] * engine_ms / MS_PER_S, 2),
            **{name: node[name] for name in ('seconds', 'sent', 'received', 'latency_ms')},
            'newest_age_ms': ages['newest_age'],
            **in_engine_times,
            'latency_growth_ms_per_min': node['latency_growth_ms_per_min'],
            'memory_mb': node['memory_mb'],
        },
    }
