"""
Select the keypoints that are exported.

More keypoints may be learned than a scene has room for, or than were requested. At the end of a
run, keypoints that never move, lie where nothing moves, or duplicate another one are pruned; the
limits are slightly stricter than those of evaluation, which uses other frames. Of the others,
those that best predict the motion of the rest are kept: the requested number, or until all the
rest can be predicted. No labels are needed. With a camera that moves, motion is that against the
camera's, and a keypoint on the background is static wherever it goes.
"""

from __future__ import annotations

from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.learning.data.scenes import (
    at_reference,
    CameraMotion,
    centred,
    members,
    on_foreground,
    spread,
)
from keypoint_perception.model.network import Keypointer
import torch
from torch import Tensor
from torch.nn import functional

# Shares of the diagonal: least spread of a moving keypoint, distance between duplicates.
LEAST_SPREAD, DUPLICATE = 0.015, 0.022
# Root mean square error, as a share of the diagonal, within which a keypoint counts as predicted
# from the others.
PREDICTED = 0.01
# Shares of the frames from which a keypoint counts as static, or two as duplicates.
OFTEN = 0.45
# Standard deviation of a pixel, in grey levels, from which something moves there.
LEAST_VARIATION = 6.0
# With a camera that moves, a keypoint is on the background where less is foreground.
LEAST_FOREGROUND = 0.25
# Frames that are processed at once; all of them would take gigabytes.
CHUNK = 128


@torch.no_grad()
def choose_keypoints(
    network: Keypointer,
    frames: Tensor,
    scene: Tensor,
    count: int | None = None,
    motion: CameraMotion | None = None,
    learned: list[int] | None = None,
) -> list[int]:
    """
    Return the useful keypoints, in their order; all of them if none is.

    :param frames: spread over the recording, (N, H, W, 3) uint8
    :param scene: scene of each frame, (N,) int
    :param count: how many to return; None = those from which the rest can be predicted
    :param motion: of the camera, None if it stands still
    :param learned: those that the objective has found; None = all
    """
    found = torch.cat([network(some).float().cpu() for some in frames.split(CHUNK)])  # (N, K, 3)
    kept = useful_keypoints(found, frames, scene, motion)
    if learned is not None:
        kept = [k for k in kept if k in learned]
    still = at_reference(found[:, kept, :2], motion)
    ranked, errors = rank_by_explained_motion(centred(still, scene))
    if count is None:
        limit = PREDICTED * diagonal_px(*frames.shape[1:3])
        enough = sum(error > limit for error in errors) + 1
        return sorted(kept[i] for i in ranked[:enough]) or list(range(found.shape[1]))
    others = [k for k in range(found.shape[1]) if k not in kept]
    return sorted(([kept[i] for i in ranked] + others)[:count])


def useful_keypoints(
    found: Tensor, frames: Tensor, scene: Tensor, motion: CameraMotion | None = None
) -> list[int]:
    """
    Return the keypoints that move and are not duplicates of a more confident one.

    :param found: u, v in px and confidence, (N, K, 3)
    :param frames: (N, H, W, 3) uint8
    :param scene: scene of each frame, (N,) int
    """
    uv, diagonal = found[..., :2], diagonal_px(*frames.shape[1:3])
    if motion is None:
        static = static_share(uv, frames.cpu(), scene)
    else:
        static = (on_foreground(uv, frames.cpu(), motion) < LEAST_FOREGROUND).float().mean(dim=0)
    useful = (spread(at_reference(uv, motion), scene) > LEAST_SPREAD * diagonal) & (static < OFTEN)
    kept: list[int] = []
    for k in found[..., 2].mean(dim=0).argsort(descending=True).tolist():
        near = (uv[:, kept] - uv[:, k : k + 1]).norm(dim=-1) < DUPLICATE * diagonal  # (N, kept)
        if useful[k] and not (near.float().mean(dim=0) > OFTEN).any():
            kept.append(k)
    return kept


def rank_by_explained_motion(uv: Tensor) -> tuple[list[int], list[float]]:
    """
    Return keypoints in the order of what they add to a linear prediction of all motion.

    The next one is always that whose coordinates, with those before it, leave the least variance
    unexplained: greedy column selection, as in a pivoted QR decomposition.

    :param uv: (N, K, 2) px
    :return: the order, and after each keypoint the root mean square error of the worst-predicted
        keypoint, px, which never increases
    """
    residual = (uv - uv.mean(dim=0)).double()
    order, worst = list[int](), list[float]()
    while len(order) < uv.shape[1]:
        gains = [-1.0 if k in order else _explained_by(residual, k)[1] for k in range(uv.shape[1])]
        order.append(max(range(len(gains)), key=gains.__getitem__))
        basis, _ = _explained_by(residual, order[-1])
        residual = residual - torch.einsum('nb,mb,mkc->nkc', basis, basis, residual)
        worst.append(float(residual.square().sum(dim=-1).mean(dim=0).max().sqrt()))
    return order, worst


def _explained_by(residual: Tensor, k: int) -> tuple[Tensor, float]:
    """Return a basis of a keypoint's residual motion, (N, 2), and how much of all it explains."""
    basis, values, _ = torch.linalg.svd(residual[:, k], full_matrices=False)
    basis = basis * (values > 1e-6 * len(residual))  # a direction without motion spans nothing
    return basis, float(torch.einsum('nb,nkc->bkc', basis, residual).square().sum())


def static_share(uv: Tensor, frames: Tensor, scene: Tensor) -> Tensor:
    """Return the share of frames in which each keypoint (N, K, 2) lies on static pixels, (K,)."""
    height, width = frames.shape[1:3]
    column = uv[..., 0].round().long().clamp(0, width - 1)
    row = uv[..., 1].round().long().clamp(0, height - 1)
    still = torch.ones(uv.shape[:2])
    for mine in members(scene):
        if len(mine) > 1:
            variation = _variation(frames[mine])[row[mine], column[mine]]
            still[mine] = (variation < LEAST_VARIATION).float()
    return still.mean(dim=0)


def _variation(frames: Tensor) -> Tensor:
    """Return the largest standard deviation within two pixels of each, (H, W) grey levels."""
    grey = torch.cat([some.float().mean(dim=-1) for some in frames.split(CHUNK)])
    return functional.max_pool2d(grey.std(dim=0)[None, None], 5, stride=1, padding=2)[0, 0]
