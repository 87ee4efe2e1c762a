"""
Clusters of descriptors: k-means, and who belongs to a cluster.

A cluster's limit is the mean distance of its members plus one standard deviation (Mallis et al.
2020), of all members; the public code takes it from the first 10,000 descriptors only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Rounds of Lloyd's algorithm, and descriptors that the first centroids are drawn from.
LLOYD_ROUNDS, SEEDING_SAMPLE = 10, 4096
# A cluster with fewer members is dropped.
LEAST_MEMBERS = 8
# A second member of a cluster in an image, this far from the first, makes it ambiguous; share of
# the longer image side.
APART = 0.08


class Samples(NamedTuple):
    """
    Candidates of S images, N each, with lengths in longer image sides.

    :param descriptors: (S, N, C), of length one
    :param xy: (S, N, 2) in the image that the descriptors are of; NaN where there is no candidate
    :param links: index of the same point in the next image, or -1, (S, N) long
    :param frame_xy: (S, N, 2) in the recording's frame, which was warped into the image
    """

    descriptors: Tensor
    xy: Tensor
    links: Tensor
    frame_xy: Tensor


class Members(NamedTuple):
    """
    The cluster or group of each candidate.

    :param group: -1 for none, (S, N) long
    :param distance: in units of the cluster's limit, (S, N)
    """

    group: Tensor
    distance: Tensor


def k_means(points: Tensor, count: int, start: Tensor | None = None) -> Tensor:
    """
    Return the centroids of clusters of vectors of length one, (count, C), of length one.

    :param points: (n, C)
    :param start: centroids to begin with, (count, C); seeds of k-means++ if None
    """
    centroids = spread_seeds(points, count) if start is None else start
    for _ in range(LLOYD_ROUNDS):
        nearest = squared_distance(points, centroids).argmin(dim=1)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, points)
        empty = sums.norm(dim=1, keepdim=True) < 1e-6  # keeps its centroid
        centroids = functional.normalize(torch.where(empty, centroids, sums), dim=1)
    return centroids


def spread_seeds(points: Tensor, count: int) -> Tensor:
    """Return seeds of clusters, each drawn by the squared distance from those before it."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(points), generator=generator)[:SEEDING_SAMPLE]
    points = points[order.to(points.device)]
    chosen = [0]
    nearest = squared_distance(points, points[:1])[:, 0]
    while len(chosen) < count:
        drawn = torch.multinomial(nearest.cpu().double() + 1e-9, 1, generator=generator)
        chosen.append(int(drawn))
        nearest = torch.minimum(nearest, squared_distance(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def squared_distance(points: Tensor, centroids: Tensor) -> Tensor:
    """Return |f - c|^2 of vectors of length one, (..., C), (M, C) -> (..., M)."""
    return (2 - 2 * points @ centroids.T).clamp(min=0)


def limits(distance: Tensor, cluster: Tensor, count: int) -> Tensor:
    """
    Return the distance within which a candidate is a member, (count,).

    :param distance: from the nearest centroid, (n,)
    :param cluster: the nearest one, (n,)
    :return: the mean plus a standard deviation; 0 where there are too few candidates
    """
    zeros = torch.zeros(count, device=distance.device)
    number = zeros.index_add(0, cluster, torch.ones_like(distance))
    mean = zeros.index_add(0, cluster, distance) / number.clamp(min=1)
    square = zeros.index_add(0, cluster, (distance - mean[cluster]).square())
    spread = (square / number.clamp(min=1)).sqrt()
    return torch.where(number >= LEAST_MEMBERS, mean + spread, 0.0)


def assign(samples: Samples, centroids: Tensor, limit: Tensor) -> Members:
    """Return the nearest cluster of each candidate, -1 beyond the cluster's limit."""
    distance, nearest = squared_distance(samples.descriptors, centroids).sqrt().min(dim=-1)
    relative = distance / limit[nearest].clamp(min=1e-6)
    inside = (relative <= 1) & samples.xy.isfinite().all(dim=-1)
    return Members(torch.where(inside, nearest, -1), relative)


def places(samples: Samples, members: Members, count: int) -> tuple[Tensor, Tensor]:
    """
    Return where each image has the nearest member of each cluster, and whether others lie apart.

    :return: (S, M, 2), NaN where there is none; (S, M) bool
    """
    numbers = torch.arange(count, device=members.group.device)
    member = members.group[..., None] == numbers  # (S, N, M)
    best = torch.where(member, members.distance[..., None], torch.inf).argmin(dim=1)  # (S, M)
    where = samples.xy.gather(1, best[..., None].expand(-1, -1, 2))
    where = torch.where(member.any(dim=1)[..., None], where, torch.nan)
    away = torch.cdist(samples.xy.nan_to_num(9.0), where.nan_to_num(-9.0))  # (S, N, M)
    return where, (member & (away > APART)).any(dim=1)


def passes(members: Members, links: Tensor, count: int) -> Tensor:
    """
    Return how often a followed member of one cluster is a member of another, (M + 1, M + 1).

    The last row and column are candidates without a cluster.
    """
    there = members.group.roll(-1, dims=0).gather(1, links.clamp(min=0))
    followed = links >= 0
    start, end = (torch.where(c < 0, count, c)[followed] for c in (members.group, there))
    found = torch.zeros((count + 1) ** 2, device=links.device)
    found.index_add_(0, start * (count + 1) + end, torch.ones(len(start), device=links.device))
    return found.view(count + 1, count + 1)
