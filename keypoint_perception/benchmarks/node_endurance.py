"""The node at rest, and the node with far more images than its engine can answer."""

from __future__ import annotations

from dataclasses import replace

from keypoint_perception.benchmarks.latency_figures import newest_ages_ms, spread
from keypoint_perception.benchmarks.node_benchmark import (
    describe,
    Load,
    measure_engine,
    Progress,
    Setup,
    Stage,
)
from keypoint_perception.benchmarks.node_processes import Processes
from keypoint_perception.ros.installation import find_ros

OVERLOAD = 10.0
MS_PER_S = 1e3


def measure_idle(setup: Setup, load: Load, *, progress: Progress) -> dict:
    """
    Return what the node costs while cameras send and nobody listens to its keypoints.

    :raises EngineError: if a process does not start or ends early
    """
    find_ros()
    with Processes(setup.dds_profile) as processes:
        stage = Stage(processes, setup, load.cameras, ['perception'], heard=False)
        stage.wait_until_loaded()
        whole = replace(load, block=load.frames)
        case = stage.measure(whole, lambda seconds: progress(seconds, load.duration_s))
    progress(load.duration_s, load.duration_s)
    node = case['perception']
    return {
        **describe(setup),
        'idle': {
            **{name: case[name] for name in ('image', 'hz', 'cameras')},
            'images_sent': node['sent'],
            'subscriptions': case['subscriptions'],
            'seconds': node['seconds'],
            'cpu_percent_of_a_core': round(100 * node['cpu_s'] / node['seconds'], 2),
            'memory_mb': node['memory_mb'],
        },
    }


def measure_overload(setup: Setup, load: Load, seconds: float, *, progress: Progress) -> dict:
    """
    Return how old keypoints become while cameras send ten times what the engine can answer.

    :param load: its size and cameras
    :param seconds: for how long
    :raises EngineError: if a process does not start or ends early
    """
    find_ros()
    engine_ms = measure_engine(setup, [load.cameras])[load.cameras]
    hz = OVERLOAD * MS_PER_S / engine_ms
    with Processes(setup.dds_profile) as processes:
        stage = Stage(processes, setup, load.cameras, ['perception'])
        stage.wait_until_matched()
        many = replace(load, hz=hz, frames=0, seconds=seconds, block_s=seconds)
        case = stage.measure(many, lambda spent: progress(min(spent, seconds), seconds))
        progress(seconds, seconds)
        ages_ms = [age for camera in stage.by_camera() for age in newest_ages_ms(camera)]
    node = case['perception']
    newest = spread(ages_ms)

    def in_engine_times(figures: dict) -> dict:
        return {n: None if ms is None else round(ms / engine_ms, 2) for n, ms in figures.items()}

    return {
        **describe(setup),
        'overload': {
            'image': case['image'],
            'cameras': load.cameras,
            'engine_ms': round(engine_ms, 3),
            'engine_in_node_ms': case['engine_in_node_ms'],
            'sent_hz': node['sent_hz'],
            'sent_per_engine_time': round(node['sent_hz'] * engine_ms / MS_PER_S, 2),
            **{name: node[name] for name in ('seconds', 'sent', 'received', 'latency_ms')},
            'newest_age_ms': newest,
            'newest_age_in_engine_times': in_engine_times(newest),
            'latency_in_engine_times': in_engine_times(node['latency_ms']),
            'latency_growth_ms_per_min': node['latency_growth_ms_per_min'],
            'memory_mb': node['memory_mb'],
        },
    }
