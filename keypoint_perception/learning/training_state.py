"""
The state of a training run: all that a checkpoint needs for an exact continuation.

The float16 loss scale is not stored; a resumed run finds it again within a few steps. float32 and
bfloat16 have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from keypoint_perception.errors import TrainingError
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.batch_extras import batch_extras
from keypoint_perception.learning.batch_loader import Batch, BatchExtra, BatchLoader
from keypoint_perception.learning.camera_advice import warn_of_motion
from keypoint_perception.learning.composite_objective import learns_from_labels_alone
from keypoint_perception.learning.config import to_values, TrainConfig
from keypoint_perception.learning.data.camera_backgrounds import CameraBackgrounds
from keypoint_perception.learning.data.fitting_part import fitting_part, recorded_sources
from keypoint_perception.learning.data.flows import Flows
from keypoint_perception.learning.data.labels import Labels, LabelSampler
from keypoint_perception.learning.data.pairs import mean_change, PairSampler
from keypoint_perception.learning.data.registration import registered_frames
from keypoint_perception.learning.data.scenes import CameraMotion
from keypoint_perception.learning.data.tracks import Tracks
from keypoint_perception.learning.initial.initial_keypoints import initialise_head
from keypoint_perception.learning.initial.initial_weights import initialise
from keypoint_perception.learning.learner import Learner, WeightAverage
from keypoint_perception.learning.pair_batch import DatasetStatistics
from keypoint_perception.model.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_strictly,
    save_checkpoint,
    valid_checkpoint,
)
from keypoint_perception.model.network import Keypointer
from keypoint_perception.model_directory import FRAME_STORE_NAME
from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch
from torch import Tensor

SAMPLE_FRAMES = 64
FRAMES_OF_A_RUN = ('digest', 'topics', 'frames', 'stamps')


@dataclass
class TrainingState:
    """
    The parts of a training run, and its progress.

    :param store: the frames to learn from
    :param step: optimiser steps done
    :param elapsed_s: time spent training, over all processes that resumed the run, s
    :param kept: keypoints to export; None = all
    :param backgrounds: of a camera that moves, made on first use
    """

    config: TrainConfig
    store: FrameStore
    sampler: PairSampler | LabelSampler
    learner: Learner
    average: WeightAverage
    optimizer: torch.optim.Optimizer
    statistics: DatasetStatistics
    loader: BatchLoader
    step: int = 0
    elapsed_s: float = 0.0
    kept: list[int] | None = None
    backgrounds: CameraBackgrounds | None = None

    def batch(self, count: int, share: slice) -> Batch:
        """
        Draw the next ``count`` pairs and return this process's share of them.

        :return: first and second frames, each (B, H, W, 3) uint8, and the batch extras
        """
        return self.loader.take(self.sampler, count, share)

    def sample_frames(self, count: int = SAMPLE_FRAMES) -> Tensor:
        """Return up to ``count`` evenly spaced frames of the recording, (N, H, W, 3) uint8."""
        return self._take(evenly_spaced(np.arange(len(self.store)), count))

    def sample_scenes(self, count: int = SAMPLE_FRAMES) -> Tensor:
        """Return the scene of each frame of :meth:`sample_frames`, (N,) int."""
        scene = registered_frames(self.store, self.config).scene
        return torch.from_numpy(evenly_spaced(scene, count))

    def sample_motion(self, count: int = SAMPLE_FRAMES) -> CameraMotion | None:
        """Return the camera's motion in :meth:`sample_frames`; None if it stands still."""
        registered = registered_frames(self.store, self.config)
        if not registered.any_moves:
            return None
        indices = evenly_spaced(np.arange(len(self.store)), count)
        if self.backgrounds is None:
            self.backgrounds = CameraBackgrounds(self.store, self.config)
        found = self.backgrounds.take(indices)
        to_reference = torch.from_numpy(registered.to_reference[indices]).float()
        return CameraMotion(to_reference, found['background'], found['noise'])

    def exported_network(self) -> Keypointer:
        """Return the averaged network with the keypoints that are kept."""
        network = self.average.network
        return network if self.kept is None else network.select(self.kept)

    def save(self, out: Path, metrics: dict[str, Any]) -> None:
        """Write a checkpoint."""
        labels, tracks = _labels(self.loader.extras), _tracks(self.loader.extras)
        tensors = {f'learner.{n}': t for n, t in self.learner.state_dict().items()}
        moments = self.optimizer.state_dict()['state']
        tensors |= {f'optimizer.{i}.{n}': t for i, m in moments.items() for n, t in m.items()}
        tensors |= {f'average.{n}': t for n, t in self.average.network.state_dict().items()}
        tensors['random'] = torch.get_rng_state()
        state = {
            'step': self.step,
            'elapsed_s': self.elapsed_s,
            'sampler': self.sampler.state(),
            'facts': asdict(self.statistics),
            'labels': '' if labels is None else labels.digest,
            'tracks': '' if tracks is None else tracks.digest,
            'objective': self.config.title,
            'config': to_values(self.config),
            'sources': recorded_sources(self.store),
            'metrics': metrics,
            'skeleton': self.learner.objective.skeleton(),
        }
        frames = self.sample_frames(16)
        save_checkpoint(out, Checkpoint(self.exported_network(), tensors, state, frames))

    def _take(self, indices: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.store.images[indices]))


