"""
The speed of a training step, its costliest operators, and its floor.

A step is measured on synthetic frames: sampling the pairs, forward, backward, optimiser and
weight averaging. The floor is the time that the step's convolutions and matrix products would take
at the speed which the same threads reach on a plain convolution.
"""

from __future__ import annotations

from collections.abc import Callable
import resource
import time
from typing import Any

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.composite_objective import learns_from_labels
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.threads import Threads
from keypoint_perception.learning.training_loop import make_fabric, tune_malloc
from keypoint_perception.learning.training_state import new_training_state
from keypoint_perception.learning.training_step import TrainingStep
from lightning_fabric import Fabric
import numpy as np
import torch
from torch.nn import functional
from torch.profiler import profile, ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

FRAMES = 64
OPERATORS = 12
# Plain 3 x 3 convolutions: channels and side of the maps; the fastest is the reference.
PLAIN = ((64, 40), (128, 20))


class MovingSquare:
    """Frames in memory that replace a frame store: a square that circles on noise."""

    sources: tuple[str, ...] = ()

    def __init__(self, network_hw: tuple[int, int]) -> None:
        height, width = self.network_hw = network_hw
        generator = np.random.default_rng(0)
        self.images = generator.integers(40, 60, (FRAMES, height, width, 3), np.uint8)
        for i, image in enumerate(self.images):
            u, v = (
                round(n * (0.4 + 0.3 * f(i / 4))) for n, f in ((width, np.cos), (height, np.sin))
            )
            image[v : v + height // 6, u : u + width // 6] = (30, 60, 240)
        self.stamps_ns = 10**18 + 50_000_000 * np.arange(FRAMES)
        self.source = self.camera = np.zeros(FRAMES, np.int64)
        self.image_hw = np.full((FRAMES, 2), self.network_hw)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.images)


def measure_step(
    config: TrainConfig,
    *,
    steps: int,
    rounds: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """
    Return the speed of a configuration, its costliest operators and its floor.

    :param steps: per round, after an untimed one
    :raises ConfigError: if the objective needs labels, which synthetic frames lack
    """
    if learns_from_labels(config.parts):
        msg = f'objective: {config.title} needs labels; measure another objective.'
        raise ConfigError(msg)
    tune_malloc()
    fabric = make_fabric(config)
    store: Any = MovingSquare((config.size, config.size))  # replaces a FrameStore
    session = new_training_state(config, store)
    step = TrainingStep(session, fabric)
    Threads(session, fabric, config.threads).choose()
    step(config.learning_rate)
    flop = count_flop(lambda: step(config.learning_rate))
    seconds, cpu = [], []
    for done in range(rounds):
        started, cpu_started = time.perf_counter(), time.process_time()
        for _ in range(steps):
            step(config.learning_rate)
        _synchronize(fabric)
        seconds.append((time.perf_counter() - started) / steps)
        cpu.append((time.process_time() - cpu_started) / steps)
        progress(done + 1, rounds)
    plain = plain_flop_per_s(fabric)
    pairs, fastest = config.batch_size, min(seconds)
    return {
        'pairs_per_s': pairs / fastest,
        'median_pairs_per_s': pairs / float(np.median(seconds)),
        'step_s': fastest,
        'rounds_s': seconds,
        'cpu_s': min(cpu),
        'threads': torch.get_num_threads(),
        'device': str(fabric.device),
        'precision': str(fabric.strategy.precision.precision),
        'flop': flop,
        'plain_flop_per_s': plain,
        'floor_s': flop / plain,
        'share_of_floor': flop / plain / fastest,
        'operators': costliest(lambda: step(config.learning_rate)),
        'peak_memory_mb': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def count_flop(step: Callable[[], object]) -> int:
    """Return the FLOP of a step's convolutions and matrix products, 2 per multiplication."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def plain_flop_per_s(fabric: Fabric) -> float:
    """Return the FLOP/s of a plain convolution in the precision of a run."""
    best = 0.0
    for channels, side in PLAIN:
        image = torch.randn(16, channels, side, side, device=fabric.device)
        weight = torch.randn(channels, channels, 3, 3, device=fabric.device)
        image, weight = (t.to(memory_format=torch.channels_last) for t in (image, weight))
        with torch.no_grad(), fabric.autocast():
            functional.conv2d(image, weight, padding=1)
            for _ in range(5):
                _synchronize(fabric)
                started = time.perf_counter()
                made = functional.conv2d(image, weight, padding=1)
                _synchronize(fabric)
                seconds = time.perf_counter() - started
                best = max(best, 2 * made.numel() * channels * 9 / seconds)
    return best


def costliest(step: Callable[[], object]) -> list[dict[str, Any]]:
    """Return the operators in which a step spends most time, the costliest first."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        step()
    found = [
        {
            'name': entry.key,
            'calls': entry.count,
            'ms': max(entry.self_cpu_time_total, entry.self_device_time_total) / 1000,
        }
        for entry in profiler.key_averages()
    ]
    total = sum(entry['ms'] for entry in found)
    found.sort(key=lambda entry: entry['ms'], reverse=True)
    return [entry | {'share': entry['ms'] / total} for entry in found[:OPERATORS]]


def _synchronize(fabric: Fabric) -> None:
    if fabric.device.type == 'cuda':
        torch.cuda.synchronize()
