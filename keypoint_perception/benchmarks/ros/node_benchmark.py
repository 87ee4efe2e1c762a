"""
The perception node beside a bare rclpy node: lost images, latency, CPU time, memory.

Cameras, the two nodes and the receiver are four processes. The cameras alternate between the nodes
in blocks of images, so that both are measured in one run without disturbing each other. Latency is
the time from the image's stamp at publication to the arrival of the keypoints in the receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import groupby
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
from keypoint_perception.benchmarks.ros.latency_figures import CloudArrival, latency
from keypoint_perception.inference.engine import Engine, load_engine
from keypoint_perception.ros.installation import find_ros
import numpy as np

MODULES = {'bare': 'benchmarks.ros.bare_node', 'perception': 'ros.perception_node'}
NODES = tuple(MODULES)
# After the last image: its answer is in transit, and the node publishes diagnostics once a second.
ARRIVAL_S = 1.2
WARM_UP_FRAMES = 30
ENGINE_RUNS = 100
POLL_S = 0.2
Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class NodeSetup:
    """
    Parameters of the node, and its environment.

    :param dds_profile: Fast DDS profile of all processes; None for Fast DDS's own settings
    """

    model_dir: Path
    engine: str = 'auto'
    threads: int = 0
    dds_profile: Path | None = None
    precision: str = 'fp32'
    provider: str = 'auto'

    def load_engine(self, max_batch: int = 1) -> Engine:
        """
        Return the engine that the node uses.

        :raises PerceptionError: if the model or the engine cannot be used
        """
        options = self._engine_options()
        return load_engine(self.model_dir, options.pop('engine'), max_batch=max_batch, **options)

    def _engine_options(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in ('engine', 'threads', 'precision', 'provider')}

    def arguments(self, node: str, cameras: Sequence[str]) -> list[str]:
        """Return the command line of a node."""
        ros = ['--ros-args', '-r', f'__ns:=/benchmark/{node}']
        if node == 'bare':
            return [*cameras, *ros]
        parameters: dict[str, object] = {
            'model': self.model_dir.resolve(),
            'silence_timeout': 3600.0,
            **self._engine_options(),
        }
        if cameras:
            parameters['cameras'] = f'[{", ".join(cameras)}]'
        return [*ros, *(part for n, v in parameters.items() for part in ('-p', f'{n}:={v}'))]

    def describe(self) -> dict[str, Any]:
        """Return the setup for the results."""
        profile = None if self.dds_profile is None else str(self.dds_profile)
        return {**self._engine_options(), 'dds_profile': profile}


@dataclass(frozen=True)
class CameraLoad:
    """
    The images that the cameras send.

    :param hz: images a second from each camera; 0 for full speed
    :param frames: images from each camera to each node, unless at full speed; 0 for ``seconds``
    :param seconds: duration for each node, at full speed
    :param block: consecutive images to one node, unless at full speed
    :param block_s: consecutive seconds for one node, at full speed
    """

    hz: float = 30.0
    height: int = 480
    width: int = 640
    cameras: int = 1
    frames: int = 300
    seconds: float = 10.0
    block: int = 50
    block_s: float = 1.0

    @property
    def duration_s(self) -> float:
        """Return approximately how long one node is measured."""
        return self.frames / self.hz if self.hz and self.frames else self.seconds

    def lasting(self, seconds: float) -> CameraLoad:
        """Return the same load with another duration for each node."""
        return replace(self, seconds=seconds, frames=max(1, round(self.hz * seconds)))


def measure_node(
    setup: NodeSetup, loads: Sequence[CameraLoad], *, progress: Progress
) -> dict[str, Any]:
    """
    Run the benchmark and return one case for each load.

    :param loads: those of the same number of cameras in succession
    :param progress: called with the seconds spent so far and their total
    :raises EngineError: if a process does not start or ends early
    """
    find_ros()
    total_s = sum(len(NODES) * load.duration_s for load in loads)
    done_s, cases = 0.0, []
    engine_ms = measure_engine(setup, sorted({load.cameras for load in loads}))
    for cameras, group in groupby(loads, key=lambda load: load.cameras):
        with ChildProcesses(setup.dds_profile) as processes:
            rig = NodeRig(processes, setup, cameras, NODES)
            rig.wait_until_ready()
            for load in group:

                def spent(spent_s: float, done_s: float = done_s) -> None:
                    progress(done_s + spent_s, total_s)

                case = rig.measure(load, spent)
                cases.append(case | compare(case, engine_ms[cameras]))
                done_s += len(NODES) * load.duration_s
                progress(done_s, total_s)
    return {**setup.describe(), 'cases': cases}


def measure_engine(setup: NodeSetup, batches: Sequence[int]) -> dict[int, float]:
    """Return the p50 of the engine alone by batch size, ms."""
    p50_ms = {}
    with closing(setup.load_engine(max(batches))) as engine:
        for batch in batches:
            shape = (batch, *engine.input_hw, 3)
            noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
            spent_s: list[float] = []  # 100 runs, or as many as fit in 2 s
            while len(spent_s) < ENGINE_RUNS and (len(spent_s) < 10 or sum(spent_s) < 2):
                started_s = time.perf_counter()
                engine.run(noise)
                spent_s.append(time.perf_counter() - started_s)
            p50_ms[batch] = float(np.median(spent_s)) * 1e3
    return p50_ms


class NodeRig:
    """Nodes under test with their cameras and receiver, which may ignore the keypoints."""

    def __init__(
        self,
        processes: ChildProcesses,
        setup: NodeSetup,
        cameras: int,
        nodes: Sequence[str],
        *,
        receive: bool = True,
    ) -> None:
        names = [f'camera{i}' for i in range(cameras)] if cameras > 1 else []
        prefixes = [f'{name}/' for name in names] or ['']
        self._nodes = {
            node: processes.start(MODULES[node], *setup.arguments(node, names)) for node in nodes
        }
        self._clouds = {
            node: [f'/benchmark/{node}/{node}_node/{p}keypoints' for p in prefixes]
            for node in nodes
        }
        self._received: dict[str, list[CloudArrival]] = {}
        images = {node: [f'/benchmark/{node}/{p}image' for p in prefixes] for node in nodes}
        topics = [topic for node in nodes for topic in self._clouds[node]] if receive else []
        self._receiver = processes.start('benchmarks.ros.cloud_receiver', *topics)
        self._publisher = processes.start('benchmarks.ros.image_publisher', json.dumps(images))

    def wait_until_ready(self, *, matched: bool = True) -> None:
        """Wait until the node has its engine, and the images have subscribers if ``matched``."""
        with start_timeout(self._publisher, self._receiver):
            self._receiver.wait_for('ready')
            self._publisher.wait_for('publishing')
            self._publisher.send(matched=matched)
            self._publisher.wait_for('ready')
            while not self._collect()['diagnostics'].get('engine'):
                time.sleep(POLL_S)

    def _collect(self) -> Report:
        """Return what the receiver has received since the last time."""
        self._receiver.send()
        return self._receiver.wait_for('arrived')

    def received(self, node: str) -> list[list[CloudArrival]]:
        """Return the clouds of the last load by camera."""
        return [self._received.get(topic, []) for topic in self._clouds[node]]

    def measure(
        self, load: CameraLoad, spent: Callable[[float], None] = lambda seconds: None
    ) -> dict[str, Any]:
        """Send a load and return the figures of each node."""
        warm_up = asdict(load) | {'frames': WARM_UP_FRAMES, 'block': WARM_UP_FRAMES}
        warm_up['seconds'] = warm_up['block_s'] = min(1.0, load.block_s)
        self._publisher.send(label='warm-up', **warm_up)
        self._publisher.wait_for('done')
        everyone = {**self._nodes, 'publisher': self._publisher, 'receiver': self._receiver}
        samples = {name: ProcessSamples(process) for name, process in everyone.items()}

        def sample(report: Report | None = None) -> None:
            if report:
                spent(report['seconds'])
            for each in samples.values():
                each.add()

        self._publisher.send(label='measured', **asdict(load))
        done = self._publisher.wait_for('done', sample)
        time.sleep(ARRIVAL_S)
        sample()
        collected = self._collect()
        self._received = {
            topic: [CloudArrival(*cloud) for cloud in clouds if cloud[0] == 'measured']
            for topic, clouds in collected['clouds'].items()
        }
        case = {
            'image': f'{load.width}x{load.height} rgb8',
            'hz': load.hz or None,
            'cameras': load.cameras,
            'subscriptions': done['subscriptions'],
        }
        for name in self._nodes:
            case[name] = self._figures(name, done['sent'][name], load.cameras, samples[name])
        for name in ('publisher', 'receiver'):
            case[name] = {'cpu_s': samples[name].cpu_s}
        engine_ms = collected['diagnostics'].get('engine time p50 (ms)')
        case['engine_in_node_ms'] = None if engine_ms in (None, 'nan') else float(engine_ms)
        return case

    def _figures(
        self, node: str, sent: dict[str, float], cameras: int, samples: ProcessSamples
    ) -> dict[str, Any]:
        clouds = [cloud for camera in self.received(node) for cloud in camera]
        clouds.sort(key=lambda cloud: cloud.arrived_ns)
        images = int(sent['images']) * cameras
        cpu_s = samples.cpu_s
        return {
            'sent': images,
            'sent_hz': round(sent['hz'], 1),
            'received': len(clouds),
            'lost': images - len(clouds),
            'seconds': round(samples.seconds[-1], 2),
            **latency(clouds),
            'cpu_s': cpu_s,
            'cpu_ms_per_answer': round(1e3 * cpu_s / len(clouds), 2) if clouds else None,
            'memory_mb': samples.memory(),
        }


def compare(case: dict[str, Any], engine_ms: float) -> dict[str, float | None]:
    """Return by how much the node's p50 exceeds the bare node's, and that without the engine."""
    perception, bare = (case[name]['latency_ms']['p50'] for name in ('perception', 'bare'))
    above_ms = None if None in (perception, bare) else round(perception - bare, 3)
    beyond_ms = None if above_ms is None else round(above_ms - engine_ms, 3)
    engine_ms = round(engine_ms, 3)
    return {'engine_ms': engine_ms, 'above_bare_ms': above_ms, 'beyond_engine_ms': beyond_ms}
