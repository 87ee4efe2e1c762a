"""
A training run at one moment: everything that a checkpoint must hold to go on exactly.

Not held is the loss scale of float16 training, which a resumed run finds anew within some steps;
float32 and bfloat16, on CPUs and GPUs, have none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from keypoint_perception.episodes import find_episodes
from keypoint_perception.errors import TrainingError
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.composite_objective import learns_from_labels_alone, needs
from keypoint_perception.learning.config import to_values, TrainConfig
from keypoint_perception.learning.data.batch_extras import BATCH_EXTRAS, BatchExtra
from keypoint_perception.learning.data.labels import Labels, LabelSampler
from keypoint_perception.learning.data.pairs import mean_change, PairSampler
from keypoint_perception.learning.initial_weights import take_weights
from keypoint_perception.learning.learner import Learner, WeightAverage
from keypoint_perception.learning.pair_batch import DatasetStatistics
from keypoint_perception.model.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_strictly,
    save_checkpoint,
)
from keypoint_perception.model.network import Keypointer
from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch
from torch import Tensor

PROBE_FRAMES = 64


@dataclass
class TrainingState:
    """
    What changes while learning, beside what does not.

    :param step: optimiser steps done
    :param elapsed_s: time spent learning, over all runs, s
    :param kept: the keypoints worth exporting, all if None
    """

    config: TrainConfig
    store: FrameStore
    sampler: PairSampler | LabelSampler
    learner: Learner
    average: WeightAverage
    optimizer: torch.optim.Optimizer
    statistics: DatasetStatistics
    batch_extras: list[BatchExtra]
    step: int = 0
    elapsed_s: float = 0.0
    kept: list[int] | None = None

    def batch(self, count: int, share: slice) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """
        Draw the next batch and return this process's share of it.

        :param count: pairs of the whole batch
        :return: first and second frames, each (B, H, W, 3) uint8, and what goes with them
        """
        frames = self.sampler.draw(count)[:, share]
        extra = {}
        for supply in self.batch_extras:
            extra |= supply.take(frames)
        return self._take(frames[0]), self._take(frames[1]), extra

    def probe(self, count: int = PROBE_FRAMES) -> Tensor:
        """Return up to ``count`` evenly spaced frames of the recording, (N, H, W, 3) uint8."""
        return self._take(evenly_spaced(np.arange(len(self.store)), count))

    def scenes(self, count: int = PROBE_FRAMES) -> Tensor:
        """Return the number of the scene of each frame of :meth:`probe`, (N,) int."""
        views = np.stack([self.store.source, self.store.camera], axis=1)
        _, scene = np.unique(views, axis=0, return_inverse=True)
        return torch.from_numpy(evenly_spaced(scene.reshape(-1), count))

    def exported(self) -> Keypointer:
        """Return the averaged network with the keypoints that are kept."""
        whole = self.average.network
        return whole if self.kept is None else whole.select(self.kept)

    def save(self, out: Path, metrics: dict) -> None:
        """Write a checkpoint of this moment."""
        tensors = {f'learner.{n}': t for n, t in self.learner.state_dict().items()}
        tensors |= _optimizer_tensors(self.optimizer) | {'random': torch.get_rng_state()}
        tensors |= {f'average.{n}': t for n, t in self.average.network.state_dict().items()}
        state = {
            'step': self.step,
            'elapsed_s': self.elapsed_s,
            'sampler': self.sampler.state(),
            'facts': asdict(self.statistics),
            'labels': _digest(self.batch_extras),
            'objective': self.config.title,
            'config': to_values(self.config),
            'sources': [dict(source) for source in self.store.sources],
            'metrics': metrics,
            'skeleton': self.learner.objective.skeleton(),
        }
        frames = self.probe(16)
        save_checkpoint(out, Checkpoint(self.exported(), tensors, state, frames))

    def _take(self, indices: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.store.images[indices]))


def new_session(config: TrainConfig, store: FrameStore) -> TrainingState:
    """
    Return a run at its first step.

    :raises TrainingError: if the recording has no pairs, or nothing moves in it
    """
    batch_extras = _batch_extras(config, store)
    session = _begin(config, store, _statistics(config, store, batch_extras), batch_extras)
    if isinstance(session.sampler, PairSampler):
        session.sampler.warn_if_short()
    return session


def sibling(session: TrainingState, seed: int) -> TrainingState:
    """Return a run at its first step that differs in its seed; it shares what needs none."""
    config = replace(session.config, seed=seed)
    return _begin(config, session.store, session.statistics, session.batch_extras)


def resumed_session(out: Path, store: FrameStore, config: TrainConfig) -> TrainingState:
    """
    Return a run as its checkpoint left it.

    :raises ModelError: if the checkpoint is missing, damaged or of another network
    :raises TrainingError: if the run was begun on other frames
    """
    checkpoint = load_checkpoint(out)
    state, tensors = checkpoint.state, checkpoint.tensors
    _check_frames(out, store, state['sources'])
    batch_extras = _batch_extras(config, store)
    _check_labels(out, config, batch_extras, state.get('labels', ''))
    sampler = _sampler(config, store, batch_extras, seed=config.seed)
    sampler.restore(state['sampler'])
    session = _assemble(config, store, sampler, DatasetStatistics(**state['facts']), batch_extras)
    learner = {n.removeprefix('learner.'): t for n, t in tensors.items() if n[:8] == 'learner.'}
    load_strictly(session.learner, learner, str(out))
    average = {n.removeprefix('average.'): t for n, t in tensors.items() if n[:8] == 'average.'}
    load_strictly(session.average.network, average, str(out))
    _restore_optimizer(session.optimizer, tensors)
    torch.set_rng_state(tensors['random'])
    session.step, session.elapsed_s = state['step'], state['elapsed_s']
    return session


def _check_frames(out: Path, store: FrameStore, begun: list[dict]) -> None:
    # another order, or other cameras, would draw other pairs
    before, now = (
        [(source['digest'], source['topics'], source['frames']) for source in sources]
        for sources in (begun, store.sources)
    )
    if before != now:
        names = ', '.join(f'{source["name"]} ({source["frames"]} frames)' for source in begun)
        msg = (
            f'The run in {str(out)!r} was begun on other frames, those of {names}; resume it '
            'with the same recordings and topics, or train into another --out.'
        )
        raise TrainingError(msg)


def _check_labels(
    out: Path, config: TrainConfig, batch_extras: list[BatchExtra], begun: str
) -> None:
    if _digest(batch_extras) != begun:
        msg = (
            f'The run in {str(out)!r} was begun with other labels than {config.annotations!r} '
            'now holds; resume it with the file as it was, or train into another --out.'
        )
        raise TrainingError(msg)


def _batch_extras(config: TrainConfig, store: FrameStore) -> list[BatchExtra]:
    return [BATCH_EXTRAS[name](store, config) for name in needs(config.parts)]


def _labels(batch_extras: list[BatchExtra]) -> Labels | None:
    return next((supply for supply in batch_extras if isinstance(supply, Labels)), None)


def _digest(batch_extras: list[BatchExtra]) -> str:
    labels = _labels(batch_extras)
    return '' if labels is None else labels.digest


def _statistics(
    config: TrainConfig, store: FrameStore, batch_extras: list[BatchExtra]
) -> DatasetStatistics:
    labels = _labels(batch_extras)
    names = () if labels is None else labels.names
    if learns_from_labels_alone(config.parts):
        return DatasetStatistics(1.0, names)
    return DatasetStatistics(mean_change(store.images, _pairs(config, store, seed=0)), names)


def _sampler(
    config: TrainConfig, store: FrameStore, batch_extras: list[BatchExtra], *, seed: int
) -> PairSampler | LabelSampler:
    labels = _labels(batch_extras)
    if labels is None:
        return _pairs(config, store, seed=seed)
    if learns_from_labels_alone(config.parts):
        return LabelSampler(labels.frames, seed=seed)
    return _pairs(config, store, seed=seed, favoured=labels.frames)


def _pairs(
    config: TrainConfig, store: FrameStore, *, seed: int, favoured: np.ndarray | None = None
) -> PairSampler:
    return PairSampler(
        store.stamps_ns,
        find_episodes(store.stamps_ns, store.source, store.camera),
        min_gap_s=config.min_gap_s,
        max_gap_s=config.max_gap_s,
        seed=seed,
        favoured=favoured,
    )


def _begin(
    config: TrainConfig,
    store: FrameStore,
    statistics: DatasetStatistics,
    batch_extras: list[BatchExtra],
) -> TrainingState:
    torch.manual_seed(config.seed)
    sampler = _sampler(config, store, batch_extras, seed=config.seed)
    session = _assemble(config, store, sampler, statistics, batch_extras)
    if config.init:
        take_weights(session.learner.network, Path(config.init))
        session.average = WeightAverage(session.learner.network, config.ema_decay)
    return session


def _assemble(
    config: TrainConfig,
    store: FrameStore,
    sampler: PairSampler | LabelSampler,
    statistics: DatasetStatistics,
    batch_extras: list[BatchExtra],
) -> TrainingState:
    learner = Learner(config, tuple(store.network_hw), statistics)
    learner.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        learner.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    average = WeightAverage(learner.network, config.ema_decay)
    return TrainingState(
        config, store, sampler, learner, average, optimizer, statistics, batch_extras
    )


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    moments = optimizer.state_dict()['state']
    return {f'optimizer.{i}.{name}': t for i, m in moments.items() for name, t in m.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith('optimizer.'):
            _, index, name = key.split('.')
            moments.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()['param_groups']
    optimizer.load_state_dict({'state': moments, 'param_groups': groups})
