"""
Monitor a training run: averages, history, overlays, checkpoints, NaN and collapse.

Only the first process writes; all of them contribute to the means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
import logging
import math
from pathlib import Path
import resource
from statistics import median
from typing import Any

from keypoint_perception.errors import TrainingError
from keypoint_perception.learning.collapse import check_collapse, CollapseCheck
from keypoint_perception.learning.confidence_calibration import calibrate
from keypoint_perception.learning.data.registration import registered_frames
from keypoint_perception.learning.pruning import choose_keypoints, CHUNK
from keypoint_perception.learning.run_log import reconstruction_sheet, RunLog
from keypoint_perception.learning.settling import (
    settled_since,
    settling_sentence,
    SettlingCheck,
    TAIL_SHARE,
)
from keypoint_perception.learning.stopping import Budget
from keypoint_perception.learning.threads import Threads
from keypoint_perception.learning.training_state import TrainingState
from keypoint_perception.model.checkpoint import has_checkpoint
from keypoint_perception.model.landmark_head import network_digest
from keypoint_perception.model.snapshots import drop_snapshots, save_snapshot
from keypoint_perception.model_directory import RECONSTRUCTION_NAME
from keypoint_perception.pose_prior import fit_pose_prior, write_pose_prior
from keypoint_perception.seen_messages import SeenMessages
from lightning_fabric import Fabric
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Frames to select keypoints by, and to calibrate their confidence. With few frames, every place
# that a ball crosses once would count as moving.
SELECTION_FRAMES, CALIBRATION_FRAMES = 1024, 128
# Each frame of a camera that moves has a background of its own, which takes some milliseconds.
MOVING_SELECTION_FRAMES = 256
# Least frames of a scene for a median that shows its background, and most frames in all, which
# must fit into memory.
LEAST_SCENE_FRAMES, MOST_CALIBRATION_FRAMES = 16, 512
# Frames on which it is followed whether keypoints settle.
SETTLING_FRAMES = 32
# Pairs in the image of reconstructions.
SHEET_PAIRS = 5


@dataclass(frozen=True)
class RunProgress:
    """Progress of a run, for display."""

    step: int
    done: float  # share of the budget
    loss: float
    pairs_per_s: float


@dataclass(frozen=True)
class Outcome:
    """Why and after how many steps a run ended, and its measurements."""

    reason: str
    step: int
    metrics: dict[str, Any]
    complaint: str | None


class RunMonitor:
    """Logs, draws and saves at intervals, and finishes a run."""

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
        self._means = IntervalMeans(weights, session, fabric)
        self._run_log: RunLog | None = None
        if fabric.is_global_zero:
            self._run_log = RunLog(out, tuple(weights), from_step=session.step)
            drop_snapshots(out, after_step=session.step)
        self._last: dict[str, float] = {}
        self._speeds: list[float] = []
        self._picture_at_s = session.elapsed_s + self._config.picture_every_s
        self._snapshot_at_s = session.elapsed_s + (self._config.snapshot_every_s or math.inf)
        self._logged = SeenMessages()
        frames = session.sample_frames(SETTLING_FRAMES).to(fabric.device)
        self._settling = SettlingCheck(frames, session.sample_scenes(SETTLING_FRAMES))

    def after_step(self, rate: float, loss: Tensor, terms: dict[str, Tensor]) -> None:
        """Count a step at a learning rate, and write what is due."""
        session = self._session
        self._means.add(loss.detach(), terms)
        if session.step % self._config.log_every == 0:
            self._log(rate)
            done, last = self._budget.done(session.step), self._last
            self._report(RunProgress(session.step, done, last['loss'], last['pairs_per_s']))
        rate_share = rate / self._config.learning_rate
        if self._settling.after_step(session.average.network, session.step, rate_share):
            self._stop_if_settled()
        if session.elapsed_s >= self._snapshot_at_s:
            self._snapshot_at_s += self._config.snapshot_every_s
            self._take_snapshot()
        if session.elapsed_s >= self._picture_at_s:
            self._picture_at_s = session.elapsed_s + self._config.picture_every_s
            self._threads.watch(self._last.get('pairs_per_s', 0.0))
            self._save()

    def finish(self, reason: str) -> Outcome:
        """Select keypoints, calibrate their confidence and write the last checkpoint."""
        self._select_keypoints()
        health = self._save()
        if self._config.snapshot_every_s:
            self._take_snapshot()
        if self._run_log is not None:
            self._write_pose_prior()
            # after the checkpoint, whose random state must not include the pairs drawn here
            self._write_reconstruction(self._run_log)
            self._run_log.close()
        return Outcome(reason, self._session.step, self._metrics(health), health.complaint)

    @torch.no_grad()
    def _write_pose_prior(self) -> None:
        """Learn the poses of the exported keypoints, by which hidden ones are predicted."""
        session, device = self._session, self._fabric.device
        network = session.exported_network()
        frames = session.sample_frames(SELECTION_FRAMES)
        found = [network(some.to(device)).float().cpu() for some in frames.split(CHUNK)]
        points, input_hw = torch.cat(found).numpy(), network.config.input_hw
        write_pose_prior(self._out, fit_pose_prior(points, input_hw, network_digest(self._out)))

    def _stop_if_settled(self) -> None:
        if not self._config.stop_when_settled:
            return
        step, since = self._session.step, settled_since(self._settling.movements)
        if self._fabric.world_size > 1:  # processes that end after different steps would hang
            since = self._fabric.broadcast(since)
        if since is not None:
            tail = round(TAIL_SHARE * step)
            log.info('The keypoints have been settled since step %d: %d more steps.', since, tail)
            self._budget.shorten(step, tail, f'the keypoints have been settled since step {since}')

    def _write_reconstruction(self, run_log: RunLog) -> None:
        session = self._session
        pairs = self._fabric.to_device(session.batch(SHEET_PAIRS, slice(0, SHEET_PAIRS)))
        with self._fabric.autocast():
            sheet = reconstruction_sheet(session.learner, *pairs)
        if sheet is not None:
            run_log.write_image(RECONSTRUCTION_NAME, sheet, session.step)

    def _take_snapshot(self) -> None:
        session = self._session
        if self._run_log is not None:
            save_snapshot(self._out, session.average.network, session.step, session.elapsed_s)

    def _log(self, rate: float) -> None:
        values = self._means.read()
        if not math.isfinite(values['loss']):
            raise TrainingError(self._nan_message(values['loss']))
        self._last = values
        self._speeds.append(values['pairs_per_s'])
        if self._run_log is not None:
            row = {'elapsed_s': round(self._session.elapsed_s, 3), 'rate': rate} | values
            self._run_log.write(self._session.step, row)

    def _select_keypoints(self) -> None:
        session, config, device = self._session, self._config, self._fabric.device
        network = session.average.network
        has_names = session.statistics.label_names or session.learner.objective.links
        if (config.prune or config.extra_keypoints) and not has_names:
            count = None if config.prune else config.keypoints
            size = min(SELECTION_FRAMES, len(session.store))
            moves = session.sample_motion(1) is not None
            if moves:
                size = min(size, MOVING_SELECTION_FRAMES)
            frames, scene = session.sample_frames(size).to(device), session.sample_scenes(size)
            learned = session.learner.objective.learned_keypoints()
            # an objective that finds points by their looks has those that rest in the world
            resting = moves and learned is not None
            motion = None if resting else session.sample_motion(size)
            session.kept = choose_keypoints(
                network, frames, scene, count, motion, learned, resting=resting
            )
            log.info('Keypoints: kept %d of %d.', len(session.kept), network.config.keypoints)
            network = network.select(session.kept)
        least = LEAST_SCENE_FRAMES * len(session.sample_scenes().unique())
        size = min(max(CALIBRATION_FRAMES, least), MOST_CALIBRATION_FRAMES)
        frames = session.sample_frames(size).to(device)
        calibrate(network, frames, session.sample_scenes(size), motion=session.sample_motion(size))
        session.average.network.calibration.copy_(network.calibration)

    def _save(self) -> CollapseCheck:
        session = self._session
        frames = session.sample_frames().to(self._fabric.device)
        exported = session.exported_network()
        scene, motion = session.sample_scenes(), session.sample_motion()
        health = check_collapse(exported, frames, scene, motion)
        if not all(bool(p.isfinite().all()) for p in session.learner.parameters()):
            raise TrainingError(self._nan_message(math.nan))
        if self._run_log is not None:
            skeleton = session.learner.objective.skeleton()
            self._run_log.write_overlay(session.step, exported, frames, skeleton)
            session.save(self._out, self._metrics(health))
            started = session.step > 10 * self._config.warmup_steps
            if started and health.complaint and self._logged.is_new(health.complaint):
                log.warning('At step %d: %s', session.step, health.complaint)
        return health

    def _nan_message(self, loss: float) -> str:
        saved = 'the last checkpoint is from before that'
        saved = saved if has_checkpoint(self._out) else 'no model was saved'
        return (
            f'The loss became {loss} near step {self._session.step}; {saved}; lower '
            f'learning_rate (it is {self._config.learning_rate:g}) or set precision to 32, and '
            'train into another --out.'
        )

    def _metrics(self, health: CollapseCheck) -> dict[str, Any]:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            'frames': len(self._session.store),
            'steps': self._session.step,
            'minutes': round(self._session.elapsed_s / 60, 3),
            'terms': self._last,
            'pairs_per_s': median(self._speeds) if self._speeds else None,
            'peak_memory_mb': round(kilobytes / 1024),
            'health': asdict(health),
            'complaint': health.complaint,
            'camera': registered_frames(self._session.store, self._config).sentences,
            'settled_since': settled_since(self._settling.movements),
            'settling': settling_sentence(self._settling.movements),
        }


class IntervalMeans:
    """Means over an interval that do not wait for the device at every step."""

    def __init__(self, weights: dict[str, float], session: TrainingState, fabric: Fabric) -> None:
        self._names = ('loss', *weights)
        self._session, self._fabric = session, fabric
        self._sum = torch.zeros(len(self._names), device=fabric.device)
        self._steps, self._since_s = 0, session.elapsed_s

    def add(self, loss: Tensor, terms: dict[str, Tensor]) -> None:
        """Count one step."""
        values = [loss, *(terms[name].detach().mean() for name in self._names[1:])]
        self._sum = self._sum + torch.stack(values)
        self._steps += 1

    def read(self) -> dict[str, float]:
        """Return the means since the last call, and the pairs per second."""
        mean = self._fabric.all_reduce(self._sum / max(1, self._steps), reduce_op='mean')
        assert isinstance(mean, Tensor)
        pairs = self._steps * self._session.config.batch_size
        seconds = self._session.elapsed_s - self._since_s
        self._sum = torch.zeros_like(self._sum)
        self._steps, self._since_s = 0, self._session.elapsed_s
        values = dict(zip(self._names, mean.tolist(), strict=True))
        return values | {'pairs_per_s': pairs / max(seconds, 1e-9)}
