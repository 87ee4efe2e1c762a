"""
Whether the keypoints of a run have settled, which needs no labels.

The averaged network is applied to some frames now and then, each time after a quarter more steps
than before. With x_k(n) keypoint k on a frame at step n, its movement is the mean distance between
x_k(n) and x_k(n / 1.25) over the frames, in % of the image diagonal. The movement of a run is the
mean over the keypoints that move within the recording. It falls while keypoints find their parts,
and a run has settled when it remains below :data:`SETTLED`.

A learning rate that decays holds keypoints in place that would have moved on. So movement is only
judged while the rate is at least half of its peak, the first half of a run's budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.learning.data.scenes import spread
from keypoint_perception.model.network import Keypointer
import torch
from torch import Tensor

# First step that is looked at, and how many times as many steps until the next one.
FIRST_STEP, GROWTH = 50, 1.25
# Share of the peak learning rate down to which movement is judged.
LEAST_RATE = 0.5
# Movement of a settled run, % of the diagonal, and for how many times in a row.
SETTLED, TIMES = 1.0, 3
# Steps over which the rate decays once a run has settled, as a share of those before.
TAIL_SHARE = 0.25
# Keypoints whose position varies by less, as a share of the diagonal, do not move.
LEAST_SPREAD = 0.015


class Movement(NamedTuple):
    """How far the keypoints have moved until a step, % of the diagonal."""

    step: int
    percent: float


class SettlingCheck:
    """
    Follows the keypoints of a run on some frames.

    :ivar movements: so far
    """

    def __init__(self, frames: Tensor, scene: Tensor) -> None:
        """
        Start at a run's first step, or where it is resumed.

        :param frames: spread over the recording, (N, H, W, 3) uint8
        :param scene: scene of each frame, (N,) int
        """
        self.movements: list[Movement] = []
        self._frames, self._scene = frames, scene
        self._before: Tensor | None = None
        self._next_step = FIRST_STEP

    @torch.no_grad()
    def after_step(self, network: Keypointer, step: int, rate_share: float) -> bool:
        """
        Look at the keypoints of the averaged network if it is time to; return whether it was.

        :param rate_share: learning rate as a share of its peak
        """
        if step < self._next_step or rate_share < LEAST_RATE:
            return False
        uv = network(self._frames).float().cpu()[..., :2]
        if self._before is not None:
            percent = _movement(
                self._before, uv, self._scene, diagonal_px(*self._frames.shape[1:3])
            )
            self.movements.append(Movement(step, percent))
        self._before, self._next_step = uv, round(GROWTH * step)
        return True


def settled_since(movements: Sequence[Movement]) -> int | None:
    """Return the step from which a run has been settled, None if it has not."""
    still = 0
    for movement in reversed(movements):
        if not movement.percent < SETTLED:
            break
        still += 1
    return movements[-still].step if still >= TIMES else None


def settling_sentence(movements: Sequence[Movement]) -> str:
    """Return whether more steps would help; empty if a run was too short to tell."""
    if len(movements) < TIMES:
        return ''
    since, last = settled_since(movements), movements[-1]
    if since is not None:
        return f'The keypoints have been settled since step {since}: more steps help little.'
    return (
        f'At step {last.step} the keypoints still moved by {last.percent:.1f} % of the diagonal '
        f'per quarter more steps (settled: less than {SETTLED:g} %): more steps or minutes help.'
    )


def _movement(before: Tensor, now: Tensor, scene: Tensor, diagonal: float) -> float:
    """Return the movement of keypoints, (N, K, 2) px, in % of the diagonal; NaN if none moves."""
    moving = spread(now, scene) > LEAST_SPREAD * diagonal
    distance = (now - before).norm(dim=-1).mean(dim=0)[moving].mean()
    return 100 * float(distance) / diagonal
