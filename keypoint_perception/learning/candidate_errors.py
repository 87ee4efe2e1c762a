"""
How far the keypoints of a run can be trusted after its first steps, without labels.

The loss of a run hardly tells: early in a run it is ruled by what all seeds learn alike, and runs
with a low loss may have keypoints that know the background or slide along a part. So the averaged
network, which is what is exported and has no state that a pass could change, is tried on pairs of
frames that a sampler of its own draws, the same for all candidates. In % of the image diagonal:

- equivariance: distance of the keypoints of a warped frame from the warped keypoints. Where there
  is a background, the foreground alone is warped, for the keypoints on it;
- background: displacement of the keypoints on the foreground when the frame's foreground is put
  in front of the background of another pair;
- flow: distance of the keypoints of the later frame from those of the earlier one, moved by the
  optical flow between them, where it is known; the median, as flow is sometimes wrong. The frames
  are at most ``min_gap_s`` apart, because chained flow loses fast parts.

The error of a keypoint is the mean of those that can be measured, at most :data:`WORST`; keypoints
that pruning would remove, because they do not move, lie where nothing moves, or duplicate another
one, have this error. The error of a run is the mean over its keypoints.
"""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.learning.confidence_calibration import WARPS
from keypoint_perception.learning.data.foreground import foreground_mask
from keypoint_perception.learning.data.pairs import PairSampler
from keypoint_perception.learning.data.registration import registered_frames
from keypoint_perception.learning.data.scenes import CameraMotion
from keypoint_perception.learning.data.warps import random_warp
from keypoint_perception.learning.motion_losses import warp_foreground
from keypoint_perception.learning.pruning import useful_keypoints
from keypoint_perception.learning.training_state import TrainingState
from keypoint_perception.model.layers import map_size, normalise
from keypoint_perception.model.network import Keypointer
import torch
from torch import Tensor
from torch.nn import functional

# Pairs that candidates are compared on, the seed they are drawn with, and how many at once.
PAIRS, SEED, CHUNK = 64, 20_241_130, 64
# Largest error of a keypoint, % of the diagonal.
WORST = 10.0


class CandidateErrors(NamedTuple):
    """
    Errors of a run's keypoints without labels, % of the diagonal; each is NaN if not measured.

    :param equivariance: mean over the keypoints, like ``background`` and ``flow``
    :param useful: number of keypoints that pruning would leave
    :param total: what candidates are compared by
    """

    equivariance: float
    background: float
    flow: float
    useful: int
    total: float


@torch.no_grad()
def candidate_errors(session: TrainingState, device: torch.device) -> CandidateErrors:
    """Return the errors of a run's averaged network; nothing of the run changes."""
    frames = _pairs(session).draw(PAIRS)
    chosen = frames.reshape(-1)
    network, store = session.average.network, session.store
    first, second, extra = session.loader.prepare(frames)
    images = torch.cat([first, second])
    extra = {name: values.to(device) for name, values in extra.items()}
    scaled = normalise(images.to(device))
    found = _detect(network, scaled)  # (2B, K, 2)
    measured = [
        _equivariance(network, scaled, found, extra),
        _background(network, scaled, found, extra),
        _flow(found, extra, map_size(scaled)),
    ]
    percent = 100 / diagonal_px(*images.shape[1:3])
    equivariance, background, flow = ((percent * some).clamp(max=WORST) for some in measured)
    errors = torch.stack(
        [equivariance.nanmean(dim=0), background.nanmean(dim=0), flow.nanmedian(dim=0).values]
    ).cpu()  # (3, K)
    registered = registered_frames(store, session.config)
    scene, motion = torch.from_numpy(registered.scene[chosen]), None
    if registered.any_moves and 'background' in extra:
        to_reference = torch.from_numpy(registered.to_reference[chosen]).float()
        motion = CameraMotion(to_reference, extra['background'].cpu(), extra['noise'].cpu())
    confidence = torch.ones(*found.shape[:2], 1)
    detections = torch.cat([found.cpu(), confidence], dim=-1)
    useful = useful_keypoints(detections, images, scene, motion)
    by_keypoint = torch.full((found.shape[1],), WORST)
    by_keypoint[useful] = errors[:, useful].nanmean(dim=0).nan_to_num(WORST).clamp(max=WORST)
    of_warps, of_backgrounds, of_flow = errors.nanmean(dim=1).tolist()
    broken = not bool(found.isfinite().all())
    total = float('nan') if broken else float(by_keypoint.mean())
    return CandidateErrors(of_warps, of_backgrounds, of_flow, len(useful), total)


