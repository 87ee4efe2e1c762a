"""
Keypoints that are moved to things that none of them is on.

The loss hardly notices that a small thing has lost its keypoint, because it is summed over pixels,
and no gradient of a keypoint elsewhere points there. In the first part of a run, what the
keypoints leave uncovered is therefore looked for, and the keypoint that is needed least is moved
to it. With f the features of a cell, m and S the mean and covariance of all of them, and c the
mean of those of a cluster of uncovered cells, its row of the head becomes that of linear
discriminant analysis (Fisher 1936, https://doi.org/10.1111/j.1469-1809.1936.tb02137.x)::

    w = S^-1 (c - m)

so that the softmax of w f over the cells is the probability of each to be of the cluster.
"""

from __future__ import annotations

import logging

from keypoint_perception.learning.composite_objective import needs
from keypoint_perception.learning.initial.initial_head import cluster_features
from keypoint_perception.learning.initial.initial_keypoints import (
    backgrounds_of,
    features_of,
    foreground_of,
)
from keypoint_perception.learning.training_state import TrainingState
from keypoint_perception.model.heatmaps import softmax_2d, windowed_expectation
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import UNet
from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Shares of the budget after which uncovered things are looked for, from this step on.
TIMES, FIRST_STEP = (0.16, 0.24, 0.32, 0.4), 20
# Frames that are looked at, keypoints that are moved at a time, clusters that are tried for each.
FRAMES, MOST_MOVED, CLUSTERS = 128, 2, 6
# A keypoint covers the cells this close to it. A frame counts for it if these hold so much
# foreground that no other keypoint covers.
RADIUS, LEAST_CELLS = 1.5, 0.5
# A keypoint is moved to what it covers in at least this share of the frames, and in this many
# times as many as those in which it is needed where it is.
LEAST_SHARE, TIMES_AS_OFTEN = 0.4, 2.0
RIDGE = 1e-3


class Reseeding:
    """
    Moves keypoints of a run to things that none of them is on.

    Only of networks whose head is a 1 x 1 convolution, and of objectives that learn from what
    differs from a background.
    """

    def __init__(self, session: TrainingState, done: float = 0.0) -> None:
        """
        Prepare for the steps of a run.

        :param done: share of the budget that was used up before the last step, of a resumed run
        """
        self._session, self._done = session, done
        self._frames = evenly_spaced(np.arange(len(session.store)), FRAMES)
        self._foreground: Tensor | None = None
        self._applies = isinstance(session.learner.network.body, UNet) and 'background' in needs(
            session.config.parts
        )

    @torch.no_grad()
    def after_step(self, done: float) -> list[int]:
        """
        Look for uncovered things where it is time, and return the keypoints that were moved.

        :param done: share of the budget that is used up
        """
        before, self._done = self._done, done
        due = any(before < time <= done for time in TIMES) and done <= 2 * TIMES[-1]
        if not (self._applies and due and self._session.step >= FIRST_STEP):
            return []
        body = self._session.learner.network.body
        assert isinstance(body, UNet)
        features = features_of(body, self._session.store, self._frames)
        if self._foreground is None:
            session = self._session
            backgrounds = backgrounds_of(session.store, session.config, session.loader.extras)
            hw = map_size(features)
            self._foreground = foreground_of(session.store, self._frames, backgrounds, hw)
        moved: list[int] = []
        while len(moved) < MOST_MOVED:
            logits = torch.einsum('kc,nchw->nkhw', body.head.weight[:, :, 0, 0].cpu(), features)
            choice = better_place(logits, features, self._foreground, self._session.step, moved)
            if choice is None:
                break
            keypoint, row = choice
            self._replace(keypoint, row)
            moved.append(keypoint)
        if moved:
            text = 'Step %d: moved %d of the keypoints to what none was on.'
            log.info(text, self._session.step, len(moved))
        return moved

    def _replace(self, keypoint: int, row: Tensor) -> None:
        """Replace a row of the head, in the average of the network too, and forget its moments."""
        for network in (self._session.learner.network, self._session.average.network):
            assert isinstance(network.body, UNet)
            head = network.body.head
            assert head.bias is not None
            for parameter, value in ((head.weight, row[:, None, None]), (head.bias, 0.0)):
                parameter.data[keypoint] = value
                for name in ('exp_avg', 'exp_avg_sq'):
                    moments = self._session.optimizer.state.get(parameter, {})
                    if name in moments:
                        moments[name][keypoint] = 0


def better_place(
    logits: Tensor, features: Tensor, foreground: Tensor, seed: int, taken: list[int]
) -> tuple[int, Tensor] | None:
    """
    Return the keypoint that is needed least and a row of the head for something uncovered.

    :param logits: of the keypoints, (N, K, h, w)
    :param features: (N, c, h, w)
    :param foreground: how certainly each cell shows foreground, (N, h, w)
    :param taken: keypoints that are not to be moved
    :return: None if nothing is uncovered often enough
    """
    covered = covers(logits)  # (N, K, h, w)
    others = covered.sum(dim=1, keepdim=True) - covered
    needed = often(covered * (1 - others).clamp(min=0), foreground)  # (K,)
    uncovered = foreground * (1 - covered.sum(dim=1)).clamp(min=0)
    generator = torch.Generator().manual_seed(seed)
    clusters = cluster_features(features, uncovered, CLUSTERS, generator)
    if clusters is None:
        return None
    rows = discriminants(features, clusters)
    gains = often(covers(torch.einsum('jc,nchw->njhw', rows, features)), uncovered)
    best = int(gains.argmax())
    needed[taken] = torch.inf
    least = int(needed.argmin())
    if gains[best] < max(LEAST_SHARE, TIMES_AS_OFTEN * float(needed[least])):
        return None
    return least, rows[best]


def covers(logits: Tensor) -> Tensor:
    """Return how far keypoints cover each cell, (N, K, h, w) in [0, 1]."""
    height, width = map_size(logits)
    xy, mass = windowed_expectation(softmax_2d(logits), 2)
    x = torch.arange(width) - xy[..., 0:1]
    y = torch.arange(height) - xy[..., 1:2]
    near = x.square()[..., None, :] + y.square()[..., :, None] <= RADIUS**2
    return near * mass[..., None, None]


def often(cover: Tensor, foreground: Tensor) -> Tensor:
    """Return the share of frames in which keypoints cover some of the foreground, (K,)."""
    amount = (cover * foreground[:, None]).sum(dim=(2, 3))  # (N, K)
    return (amount >= LEAST_CELLS).float().mean(dim=0)


def discriminants(features: Tensor, clusters: Tensor) -> Tensor:
    """Return the rows of linear discriminant analysis for clusters, both (J, c)."""
    every = features.permute(0, 2, 3, 1).flatten(end_dim=2)  # (n, c)
    covariance = every.T.cov()
    covariance += RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))
    rows: Tensor = torch.linalg.solve(covariance, (clusters - every.mean(dim=0)).T).T
    return rows
