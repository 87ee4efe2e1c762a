"""
What a run rebuilds, to be looked at: sources, targets, and the targets rebuilt.

An objective that rebuilds frames offers ``rebuild(batch)``, the second frames, or what it makes in
their place, (B, 3, H, W) in [-1, 1].
"""

from __future__ import annotations

from keypoint_perception.drawing import tile_images
from keypoint_perception.learning.learner import Learner
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.model.layers import normalise
import numpy as np
import torch
from torch import Tensor

PAIRS = 5


@torch.no_grad()
def reconstruction_sheet(
    learner: Learner, images0: Tensor, images1: Tensor, extra: dict[str, Tensor]
) -> np.ndarray | None:
    """
    Return a sheet with a column a pair: source, target, rebuilt; None if nothing rebuilds.

    :param images0: the sources, RGB uint8, (B, H, W, 3)
    :param images1: the targets
    :return: (H, W, 3) uint8
    """
    for objective in learner.objective.objectives.values():
        if hasattr(objective, 'rebuild'):
            batch = PairBatch(learner.network, normalise(images0), normalise(images1), extra)
            made = objective.rebuild(batch).float()
            made = ((made.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
            rows = [images.cpu().numpy() for images in (images0, images1, made)]
            return tile_images([image for row in rows for image in row], len(images0))
    return None
