"""Detect keypoints that have collapsed, which the loss alone does not show."""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.learning.data.scenes import at_reference, CameraMotion, spread
from keypoint_perception.model.network import Keypointer
import torch
from torch import Tensor

# Shares of the image diagonal.
LEAST_EXTENT = 0.02
LEAST_SPREAD = 0.005


@dataclass(frozen=True)
class CollapseCheck:
    """
    Extent and motion of the keypoints on frames spread over the recording.

    :param extent: largest distance between two keypoints of a frame, median over the frames, in
        image diagonals
    :param moving: number of keypoints whose position varies by more than 0.5 % of the diagonal
    :param confidence: mean confidence
    """

    extent: float
    moving: int
    confidence: float
    keypoints: int

    @property
    def complaint(self) -> str | None:
        """Return a sentence about what is wrong, or None."""
        if self.keypoints > 1 and self.extent < LEAST_EXTENT:
            return (
                f'All {self.keypoints} keypoints lie in one place (within {100 * self.extent:.1f} '
                '% of the diagonal): the keypoints have collapsed; try another --seed, a lower '
                'learning_rate or fewer --keypoints.'
            )
        if self.moving == 0:
            return (
                f'None of the {self.keypoints} keypoints moves from frame to frame: none follows '
                'anything; train longer, or try another --seed, a larger sigma or a longer '
                'max_gap_s.'
            )
        return None


@torch.no_grad()
def check_collapse(
    network: Keypointer, frames: Tensor, scene: Tensor, motion: CameraMotion | None = None
) -> CollapseCheck:
    """
    Check the keypoints of a network.

    :param frames: spread over the recording, (N, H, W, 3) uint8
    :param scene: scene of each frame, (N,) int
    :param motion: of the camera, None if it stands still
    """
    found = network(frames).float().cpu()  # (N, K, 3)
    uv = found[..., :2]
    diagonal = diagonal_px(*frames.shape[1:3])
    extent = torch.cdist(uv, uv).flatten(1).amax(dim=1).median()
    return CollapseCheck(
        extent=float(extent) / diagonal,
        moving=int((spread(at_reference(uv, motion), scene) > LEAST_SPREAD * diagonal).sum()),
        confidence=float(found[..., 2].mean()),
        keypoints=uv.shape[1],
    )
