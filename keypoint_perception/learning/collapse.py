"""Is the network still learning something? Collapse looks like progress in the loss alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.learning.data.scenes import centred, scene_of
from keypoint_perception.model.network import Keypointer
import torch
from torch import Tensor

# Shares of the image diagonal.
ONE_PLACE = 0.02
NEVER_MOVES = 0.005


@dataclass(frozen=True)
class CollapseCheck:
    """
    How the keypoints lie on frames spread over the recording.

    :param extent: largest distance between two of a frame's points, median over the frames, in
        image diagonals
    :param moving: points whose position varies by more than 0.5 % of the diagonal
    :param confidence: mean confidence
    """

    extent: float
    moving: int
    confidence: float
    keypoints: int

    @property
    def complaint(self) -> str | None:
        """Return what is wrong in a sentence, or None."""
        if self.keypoints > 1 and self.extent < ONE_PLACE:
            return (
                f'All {self.keypoints} keypoints lie in one place (within {100 * self.extent:.1f} '
                '% of the diagonal): the keypoints have collapsed; try another --seed, a lower '
                'learning_rate or fewer --keypoints.'
            )
        if self.moving == 0:
            return (
                f'None of the {self.keypoints} keypoints moves from frame to frame: all are dead; '
                'train longer, or try another --seed, a larger sigma or a longer max_gap_s.'
            )
        return None

    def values(self) -> dict:
        """Return the numbers for a manifest."""
        return asdict(self)


@torch.no_grad()
def examine(network: Keypointer, frames: Tensor, scene: Tensor | None = None) -> CollapseCheck:
    """
    Look at a network's keypoints.

    :param frames: spread over the recording, (N, H, W, 3) uint8
    :param scene: number of each frame's scene, (N,) int; one for all if None
    """
    found = network(frames).float().cpu()  # (N, K, 3)
    uv = found[..., :2]
    diagonal = diagonal_px(*frames.shape[1:3])
    extent = torch.cdist(uv, uv).flatten(1).amax(dim=1).median()
    away = centred(uv, scene_of(frames, scene))
    spread = away.square().sum(-1).mean(dim=0).sqrt()
    return CollapseCheck(
        extent=float(extent) / diagonal,
        moving=int((spread > NEVER_MOVES * diagonal).sum()),
        confidence=float(found[..., 2].mean()),
        keypoints=uv.shape[1],
    )
