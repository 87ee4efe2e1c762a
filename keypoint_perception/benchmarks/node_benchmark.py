"""
The node beside a bare rclpy node: images lost, latency, CPU time, memory.

The cameras, the two nodes and the receiver are four processes. The cameras send blocks of images
to one node and then to the other, so that both are measured in one run and neither disturbs the
other. Latency is from the image's stamp at publication to the keypoints' arrival in the receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
import json
from pathlib import Path
import time

from keypoint_perception.benchmarks.latency_figures import latency
from keypoint_perception.benchmarks.node_processes import Child, patience, Processes, Samples
from keypoint_perception.inference.engine import load_engine
from keypoint_perception.ros.installation import find_ros
import numpy as np

NODES = ('bare', 'perception')
MODULES = {'bare': 'bare_node', 'perception': 'perception_node'}
# The last answers are on their way when the last image has been sent, and the node tells of
# itself once a second.
ARRIVAL_S = 1.2
WARM_UP_FRAMES = 30
ENGINE_RUNS = 100
POLL_S = 0.2
Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Setup:
    """
    What is measured: the node's own parameters, and its surroundings.

    :param dds_profile: Fast DDS profile for all processes; None for Fast DDS's own settings
    """

    model_dir: Path
    engine: str = 'auto'
    threads: int = 0
    dds_profile: Path | None = None
    precision: str = 'fp32'
    provider: str = 'auto'

    @property
    def choices(self) -> dict[str, str | int]:
        """Return what the engine is chosen by, as the node and the engine's loader name it."""
        return {
            'threads': self.threads,
            'precision': self.precision,
            'provider': self.provider,
        }

    def load_engine(self, max_batch: int = 1):
        """
        Return the engine that the node has.

        :raises PerceptionError: if the model or the engine cannot be used
        """
        return load_engine(self.model_dir, self.engine, max_batch=max_batch, **self.choices)


@dataclass(frozen=True)
class Load:
    """
    What the cameras send.

    :param hz: images a second from each camera, 0 for as many as they can
    :param frames: images from each camera to each node, at a rate; 0 for ``seconds`` of them
    :param seconds: for how long to each node, at full speed
    :param block: images in a row to one node, at a rate
    :param block_s: seconds in a row to one node, at full speed
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
        """Return about how long one node is measured."""
        return self.frames / self.hz if self.hz and self.frames else self.seconds

    def lasting(self, seconds: float) -> Load:
        """Return the same for so many seconds to each node."""
        frames = max(1, round(self.hz * seconds))
        return replace(self, seconds=seconds, frames=frames)


def measure_node(setup: Setup, loads: Sequence[Load], *, progress: Progress) -> dict:
    """
    Run the benchmark and return what was measured, a case for each load.

    :param progress: called with the seconds spent so far, and all
    :raises EngineError: if a process does not start or ends early
    """
    find_ros()
    total_s = sum(len(NODES) * load.duration_s for load in loads)
    done_s, cases = 0.0, []
    engine_ms = measure_engine(setup, sorted({load.cameras for load in loads}))
    for cameras, group in groupby(loads, key=lambda load: load.cameras):
        with Processes(setup.dds_profile) as processes:
            stage = Stage(processes, setup, cameras, NODES)
            stage.wait_until_matched()
            for load in group:
                case = stage.measure(load, lambda s, done_s=done_s: progress(done_s + s, total_s))
                cases.append(case | compare(case, engine_ms[cameras]))
                done_s += len(NODES) * load.duration_s
                progress(done_s, total_s)
    return {**describe(setup), 'cases': cases}


def describe(setup: Setup) -> dict:
    """Return what was measured, for the record."""
    profile = None if setup.dds_profile is None else str(setup.dds_profile)
    return {'engine': setup.engine, **setup.choices, 'dds_profile': profile}


def measure_engine(setup: Setup, counts: Sequence[int]) -> dict[int, float]:
    """Return the engine's own p50 for so many images at once, ms, with nothing else at work."""
    engine = setup.load_engine(max(counts))
    try:
        return {count: engine_p50_ms(engine, count) for count in counts}
    finally:
        engine.close()


def engine_p50_ms(engine, count: int) -> float:
    """Return the median time of a batch, of a hundred runs or what two seconds hold."""
    noise = np.random.default_rng(0).integers(0, 256, (count, *engine.input_hw, 3), np.uint8)
    spent_s: list[float] = []
    while len(spent_s) < ENGINE_RUNS and (len(spent_s) < 10 or sum(spent_s) < 2):
        began_s = time.perf_counter()
        engine.run(noise)
        spent_s.append(time.perf_counter() - began_s)
    return float(np.median(spent_s)) * 1e3


