"""
The training loop: a step after the other until the budget is used up.

Runs on one process or on several (``torchrun --nproc-per-node 2 -m keypoint_perception train``);
the batch is that of the configuration in both cases, each process takes its share.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import os
from pathlib import Path
import time

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.malloc import tune_malloc
from keypoint_perception.learning.run_monitor import Outcome, RunMonitor, RunProgress
from keypoint_perception.learning.seed_selection import select_seed
from keypoint_perception.learning.stopping import Budget, StopRequest
from keypoint_perception.learning.threads import Threads
from keypoint_perception.learning.training_state import new_session, resumed_session
from keypoint_perception.learning.training_step import learning_rate, TrainingStep
from lightning_fabric import Fabric
import torch

log = logging.getLogger('keypoint_perception')


def train(
    fabric: Fabric,
    config: TrainConfig,
    store: FrameStore,
    out: Path,
    *,
    budget: Budget,
    resume: bool = False,
    report: Callable[[RunProgress], None] = lambda moment: None,
) -> Outcome:
    """
    Train a network on a frame store; leaves a checkpoint, a history and pictures in ``out``.

    :param fabric: the devices, of :func:`make_fabric`
    :param budget: when to stop
    :param resume: go on from the checkpoint in ``out``
    :param report: called every ``log_every`` steps
    :raises TrainingError: if there is nothing to learn from, or the loss becomes NaN
    """
    tune_malloc()
    session = resumed_session(out, store, config) if resume else new_session(config, store)
    threads = Threads(session, fabric, config.threads)
    threads.choose()
    budget.start()
    with StopRequest() as stop:
        if config.seeds == 1 or resume:
            step = TrainingStep(session, fabric)
        else:
            session, step = select_seed(
                fabric,
                session,
                budget,
                stopped=lambda: bool(_agree(fabric, stop, budget)),
                report=report,
            )
            threads.follow(session)
        watch = RunMonitor(session, fabric, out, budget, report, threads)
        while (reason := _agree(fabric, stop, budget) or budget.reason(session.step)) is None:
            began = time.perf_counter()
            rate = learning_rate(config, session.step, budget.done(session.step))
            loss, terms = step(rate)
            session.elapsed_s += time.perf_counter() - began
            watch.after_step(rate, loss, terms)
    return watch.finish(reason)


def make_fabric(config: TrainConfig) -> Fabric:
    """Return the devices to train on; under ``torchrun`` as many processes as it started."""
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


def choose_precision(name: str) -> str:
    """
    Return Fabric's name of a precision.

    ``auto`` takes bfloat16 where the hardware multiplies it faster than float32: GPUs that have
    it, and CPUs with AMX, on which the convolutions here run about four times as fast.
    """
    if name != 'auto':
        return {'32': '32-true', 'bf16': 'bf16-mixed', '16': '16-mixed'}[name]
    if torch.cuda.is_available():
        chosen = 'bf16-mixed' if torch.cuda.is_bf16_supported() else '16-mixed'
        log.info('Precision %s: training on %s.', chosen, torch.cuda.get_device_name())
        return chosen
    amx = getattr(torch.cpu, '_is_amx_tile_supported', lambda: False)()
    log.info('Precision %s: this CPU has %sAMX.', 'bf16' if amx else '32', '' if amx else 'no ')
    return 'bf16-mixed' if amx else '32-true'


def _agree(fabric: Fabric, stop: StopRequest, budget: Budget) -> str | None:
    # processes have clocks and signals of their own; those of the first one count for all
    if fabric.world_size == 1:
        return stop.reason
    reason, spent_s = fabric.broadcast((stop.reason, budget.spent_s()))
    budget.agree(spent_s)
    return reason
