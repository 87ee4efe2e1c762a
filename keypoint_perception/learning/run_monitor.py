"""
Looking at a run while it goes on: means, history, pictures, checkpoints, NaN and collapse.

Only the first process writes; all of them take part in the means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import logging
import math
from pathlib import Path
import resource
from statistics import median

from keypoint_perception.errors import TrainingError
from keypoint_perception.learning.collapse import CollapseCheck, examine
from keypoint_perception.learning.confidence_calibration import calibrate
from keypoint_perception.learning.pruning import choose_keypoints
from keypoint_perception.learning.reconstruction_sheet import PAIRS, reconstruction_sheet
from keypoint_perception.learning.run_log import RunLog
from keypoint_perception.learning.stopping import Budget
from keypoint_perception.learning.threads import Threads
from keypoint_perception.learning.training_state import TrainingState
from keypoint_perception.model.checkpoint import has_checkpoint
from keypoint_perception.model.snapshots import drop_snapshots, save_snapshot
from keypoint_perception.model_directory import RECONSTRUCTION_NAME
from keypoint_perception.seen_messages import SeenMessages
from lightning_fabric import Fabric
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Frames by which keypoints are chosen, and their confidence is calibrated. With few frames every
# place that a ball crosses once counts as one where things move.
CHOOSING_FRAMES, CALIBRATION_FRAMES = 1024, 128
# Frames of each scene that a calibration has, for a median that shows what stands still, as far as
# so many fit into memory.
FRAMES_OF_SCENE, MOST_CALIBRATION_FRAMES = 16, 512


@dataclass(frozen=True)
class RunProgress:
    """How far a run has come, for whoever shows it."""

    step: int
    done: float  # share of the budget
    loss: float
    pairs_per_s: float


@dataclass(frozen=True)
class Outcome:
    """How a run ended: why, after how many steps, and what was measured."""

    reason: str
    step: int
    metrics: dict
    complaint: str | None


class RunMonitor:
    """Does what is due after a step, and ends a run."""

    def __init__(
        self,
        session: TrainingState,
        fabric: Fabric,
        out: Path,
        budget: Budget,
        report: Callable[[RunProgress], None],
        threads: Threads,
    ) -> None:
        self._session, self._fabric, self._out = session, fabric, out
        self._budget, self._report = budget, report
        self._config, self._threads = session.config, threads
        weights = self._config.term_weights()
        self._meter = Meter(weights, session, fabric)
        self._journal = None
        if fabric.is_global_zero:
            self._journal = RunLog(out, tuple(weights), from_step=session.step)
            drop_snapshots(out, after_step=session.step)
        self._last: dict[str, float] = {}
        self._speeds: list[float] = []
        self._picture_at_s = session.elapsed_s + self._config.picture_every_s
        self._snapshot_at_s = session.elapsed_s + (self._config.snapshot_every_s or math.inf)
        self._logged = SeenMessages()

    def after_step(self, rate: float, loss: Tensor, terms: dict[str, Tensor]) -> None:
        """
        Count a step and do what is due.

        :param rate: the learning rate it was done at
        """
        session = self._session
        self._meter.add(loss.detach(), terms)
        if session.step % self._config.log_every == 0:
            self._log(rate)
            done = self._budget.done(session.step)
            self._report(
                RunProgress(session.step, done, self._last['loss'], self._last['pairs_per_s'])
            )
        if session.elapsed_s >= self._snapshot_at_s:
            self._snapshot_at_s += self._config.snapshot_every_s
            self._take_snapshot()
        if session.elapsed_s >= self._picture_at_s:
            self._picture_at_s = session.elapsed_s + self._config.picture_every_s
            self._threads.watch(self._last.get('pairs_per_s', 0.0))
            self._keep()

    def finish(self, reason: str) -> Outcome:
        """Choose keypoints, calibrate their confidence, write the last checkpoint."""
        self._settle()
        health = self._keep()
        if self._config.snapshot_every_s:
            self._take_snapshot()
        if self._journal is not None:
            self._show_reconstruction()
            self._journal.close()
        return Outcome(reason, self._session.step, self._metrics(health), health.complaint)

    def _show_reconstruction(self) -> None:
        # after the checkpoint, which must not know of the pairs that are drawn here
        session = self._session
        pairs = self._fabric.to_device(session.batch(PAIRS, slice(0, PAIRS)))
        with self._fabric.autocast():
            sheet = reconstruction_sheet(session.learner, *pairs)
        if sheet is not None:
            self._journal.keep_picture(RECONSTRUCTION_NAME, sheet, session.step)

    def _take_snapshot(self) -> None:
        session = self._session
        if self._journal is not None:
            save_snapshot(self._out, session.average.network, session.step, session.elapsed_s)

    def _log(self, rate: float) -> None:
        values = self._meter.read()
        if not math.isfinite(values['loss']):
            raise TrainingError(self._nan_message(values['loss']))
        self._last = values
        self._speeds.append(values['pairs_per_s'])
        if self._journal is not None:
            row = {'elapsed_s': round(self._session.elapsed_s, 3), 'rate': rate} | values
            self._journal.write(self._session.step, row)

    def _settle(self) -> None:
        session = self._session
        device = self._fabric.device
        network = session.average.network
        has_names = session.statistics.label_names or session.learner.objective.links
        config = self._config
        if (config.prune or config.extra_keypoints) and not has_names:
            count = None if config.prune else config.keypoints
            asked = min(CHOOSING_FRAMES, len(session.store))
            frames, scene = session.probe(asked).to(device), session.scenes(asked)
            session.kept = choose_keypoints(network, frames, count, scene=scene)
            learned = network.config.keypoints
            log.info('Keypoints: %d of %d are kept.', len(session.kept), learned)
            network = network.select(session.kept)
        wanted = FRAMES_OF_SCENE * len(session.scenes().unique())
        asked = min(max(CALIBRATION_FRAMES, wanted), MOST_CALIBRATION_FRAMES)
        calibrate(network, session.probe(asked).to(device), scene=session.scenes(asked))
        session.average.network.calibration.copy_(network.calibration)

    def _keep(self) -> CollapseCheck:
        session = self._session
        frames = session.probe().to(self._fabric.device)
        exported = session.exported()
        health = examine(exported, frames, session.scenes())
        if not all(bool(p.isfinite().all()) for p in session.learner.parameters()):
            raise TrainingError(self._nan_message(math.nan))
        if self._journal is not None:
            skeleton = session.learner.objective.skeleton()
            self._journal.picture(session.step, exported, frames, skeleton)
            session.save(self._out, self._metrics(health))
            started = session.step > 10 * self._config.warmup_steps
            if started and health.complaint and self._logged.is_new(health.complaint):
                log.warning('At step %d: %s', session.step, health.complaint)
        return health

    def _nan_message(self, loss: float) -> str:
        kept = 'the last checkpoint before it is kept' if has_checkpoint(self._out) else 'no model'
        return (
            f'The loss became {loss} near step {self._session.step}; {kept}; lower '
            f'learning_rate (it is {self._config.learning_rate:g}) or set precision to 32, and '
            'train again.'
        )

    def _metrics(self, health: CollapseCheck) -> dict:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            'steps': self._session.step,
            'minutes': round(self._session.elapsed_s / 60, 3),
            'terms': self._last,
            'pairs_per_s': median(self._speeds) if self._speeds else None,
            'peak_memory_mb': round(kilobytes / 1024),
            'health': health.values(),
            'complaint': health.complaint,
        }


class Meter:
    """Means over an interval, without waiting for the device at every step."""

    def __init__(self, weights: dict[str, float], session: TrainingState, fabric: Fabric) -> None:
        self._names = ('loss', *weights)
        self._session, self._fabric = session, fabric
        self._reset()

    def add(self, loss: Tensor, terms: dict[str, Tensor]) -> None:
        """Count one step."""
        values = [loss, *(terms[name].detach().mean() for name in self._names[1:])]
        self._sum = self._sum + torch.stack(values)
        self._steps += 1

    def read(self) -> dict[str, float]:
        """Return the means since the last reading, and the pairs a second."""
        mean = self._fabric.all_reduce(self._sum / max(1, self._steps), reduce_op='mean')
        pairs = self._steps * self._session.config.batch_size
        seconds = self._session.elapsed_s - self._since_s
        values = dict(zip(self._names, mean.tolist(), strict=True))
        self._reset()
        return values | {'pairs_per_s': pairs / max(seconds, 1e-9)}

    def _reset(self) -> None:
        self._sum = torch.zeros(len(self._names), device=self._fabric.device)
        self._steps = 0
        self._since_s = self._session.elapsed_s