class Stage:
    """
    The processes of some nodes, and what they need to be measured.

    :param cameras: how many each node listens to
    :param heard: whether somebody listens to the keypoints
    """

    def __init__(
        self,
        processes: Processes,
        setup: Setup,
        cameras: int,
        nodes: Sequence[str],
        *,
        heard: bool = True,
    ) -> None:
        names = [f'camera{i}' for i in range(cameras)] if cameras > 1 else []
        prefixes = [f'{name}/' for name in names] or ['']
        self._nodes = {
            node: processes.start(MODULES[node], *arguments(node, names, setup)) for node in nodes
        }
        self._clouds = {
            node: [f'/benchmark/{node}/{MODULES[node]}/{p}keypoints' for p in prefixes]
            for node in nodes
        }
        self._received: dict[str, list[tuple[str, int, int]]] = {}
        images = {node: [f'/benchmark/{node}/{p}image' for p in prefixes] for node in nodes}
        topics = [topic for node in nodes for topic in self._clouds[node]] if heard else []
        self._receiver = processes.start('benchmark_receiver', *topics)
        self._publisher = processes.start('benchmark_publisher', json.dumps(images))

    def wait_until_matched(self) -> None:
        """Wait until everyone has found everyone."""
        self._wait(matched=True)

    def wait_until_loaded(self) -> None:
        """Wait until the node has its engine; for images that nobody asks for."""
        self._wait(matched=False)

    def _wait(self, *, matched: bool) -> None:
        with patience(self._publisher, self._receiver):
            self._receiver.wait_for('ready')
            self._publisher.wait_for('publishing')
            self._publisher.tell(matched=matched)
            self._publisher.wait_for('ready')
            while not self.arrived()['diagnostics'].get('engine'):
                time.sleep(POLL_S)

    def arrived(self) -> dict:
        """Return what the receiver has received since the last time."""
        self._receiver.tell()
        return self._receiver.wait_for('arrived')

    def by_camera(self, node: str = 'perception') -> list[list[tuple[str, int, int]]]:
        """Return label, stamp and arrival, ns, of what came back from the last load."""
        return [self._received.get(topic, []) for topic in self._clouds[node]]

    def measure(self, load: Load, spent: Callable[[float], None] = lambda seconds: None) -> dict:
        """Send a load and return what each node made of it."""
        warm_up = asdict(load) | {'frames': WARM_UP_FRAMES, 'block': WARM_UP_FRAMES}
        warm_up['seconds'] = warm_up['block_s'] = min(1.0, load.block_s)
        self._publisher.tell(label='warm-up', **warm_up)
        self._publisher.wait_for('done')
        samples = {name: Samples(node) for name, node in self._everyone()}

        def sample(report: dict) -> None:
            spent(report['seconds'])
            for each in samples.values():
                each.add()

        self._publisher.tell(label='measured', **asdict(load))
        done = self._publisher.wait_for('done', sample)
        sent = done['sent']
        time.sleep(ARRIVAL_S)
        for each in samples.values():
            each.add()
        received = self.arrived()
        self._received = {
            topic: [cloud for cloud in clouds if cloud[0] == 'measured']
            for topic, clouds in received['clouds'].items()
        }
        case = {
            'image': f'{load.width}x{load.height} rgb8',
            'hz': load.hz or None,
            'cameras': load.cameras,
            'subscriptions': done['subscriptions'],
        }
        for name in self._nodes:
            clouds = [cloud for camera in self.by_camera(name) for cloud in camera]
            clouds.sort(key=lambda cloud: cloud[2])
            case[name] = figures(clouds, sent[name], load.cameras, samples[name])
        for name in ('publisher', 'receiver'):
            case[name] = {'cpu_s': samples[name].cpu_s}
        engine_ms = received['diagnostics'].get('engine time p50 (ms)')
        case['engine_in_node_ms'] = None if engine_ms in (None, 'nan') else float(engine_ms)
        return case

    def _everyone(self) -> Iterator[tuple[str, Child]]:
        yield from self._nodes.items()
        yield from {'publisher': self._publisher, 'receiver': self._receiver}.items()


def arguments(node: str, cameras: Sequence[str], setup: Setup) -> list[str]:
    """Return a node's command line."""
    spaced = ['--ros-args', '-r', f'__ns:=/benchmark/{node}']
    if node == 'bare':
        return [*cameras, *spaced]
    listed = ['-p', f'cameras:=[{", ".join(cameras)}]'] if cameras else []
    model = Path(setup.model_dir).resolve()
    chosen = {'model': model, 'engine': setup.engine, **setup.choices, 'silence_timeout': 3600.0}
    pairs = [part for name, value in chosen.items() for part in ('-p', f'{name}:={value}')]
    return [*spaced, *listed, *pairs]


def figures(
    clouds: Sequence[tuple[str, int, int]], sent: dict, cameras: int, samples: Samples
) -> dict:
    """Return one node's figures."""
    images = sent['images'] * cameras
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


def compare(case: dict, engine_ms: float) -> dict:
    """Return the node's p50 above the bare node's, and what of it is not the engine."""
    found, bare = (case[name]['latency_ms']['p50'] for name in ('perception', 'bare'))
    above_ms = None if None in (found, bare) else round(found - bare, 3)
    beyond_ms = None if above_ms is None else round(above_ms - engine_ms, 3)
    return {
        'engine_ms': round(engine_ms, 3),
        'above_bare_ms': above_ms,
        'beyond_engine_ms': beyond_ms,
    }