def _pairs(session: TrainingState) -> PairSampler:
    store, config = session.store, session.config
    return PairSampler(
        store.stamps_ns,
        registered_frames(store, config).episodes,
        min_gap_s=config.min_gap_s / 2,
        max_gap_s=max(config.min_gap_s, 1e-3),
        seed=SEED,
    )


def _detect(network: Keypointer, images: Tensor) -> Tensor:
    """Return the keypoints of images in [-1, 1], (n, 3, H, W) -> (n, K, 2) px."""
    levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return torch.cat([network(some).float()[..., :2] for some in levels.split(CHUNK)])


def _on_foreground(images: Tensor, found: Tensor, extra: dict[str, Tensor]) -> Tensor:
    """Return which keypoints are on the foreground, (n, K) bool."""
    mask = foreground_mask(images, extra['background'], extra['noise'])
    return _at(mask, found, map_size(images))[..., 0] > 0.5


def _equivariance(
    network: Keypointer, images: Tensor, found: Tensor, extra: dict[str, Tensor]
) -> Tensor:
    """Return the distance of each keypoint under a random warp, (n, K) px; NaN if out of view."""
    generator, hw = torch.Generator().manual_seed(SEED), map_size(images)
    warp = random_warp(len(images), hw, WARPS, generator=generator, device=images.device)
    warped = _detect(network, warp.images(images))
    if 'background' in extra:
        still = extra['background'], extra['noise']
        moved = _detect(network, warp_foreground(images, *still, warp))
        on_foreground = _on_foreground(images, found, extra)
        warped = torch.where(on_foreground[..., None], moved, warped)
    distance = (warp.back(warped, hw) - found).norm(dim=-1)
    return torch.where(warp.inside(found, hw), distance, torch.nan)


def _background(
    network: Keypointer, images: Tensor, found: Tensor, extra: dict[str, Tensor]
) -> Tensor:
    """Return the displacement by another background, (n, K) px; NaN off the foreground."""
    if 'background' not in extra:
        return torch.full(found.shape[:2], torch.nan, device=found.device)
    mask = foreground_mask(images, extra['background'], extra['noise'])
    other = extra['background'].roll(1, dims=0)
    moved = _detect(network, other + mask * (images - other))
    distance = (moved - found).norm(dim=-1)
    return torch.where(_on_foreground(images, found, extra), distance, torch.nan)


def _flow(found: Tensor, extra: dict[str, Tensor], hw: tuple[int, int]) -> Tensor:
    """Return the distance from where the flow moves a keypoint, (B, K) px; NaN if unknown."""
    first, second = found.chunk(2)
    if 'flow' not in extra:
        return torch.full(first.shape[:2], torch.nan, device=found.device)
    forward = extra['forward'][:, None, None]
    earlier, later = torch.where(forward, first, second), torch.where(forward, second, first)
    expected = earlier + _at(extra['flow'], earlier, hw)
    distance: Tensor = (later - expected).norm(dim=-1)
    return distance


def _at(maps: Tensor, found: Tensor, hw: tuple[int, int]) -> Tensor:
    """
    Return the values of maps in the cells of points, (n, K, C).

    :param maps: (n, C, h, w), covering images of ``hw``
    :param found: (n, K, 2) px of the images
    """
    grid = (found + 0.5) / torch.tensor([hw[1], hw[0]], device=found.device) * 2 - 1
    # not interpolated: between known and unknown flow, that would be unknown
    values = functional.grid_sample(
        maps, grid[:, :, None], mode='nearest', padding_mode='border', align_corners=False
    )
    return values[..., 0].transpose(1, 2)
