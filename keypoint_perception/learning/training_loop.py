"""
The training loop: steps until the budget is used up.

Runs in one process or in several (``torchrun --nproc-per-node 2 -m keypoint_perception train``);
``batch_size`` is that of all processes together.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
import ctypes
import logging
import os
from pathlib import Path
import sys
import time
from typing import Literal

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.reseeding import Reseeding
from keypoint_perception.learning.run_monitor import Outcome, RunMonitor, RunProgress
from keypoint_perception.learning.seed_selection import select_seed
from keypoint_perception.learning.stopping import Budget, StopRequest
from keypoint_perception.learning.threads import Threads
from keypoint_perception.learning.training_state import new_training_state, resumed_training_state
from keypoint_perception.learning.training_step import learning_rate, TrainingStep
from lightning_fabric import Fabric
import torch

log = logging.getLogger('keypoint_perception')

# Parameters of mallopt in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30
Precision = Literal['32-true', 'bf16-mixed', '16-mixed']
PRECISIONS: dict[str, Precision] = {'32': '32-true', 'bf16': 'bf16-mixed', '16': '16-mixed'}


def train(
    fabric: Fabric,
    config: TrainConfig,
    store: FrameStore,
    out: Path,
    *,
    budget: Budget,
    resume: bool = False,
    report: Callable[[RunProgress], None] = lambda progress: None,
) -> Outcome:
    """
    Train a network on a frame store; write checkpoints, history and overlays to ``out``.

    :param fabric: the devices, of :func:`make_fabric`
    :param resume: continue from the checkpoint in ``out``
    :param report: called every ``log_every`` steps
    :raises TrainingError: if no pairs can be drawn or nothing moves, or the loss becomes NaN
    """
    tune_malloc()
    session = (
        resumed_training_state(out, store, config) if resume else new_training_state(config, store)
    )
    with closing(session.loader), StopRequest() as stop:
        threads = Threads(session, fabric, config.threads)
        threads.choose()
        budget.start()
        if config.seeds == 1 or resume:
            step = TrainingStep(session, fabric)
        else:
            session, step = select_seed(
                fabric, session, budget, lambda: bool(_stop_reason(fabric, stop, budget)), report
            )
            threads.use(session)
        reseeding = Reseeding(session, budget.done(max(0, session.step - 1)))
        monitor = RunMonitor(session, fabric, out, budget, report, threads)
        while True:
            reason = _stop_reason(fabric, stop, budget) or budget.reason(session.step)
            if reason is not None:
                return monitor.finish(reason)
            started = time.perf_counter()
            done = budget.done(session.step)
            rate = learning_rate(config, session.step, done)
            loss, terms = step(rate, done)
            reseeding.after_step(done)
            session.elapsed_s += time.perf_counter() - started
            monitor.after_step(rate, loss, terms)


def tune_malloc() -> bool:
    """
    Make glibc keep large blocks instead of returning them to the kernel; return whether it does.

    Otherwise each step requests its maps from the kernel anew, which clears and maps every page:
    36,000 page faults and 6 % of the time of a step of the network "paper". Peak memory does not
    change.
    """
    if not sys.platform.startswith('linux'):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept = [mallopt(name, KEPT_BYTES) for name in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD)]
    return all(kept)


def make_fabric(config: TrainConfig) -> Fabric:
    """Return the devices to train on; under ``torchrun``, of all processes that it started."""
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    nodes = int(os.environ.get('WORLD_SIZE', '1')) // processes
    several = processes * nodes > 1
    fabric = Fabric(
        accelerator='cuda' if torch.cuda.is_available() else 'cpu',
        devices=processes,
        num_nodes=max(1, nodes),
        strategy='ddp' if several else 'auto',
        precision=choose_precision(config.precision),
    )
    fabric.launch()
    return fabric


def choose_precision(name: str) -> Precision:
    """
    Return Fabric's name of a precision.

    ``auto`` is bfloat16 where the hardware multiplies it faster than float32: on GPUs that support
    it, and on CPUs with AMX, on which these convolutions run about four times as fast.
    """
    if name != 'auto':
        return PRECISIONS[name]
    if torch.cuda.is_available():
        chosen = PRECISIONS['bf16' if torch.cuda.is_bf16_supported() else '16']
        log.info('Precision %s: training on %s.', chosen, torch.cuda.get_device_name())
        return chosen
    amx = getattr(torch.cpu, '_is_amx_tile_supported', lambda: False)()
    log.info('Precision %s: this CPU has %sAMX.', 'bf16' if amx else '32', '' if amx else 'no ')
    return 'bf16-mixed' if amx else '32-true'


def _stop_reason(fabric: Fabric, stop: StopRequest, budget: Budget) -> str | None:
    # each process has its own clock and signals; those of the first apply to all
    if fabric.world_size == 1:
        return stop.reason
    reason: str | None
    reason, spent_s = fabric.broadcast((stop.reason, budget.spent_s()))
    budget.synchronise(spent_s)
    return reason
