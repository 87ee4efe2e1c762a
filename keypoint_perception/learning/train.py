"""
The training loop: draw pairs, rebuild frames, follow the gradient, keep what is needed to go on.

Runs on one process or on several (``torchrun --nproc-per-node 2 -m keypoint_perception train``);
the batch is that of the configuration in both cases, each process takes its share.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import math
import os
from pathlib import Path
import time

from keypoint_perception.errors import TrainingError
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.session import new_session, resumed_session
from keypoint_perception.learning.stopping import Budget, StopRequest
from keypoint_perception.learning.threads import Threads
from keypoint_perception.learning.watch import Moment, Outcome, Watch
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
    report: Callable[[Moment], None] = lambda moment: None,
) -> Outcome:
    """
    Train a network on a frame store; leaves a checkpoint, a history and pictures in ``out``.

    :param fabric: the devices, of :func:`make_fabric`
    :param budget: when to stop
    :param resume: go on from the checkpoint in ``out``
    :param report: called every ``log_every`` steps
    :raises TrainingError: if there is nothing to learn from, or the loss becomes NaN
    """
    session = resumed_session(out, store, config) if resume else new_session(config, store)
    learner, optimizer = fabric.setup(session.learner, session.optimizer)
    session.average.network.to(fabric.device)
    weights, share = config.term_weights(), _share(config.batch_size, fabric)
    threads = Threads(session, fabric, config.threads)
    watch = Watch(session, fabric, out, budget, report, threads)
    threads.choose()
    budget.start()
    with StopRequest() as stop:
        while (reason := _agree(fabric, stop.reason or budget.reason(session.step))) is None:
            began = time.perf_counter()
            rate = _rate(config, session.step, budget.done(session.step))
            for group in optimizer.param_groups:
                group['lr'] = rate
            terms = learner(*fabric.to_device(session.batch(config.batch_size, share)))
            loss = sum(weight * terms[name].mean() for name, weight in weights.items())
            optimizer.zero_grad()
            fabric.backward(loss)
            # NaN is looked for at intervals, by the watch: a look at every step would wait for
            # the device
            fabric.clip_gradients(
                learner, optimizer, max_norm=config.gradient_clip, error_if_nonfinite=False
            )
            optimizer.step()
            session.average.update(session.learner.network, session.step)
            session.step += 1
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


def _rate(config: TrainConfig, step: int, done: float) -> float:
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = (1 + math.cos(math.pi * min(1.0, done))) / 2
    return config.learning_rate * warm * (config.final_rate + (1 - config.final_rate) * cosine)


def _share(batch_size: int, fabric: Fabric) -> slice:
    if batch_size % fabric.world_size:
        msg = (
            f'batch_size: {batch_size} cannot be divided among {fabric.world_size} processes; '
            'choose a multiple of their number.'
        )
        raise TrainingError(msg)
    share = batch_size // fabric.world_size
    return slice(fabric.global_rank * share, (fabric.global_rank + 1) * share)


def _agree(fabric: Fabric, reason: str | None) -> str | None:
    # processes have clocks and signals of their own; the first one decides for all
    return reason if fabric.world_size == 1 else fabric.broadcast(reason)
