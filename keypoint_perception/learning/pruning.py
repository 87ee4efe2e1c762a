"""
Which keypoints are worth exporting.

More keypoints are learned than a scene may have room for, or than were asked for. At the end of a
run those are left out that never move, that lie where nothing ever moves, or that are where
another one is; the bounds are a little stricter than those of evaluation, which sees other frames.
Of the others those are taken from which the motion of the rest can be told best: as many as were
asked for, or until all the rest can be told. No labels are needed.
"""

from __future__ import annotations

from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.learning.data.scenes import centred, members, scene_of
from keypoint_perception.model.network import Keypointer
import torch
from torch import Tensor
from torch.nn import functional

# Shares of the diagonal: spread that counts as moving, distance that counts as one place.
MOVES, ONE_PLACE = 0.015, 0.022
# Root mean square distance, as a share of the diagonal, to which a keypoint that need not be kept
# can be told from the others.
TOLD = 0.01
# Shares of the frames from which a keypoint is taken to be static, or two to be one.
OFTEN = 0.45
# Grey levels by which a pixel varies where something moves.
VARIES = 6.0
# Frames that are worked on at once; all of them would take gigabytes.
AT_ONCE = 128


@torch.no_grad()
def choose_keypoints(
    network: Keypointer, frames: Tensor, count: int | None = None, *, scene: Tensor | None = None
) -> list[int]:
    """
    Return the keypoints worth having, in their order; all of them if none is.

    :param frames: spread over the recording, (N, H, W, 3) uint8
    :param count: how many to return exactly; None = as many as are worth it
    :param scene: number of each frame's scene, (N,) int; one for all if None
    """
    scene = scene_of(frames, scene)
    found = torch.cat([network(some).float().cpu() for some in frames.split(AT_ONCE)])  # (N, K, 3)
    kept = useful_keypoints(found, frames, scene)
    ranked, left = by_what_they_tell(centred(found[:, kept, :2], scene))
    if count is None:
        bound = TOLD * diagonal_px(*frames.shape[1:3])
        enough = sum(distance > bound for distance in left) + 1
        return sorted(kept[i] for i in ranked[:enough]) or list(range(found.shape[1]))
    others = [k for k in range(found.shape[1]) if k not in kept]
    return sorted(([kept[i] for i in ranked] + others)[:count])


def useful_keypoints(found: Tensor, frames: Tensor, scene: Tensor | None = None) -> list[int]:
    """
    Return the keypoints that follow something which no surer one follows.

    :param found: u, v in px and confidence, (N, K, 3)
    :param frames: (N, H, W, 3) uint8
    :param scene: number of each frame's scene, (N,) int; one for all if None
    """
    scene = scene_of(frames, scene)
    uv, diagonal = found[..., :2], diagonal_px(*frames.shape[1:3])
    static = static_share(uv, frames.cpu(), scene)
    useful = moving(centred(uv, scene), diagonal) & (static < OFTEN)
    kept: list[int] = []
    for k in found[..., 2].mean(dim=0).argsort(descending=True).tolist():
        near = (uv[:, kept] - uv[:, k : k + 1]).norm(dim=-1) < ONE_PLACE * diagonal  # (N, kept)
        if useful[k] and not (near.float().mean(dim=0) > OFTEN).any():
            kept.append(k)
    return kept


def by_what_they_tell(uv: Tensor) -> tuple[list[int], list[float]]:
    """
    Return keypoints in the order of what they add to a linear account of all motion.

    Each next one is that whose coordinates, with those before it, leave the least variance
    unexplained: greedy selection of columns, as in a pivoted QR decomposition.

    :param uv: (N, K, 2) px
    :return: the order, and with each what is then unexplained of the keypoint that is told worst,
        its root mean square distance in px, which never grows
    """
    left = (uv - uv.mean(dim=0)).double()
    order: list[int] = []
    worst: list[float] = []
    while len(order) < uv.shape[1]:
        gains = [-1.0 if k in order else told_by(left, k)[1] for k in range(uv.shape[1])]
        order.append(max(range(len(gains)), key=gains.__getitem__))
        basis, _ = told_by(left, order[-1])
        left = left - torch.einsum('nb,mb,mkc->nkc', basis, basis, left)
        worst.append(float(left.square().sum(dim=-1).mean(dim=0).max().sqrt()))
    return order, worst


def told_by(left: Tensor, k: int) -> tuple[Tensor, float]:
    """
    Return what a keypoint's remaining motion spans, (N, 2), and how much of all motion that is.

    :param left: what is not yet explained, (N, K, 2) px
    """
    basis, values, _ = torch.linalg.svd(left[:, k], full_matrices=False)
    basis = basis * (values > 1e-6 * len(left))  # a direction without motion spans nothing
    return basis, float(torch.einsum('nb,nkc->bkc', basis, left).square().sum())


def moving(uv: Tensor, diagonal: float) -> Tensor:
    """Return which keypoints move, by how far they are from their mean, (N, K, 2) px -> (K,)."""
    spread = uv.square().sum(dim=-1).mean(dim=0).sqrt()
    return spread > MOVES * diagonal


def static_share(uv: Tensor, frames: Tensor, scene: Tensor) -> Tensor:
    """
    Return the share of the frames in which keypoints lie where nothing moves, (K,).

    :param uv: (N, K, 2) px
    :param frames: (N, H, W, 3) uint8
    :param scene: number of each frame's scene, (N,) int
    """
    height, width = frames.shape[1:3]
    column = uv[..., 0].round().long().clamp(0, width - 1)
    row = uv[..., 1].round().long().clamp(0, height - 1)
    still = torch.ones(uv.shape[:2])
    for mine in members(scene):
        if len(mine) > 1:
            still[mine] = (_variation(frames[mine])[row[mine], column[mine]] < VARIES).float()
    return still.mean(dim=0)


def _variation(frames: Tensor) -> Tensor:
    """Return how much pixels vary over frames, the most within two pixels, (H, W) grey levels."""
    grey = torch.cat([some.float().mean(dim=-1) for some in frames.split(AT_ONCE)])
    return functional.max_pool2d(grey.std(dim=0)[None, None], 5, stride=1, padding=2)[0, 0]
