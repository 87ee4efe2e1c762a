"""The keypoints of a run at its first step: labelled points, and clusters of the foreground."""

from __future__ import annotations

from collections.abc import Sequence
import logging

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.keypoints import network_to_cells
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.camera_backgrounds import CameraBackgrounds
from keypoint_perception.learning.data.foreground import foreground_map
from keypoint_perception.learning.data.labels import Labels
from keypoint_perception.learning.initial.initial_head import (
    cluster_features,
    labelled_features,
    PointQueries,
)
from keypoint_perception.model.layers import map_size, normalise
from keypoint_perception.model.network import Keypointer, UNet
from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Frames that features are gathered from, and how many are processed at once.
FRAMES, CHUNK = 256, 32


@torch.no_grad()
def initialise_head(
    network: Keypointer,
    queries: PointQueries,
    store: FrameStore,
    config: TrainConfig,
    extras: Sequence[object],
) -> None:
    """
    Make the head of a network whose features are those of the package, for a recording.

    The first rows find the labelled points, if there are any, the others clusters of the
    foreground; rows that there is too little foreground for stay random.

    :param extras: the batch extras of the run
    """
    assert isinstance(network.body, UNet)
    head, rows = network.body.head, Tensor()
    labels = next((extra for extra in extras if isinstance(extra, Labels)), None)
    if labels is not None:
        frames = evenly_spaced(labels.frames, FRAMES)
        cells = network_to_cells(torch.from_numpy(labels.uv[frames]), network.stride)
        found = labelled_features(features_of(network.body, store, frames), cells)
        rows = queries(found[: len(head.weight)])
    missing = len(head.weight) - len(rows)
    if missing:
        frames = evenly_spaced(np.arange(len(store)), FRAMES)
        features = features_of(network.body, store, frames)
        backgrounds = backgrounds_of(store, config, extras)
        foreground = foreground_of(store, frames, backgrounds, map_size(features))
        generator = torch.Generator().manual_seed(config.seed)
        clusters = cluster_features(features, foreground, missing, generator)
        if clusters is None:
            log.info('Initial keypoints: random, because hardly anything stands out.')
        else:
            rows = torch.cat([rows, queries(clusters)])
    if len(rows):
        known = rows.isfinite().all(dim=-1)
        head.weight[: len(rows)][known] = rows[known][:, :, None, None]
        assert head.bias is not None
        head.bias[: len(rows)][known] = 0


def features_of(body: UNet, store: FrameStore, frames: np.ndarray) -> Tensor:
    """Return the features of frames, (N, c, h, w)."""
    device = body.head.weight.device
    return torch.cat(
        [
            body.features(normalise(torch.from_numpy(store.images[some]).to(device))).cpu()
            for some in np.array_split(frames, -(-len(frames) // CHUNK))
        ]
    )


def backgrounds_of(
    store: FrameStore, config: TrainConfig, extras: Sequence[object]
) -> CameraBackgrounds:
    """Return the backgrounds of a run, from its batch extras if they are among them."""
    return next(
        (e for e in extras if isinstance(e, CameraBackgrounds)), None
    ) or CameraBackgrounds(store, config)


def foreground_of(
    store: FrameStore,
    frames: np.ndarray,
    backgrounds: CameraBackgrounds,
    hw: tuple[int, int],
) -> Tensor:
    """Return how certainly each of h x w cells of frames shows foreground, (N, h, w)."""
    maps = []
    for some in np.array_split(frames, -(-len(frames) // CHUNK)):
        extra = backgrounds.take(np.stack([some, some]))
        background, noise = (extra[name].chunk(2)[0] for name in ('background', 'noise'))
        images = normalise(torch.from_numpy(store.images[some]))
        maps.append(foreground_map(images, background, noise, hw))
    return torch.cat(maps)