def new_training_state(config: TrainConfig, store: FrameStore) -> TrainingState:
    """
    Return the state of a run at its first step.

    :param store: all frames; those of the holdout are left out here
    :raises TrainingError: if the recording has no pairs, or nothing moves in it
    """
    store = fitting_part(store, config.holdout)
    extras = batch_extras(config, store)
    labels = _labels(extras)
    alone = learns_from_labels_alone(config.parts)
    # the pairs of seed 0, so that all runs on a recording measure the same change
    change = 1.0
    if not alone:
        pairs, registered = _pairs(config, store, extras, 0), registered_frames(store, config)
        warn_of_motion(config, registered)
        change = mean_change(store.images, pairs, registered=registered)
    statistics = DatasetStatistics(change, () if labels is None else labels.names)
    session = _first_state(config, store, statistics, BatchLoader(store.images, extras))
    if isinstance(session.sampler, PairSampler):
        session.sampler.warn_if_short()
    return session


def with_seed(session: TrainingState, seed: int) -> TrainingState:
    """Return a run with another seed at its first step; it shares frames and their loader."""
    config = replace(session.config, seed=seed)
    return _first_state(config, session.store, session.statistics, session.loader)


def resumed_training_state(out: Path, store: FrameStore, config: TrainConfig) -> TrainingState:
    """
    Return the state of a run that its checkpoint holds.

    :raises ModelError: if the checkpoint is missing, damaged or of another network
    :raises TrainingError: if the run was started on other frames, labels or tracks
    """
    checkpoint = load_checkpoint(out)
    state, tensors = checkpoint.state, checkpoint.tensors
    with valid_checkpoint(out):
        _check_frames(out, store, state['sources'])
        statistics = DatasetStatistics(**state['facts'])
    store = fitting_part(store, config.holdout)
    extras = batch_extras(config, store)
    for name, file, read in (
        ('labels', config.annotations, _labels(extras)),
        ('tracks', config.tracks, _tracks(extras)),
    ):
        if read is not None and read.digest != state.get(name, ''):
            msg = (
                f'The run in {str(out)!r} was started with other {name} than {file!r} now holds; '
                'resume it with the original file, or train into another --out.'
            )
            raise TrainingError(msg)
    session = _assemble(config, store, statistics, BatchLoader(store.images, extras))
    for prefix, module in (('learner.', session.learner), ('average.', session.average.network)):
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        load_strictly(module, own, str(out))
    with valid_checkpoint(out):
        session.sampler.restore(state['sampler'])
        _restore_optimizer(session.optimizer, tensors)
        torch.set_rng_state(tensors['random'])
        session.step, session.elapsed_s = int(state['step']), float(state['elapsed_s'])
    return session


def _check_frames(out: Path, store: FrameStore, expected: list[dict[str, Any]]) -> None:
    # in another order, or from other cameras, other pairs would be drawn
    before, now = (
        [[source.get(key) or '' for key in FRAMES_OF_A_RUN] for source in sources]
        for sources in (expected, store.sources)
    )
    if before != now:
        names = ', '.join(f'{source["name"]} ({source["frames"]} frames)' for source in expected)
        wrong = store.path == out / FRAME_STORE_NAME  # extracted again from other recordings
        first = f'delete {str(store.path)!r} and ' if wrong else ''
        msg = (
            f'The run in {str(out)!r} was started on other frames, those of {names}; {first}'
            'resume it with the same recordings and topics, or train into another --out.'
        )
        raise TrainingError(msg)


def _labels(extras: Sequence[BatchExtra]) -> Labels | None:
    return next((extra for extra in extras if isinstance(extra, Labels)), None)


def _tracks(extras: Sequence[BatchExtra]) -> Tracks | None:
    return next((extra.tracks for extra in extras if isinstance(extra, Flows)), None)


def _pairs(
    config: TrainConfig,
    store: FrameStore,
    extras: Sequence[BatchExtra],
    seed: int,
    favoured: np.ndarray | None = None,
) -> PairSampler:
    views = [extra.views for extra in extras if isinstance(extra, CameraBackgrounds)]
    return PairSampler(
        store.stamps_ns,
        registered_frames(store, config).episodes,
        min_gap_s=config.min_gap_s,
        max_gap_s=config.max_gap_s,
        seed=seed,
        favoured=favoured,
        views=views[0] if views else None,
        across=config.across_clips,
    )


def _first_state(
    config: TrainConfig, store: FrameStore, statistics: DatasetStatistics, loader: BatchLoader
) -> TrainingState:
    torch.manual_seed(config.seed)
    session = _assemble(config, store, statistics, loader)
    network = session.learner.network
    queries = initialise(network, config.init)
    if queries is not None:
        initialise_head(network, queries, store, config, loader.extras)
    session.average = WeightAverage(network, config.ema_decay)
    return session


def _assemble(
    config: TrainConfig, store: FrameStore, statistics: DatasetStatistics, loader: BatchLoader
) -> TrainingState:
    labels = _labels(loader.extras)
    favoured = None if labels is None else labels.frames
    sampler: PairSampler | LabelSampler
    if favoured is not None and learns_from_labels_alone(config.parts):
        sampler = LabelSampler(favoured, seed=config.seed)
    else:
        sampler = _pairs(config, store, loader.extras, config.seed, favoured)
    learner = Learner(config, store.network_hw, statistics)
    # torch's annotations lack this overload
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        learner.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    average = WeightAverage(learner.network, config.ema_decay)
    return TrainingState(config, store, sampler, learner, average, optimizer, statistics, loader)


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith('optimizer.'):
            _, position, name = key.split('.')
            moments.setdefault(int(position), {})[name] = tensor
    groups = optimizer.state_dict()['param_groups']
    [group] = optimizer.param_groups
    for index, own in moments.items():
        shapes = {name: tensor.shape for name, tensor in own.items() if name != 'step'}
        if shapes != dict.fromkeys(('exp_avg', 'exp_avg_sq'), group['params'][index].shape):
            raise ValueError(f'the moments of parameter {index} do not fit it')
    optimizer.load_state_dict({'state': moments, 'param_groups': groups})
