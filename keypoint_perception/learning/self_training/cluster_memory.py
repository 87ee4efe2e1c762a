"""
What the objective remembers between steps: recent candidates, clusters and their keypoints.

All of it is in buffers and hence in the checkpoint, so that a resumed run goes on exactly.
"""

from __future__ import annotations

import logging

from keypoint_perception.learning.self_training.clusters import (
    assign,
    k_means,
    limits,
    Members,
    passes,
    places,
    Samples,
    squared_distance,
)
from keypoint_perception.learning.self_training.groups import choose, join, merit
from keypoint_perception.learning.self_training.pseudo_labels import (
    find_labels,
    keypoint_distance,
    PseudoLabels,
)
import torch
from torch import nn, Tensor

log = logging.getLogger('keypoint_perception')

# Clusters per keypoint (Mallis et al. 2022 have 100 for 10 to 30 keypoints).
CLUSTERS_PER_KEYPOINT = 4
# Images whose candidates are remembered, and the least number of candidates per cluster for a
# round.
IMAGES, LEAST_PER_CLUSTER = 384, 10
# Factor on the merit of a group that is a keypoint already: another must be clearly better, as the
# maps have to learn it anew.
INCUMBENT = 1.3


class ClusterMemory(nn.Module):
    """Candidates of recent images, the clusters of their descriptors, and the keypoints."""

    recent: Tensor
    recent_xy: Tensor
    recent_links: Tensor
    recent_frame_xy: Tensor
    remembered: Tensor
    centroids: Tensor
    limits: Tensor
    owner: Tensor
    clustered_at: Tensor

    def __init__(self, keypoints: int, candidates: int, length: int) -> None:
        super().__init__()
        self.keypoints = keypoints
        clusters = CLUSTERS_PER_KEYPOINT * keypoints
        nowhere = torch.full((IMAGES, candidates, 2), torch.nan)
        for name, value in {
            'recent': torch.zeros(IMAGES, candidates, length, dtype=torch.float16),
            'recent_xy': nowhere,
            'recent_links': torch.full((IMAGES, candidates), -1),
            'recent_frame_xy': nowhere.clone(),
            'remembered': torch.tensor(0),
            'centroids': torch.zeros(clusters, length),
            'limits': torch.zeros(clusters),
            'owner': torch.full((clusters,), -1),  # the keypoint of a cluster
            'clustered_at': torch.tensor(
                -1.0, dtype=torch.float64
            ),  # share of the budget at the last round
        }.items():
            self.register_buffer(name, value)

    @property
    def clustered(self) -> bool:
        """Return whether there are clusters yet."""
        return float(self.clustered_at) >= 0

    def learned(self) -> list[int]:
        """Return the keypoints that have clusters."""
        return sorted(set(self.owner[self.owner >= 0].tolist()))

    @torch.no_grad()
    def remember(self, samples: Samples) -> None:
        """Store the candidates of images in place of the oldest."""
        count = min(len(samples.xy), IMAGES)
        slots = (self.remembered + torch.arange(count, device=self.recent.device)) % IMAGES
        self.recent[slots] = samples.descriptors[:count].half()
        self.recent_xy[slots] = samples.xy[:count].float()
        self.recent_links[slots] = samples.links[:count]
        self.recent_frame_xy[slots] = samples.frame_xy[:count].float()
        self.remembered += count

    def cluster_if_due(self, done: float, interval: float) -> None:
        """
        Do a round of clustering if the last one was long ago.

        :param done: share of the budget that is used up
        :param interval: between two rounds, likewise
        """
        before = float(self.clustered_at)
        # a resumed run that has got a larger budget is earlier in it
        recently = before <= done < before + interval - 1e-9
        if not (self.clustered and recently) and self.cluster():
            self.clustered_at.fill_(done)

    @torch.no_grad()
    def cluster(self) -> bool:
        """Cluster the remembered descriptors; return whether there were enough."""
        filled = min(int(self.remembered), IMAGES)
        samples = Samples(
            self.recent[:filled].float(),
            self.recent_xy[:filled],
            self.recent_links[:filled],
            self.recent_frame_xy[:filled],
        )
        points = samples.descriptors[samples.xy.isfinite().all(dim=-1)]
        count = len(self.centroids)
        if len(points) < LEAST_PER_CLUSTER * count:
            return False
        centroids = k_means(points, count, self.centroids if self.clustered else None)
        distance, nearest = squared_distance(points, centroids).sqrt().min(dim=1)
        limit = limits(distance, nearest, count)
        members = assign(samples, centroids, limit)
        group = join(passes(members, samples.links, count), places(samples, members, count)[0])
        grouped = torch.where(members.group < 0, -1, group[members.group.clamp(min=0)])
        members = Members(grouped, members.distance)
        where, more = places(samples, members, count)
        worth = merit(samples, members, where, more)
        total = worth.total
        total[group[self.owner >= 0].unique()] *= INCUMBENT
        chosen = choose(total, where, self.keypoints)
        self.owner.copy_(self._owners(group, chosen))
        self.centroids.copy_(centroids)
        self.limits.copy_(limit)
        seen, alone = (float(p[chosen].mean()) for p in (worth.seen.square(), worth.alone))
        log.info(
            'Clusters: %d groups of %d clusters, %d keypoints; in view in %.0f %% of the images, '
            'unambiguous in %.0f %% of these.',
            len(group.unique()), count, len(chosen), 100 * seen, 100 * alone,
        )  # fmt: skip
        return True

    def _owners(self, group: Tensor, chosen: list[int]) -> Tensor:
        """Return the keypoint of each cluster; a group keeps that of most of its clusters."""
        owner = torch.full_like(self.owner, -1)
        free = list(range(self.keypoints))
        new = []
        for number in chosen:
            before = self.owner[group == number]
            votes = [int(k) for k in before.tolist() if k in free]
            if votes:
                keypoint = max(sorted(set(votes)), key=votes.count)
                free.remove(keypoint)
                owner[group == number] = keypoint
            else:
                new.append(number)
        for number, keypoint in zip(new, free, strict=False):
            owner[group == number] = keypoint
        return owner

    @torch.no_grad()
    def labels(self, descriptors: Tensor, xy: Tensor, others: Tensor) -> PseudoLabels:
        """
        Return the points to train the maps on.

        :param descriptors: of the candidates, (B, N, C)
        :param xy: of the candidates, longer image sides, NaN where there is none, (B, N, 2)
        :param others: descriptors of further points, (B, R, C)
        """
        both = torch.cat([descriptors, others], dim=1)
        if not self.clustered:
            shape = (*both.shape[:2], self.keypoints)
            distance = torch.full(shape, torch.inf, device=both.device)
        else:
            distance = keypoint_distance(
                both, self.centroids, self.limits, self.owner, self.keypoints
            )
        own, rest = distance.split([descriptors.shape[1], others.shape[1]], dim=1)
        return find_labels(own, xy, rest)
