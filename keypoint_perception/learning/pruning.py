"""
Select the keypoints that are exported.

More keypoints may be learned than a scene has room for, or than were requested. At the end of a
run, keypoints that never move, lie where nothing moves, or duplicate another one are pruned; the
limits are slightly stricter than those of evaluation, which uses other frames. Of the others,
those that best predict the motion of the rest are kept: the requested number, or until all the
rest can be predicted. No labels are needed. With a camera that moves, motion is that against the
camera's, and a keypoint on the background is static wherever it goes. Points that were learned by
their looks may rest in the world before such a camera: those must move in the image alone.
"""

from __future__ import annotations

from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.learning.data.foreground import difference
from keypoint_perception.learning.data.noise import measure_noise, SCENE_FRAMES
from keypoint_perception.learning.data.scenes import (
    at_reference,
    CameraMotion,
    centred,
    members,
    on_foreground,
    spread,
)
from keypoint_perception.model.layers import normalise
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
# Standard deviation of a pixel, and difference from the background, from which something moves
# there: six grey levels, in units of [-1, 1], or more where noise explains more.
LEAST_VARIATION = 6 / 127.5
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
    *,
    resting: bool = False,
) -> list[int]:
    """
    Return the useful keypoints, in their order; if none is, those that are no duplicates.

    :param frames: spread over the recording, (N, H, W, 3) uint8
    :param scene: scene of each frame, (N,) int
    :param count: how many to return; None = those from which the rest can be predicted
    :param motion: of the camera, None if it stands still
    :param learned: those that the objective has found; None = all
    :param resting: whether keypoints may rest in the world, before a camera that moves
    """
    found = torch.cat([network(some).float().cpu() for some in frames.split(CHUNK)])  # (N, K, 3)
    kept = useful_keypoints(found, frames, scene, motion, resting=resting)
    if learned is not None:
        kept = [k for k in kept if k in learned]
    still = at_reference(found[:, kept, :2], motion)
    ranked, errors = rank_by_explained_motion(centred(still, scene))
    if count is None:
        diagonal = diagonal_px(*frames.shape[1:3])
        limit = PREDICTED * diagonal
        enough = sum(error > limit for error in errors) + 1
        return sorted(kept[i] for i in ranked[:enough]) or sorted(_distinct(found, diagonal))
    others = [k for k in range(found.shape[1]) if k not in kept]
    return sorted(([kept[i] for i in ranked] + others)[:count])


def useful_keypoints(
    found: Tensor,
    frames: Tensor,
    scene: Tensor,
    motion: CameraMotion | None = None,
    *,
    resting: bool = False,
) -> list[int]:
    """
    Return the keypoints that move and are not duplicates of a more confident one.

    :param found: u, v in px and confidence, (N, K, 3)
    :param frames: (N, H, W, 3) uint8
    :param scene: scene of each frame, (N,) int
    :param resting: whether keypoints may lie on what rests in the world
    """
    uv, diagonal = found[..., :2], diagonal_px(*frames.shape[1:3])
    if resting:
        static = torch.zeros(found.shape[1])
    elif motion is None:
        static = static_share(uv, frames.cpu(), scene)
    else:
        static = (on_foreground(uv, frames.cpu(), motion) < LEAST_FOREGROUND).float().mean(dim=0)
    useful = (spread(at_reference(uv, motion), scene) > LEAST_SPREAD * diagonal) & (static < OFTEN)
    moving = useful.nonzero()[:, 0]
    return [int(moving[k]) for k in _distinct(found[:, moving], diagonal)]


def _distinct(found: Tensor, diagonal: float) -> list[int]:
    """Return the keypoints (N, K, 3) that are not duplicates of a more confident one."""
    uv, kept = found[..., :2], list[int]()
    for k in found[..., 2].mean(dim=0).argsort(descending=True).tolist():
        near = (uv[:, kept] - uv[:, k : k + 1]).norm(dim=-1) < DUPLICATE * diagonal  # (N, kept)
        if not (near.float().mean(dim=0) > OFTEN).any():
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
    """
    Return the share of frames in which each keypoint (N, K, 2) lies on what does not move, (K,).

    A pixel does not move if it hardly varies within its scene, and the frame does not differ from
    the background there: a small object hardly changes the variation of the places it crosses.
    """
    height, width = frames.shape[1:3]
    column = uv[..., 0].round().long().clamp(0, width - 1)
    row = uv[..., 1].round().long().clamp(0, height - 1)
    still = torch.ones(uv.shape[:2])
    for mine in members(scene):
        if len(mine) > 1:
            number = torch.arange(len(mine))[:, None]
            still[mine] = _static(frames[mine])[number, row[mine], column[mine]].float()
    return still.mean(dim=0)


def _static(frames: Tensor) -> Tensor:
    """Return which pixels of the frames of a scene do not move by more than noise, (N, H, W)."""
    some = normalise(frames[:: max(1, len(frames) // SCENE_FRAMES)])
    background = some.median(dim=0).values[None]
    noise = measure_noise(some, background.expand_as(some)).explains(background)
    noise = _around(noise).clamp(min=LEAST_VARIATION)
    still, levels = list[Tensor](), list[Tensor]()
    for images in map(normalise, frames.split(CHUNK)):
        still.append(_around(difference(images, background)) < noise)
        levels.append(functional.avg_pool2d(images.mean(dim=1, keepdim=True), 3, 1, 1))
    varies = _around(torch.cat(levels).std(dim=0)[None]) > noise
    return (torch.cat(still) & ~varies)[:, 0]


def _around(images: Tensor) -> Tensor:
    """Return the largest value within two pixels of each."""
    return functional.max_pool2d(images, 5, stride=1, padding=2)
