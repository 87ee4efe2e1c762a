"""
Measures of keypoints that need no labels.

Positions are (N, K, 2 or 3) px, ``diagonal_px`` is one for all images or (N,), and distances are
in % of it. The thresholds are part of the definitions; none is tuned to a recording.
"""

from __future__ import annotations

from keypoint_perception.episodes import find_episodes
from keypoint_perception.geometry.point_motion import (
    in_diagonals,
    MIN_SPREAD_PERCENT,
    spread_percent,
)
import numpy as np

# Distance of duplicates, % of the diagonal.
DUPLICATE_PERCENT = 2.0
# Below this confidence, or below this spread in % of the diagonal, a keypoint is dead.
DEAD_CONFIDENCE, DEAD_SPREAD_PERCENT = 0.1, 0.1
# Grey levels of 255: the deviation of unchanging pixels, and the change of still images.
STATIC_DEVIATION, STILL_CHANGE = 6.0, 1.5
# Half the side of the square around a keypoint that must be unchanging, % of the diagonal.
REACH_PERCENT = 1.0


def find_duplicates(uv: np.ndarray, diagonal_px: float | np.ndarray) -> list[tuple[int, int]]:
    """
    Return the pairs of keypoints (i, j), i < j, that nearly coincide.

    These are closer than 2 % of the diagonal in more than half of the frames.
    """
    relative = in_diagonals(uv, diagonal_px)
    pairs = []
    for i in range(relative.shape[1]):
        distance = np.linalg.norm(relative[:, i + 1 :] - relative[:, i : i + 1], axis=-1)
        close = (100 * distance < DUPLICATE_PERCENT).mean(axis=0) > 0.5
        pairs += [(i, i + 1 + int(offset)) for offset in np.flatnonzero(close)]
    return pairs


def find_dead(keypoints: np.ndarray, diagonal_px: float | np.ndarray) -> list[int]:
    """
    Return the keypoints that carry no information.

    A keypoint is dead if its confidence is below 0.1 in at least 95 % of the frames, or if it
    spreads over the whole recording by less than 0.1 % of the diagonal. The latter includes
    points fixed to the background; :func:`static_share` is a milder measure of those.
    """
    unconfident = (keypoints[..., 2] < DEAD_CONFIDENCE).mean(axis=0) >= 0.95
    spread = spread_percent(in_diagonals(keypoints, diagonal_px))
    return [int(k) for k in np.flatnonzero(unconfident | (spread < DEAD_SPREAD_PERCENT))]


def find_static(
    keypoints: np.ndarray, diagonal_px: float | np.ndarray, static: np.ndarray
) -> list[int]:
    """
    Return the keypoints that follow nothing that moves.

    A keypoint is static if it is on unchanging pixels in more than half of the frames, or if it
    spreads over the whole recording by less than 1 % of the diagonal.

    :param static: shares of :func:`static_share`, (K,)
    """
    spread = spread_percent(in_diagonals(keypoints, diagonal_px))
    return [int(k) for k in np.flatnonzero((spread < MIN_SPREAD_PERCENT) | (static > 0.5))]


def find_uninformative(
    static: list[int], dead: list[int], duplicates: list[tuple[int, int]]
) -> list[int]:
    """
    Return the keypoints that are static, dead or a duplicate.

    Of several keypoints that coincide, the first one counts as informative.
    """
    uninformative = set(static) | set(dead)
    for earlier, later in sorted(duplicates):
        if earlier not in uninformative:
            uninformative.add(later)
    return sorted(uninformative)


def static_share(uv: np.ndarray, image_hw: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """
    Return the share of frames in which each keypoint is on unchanging pixels, (K,).

    Pixels are unchanging if the standard deviation of their grey value over the recording is below
    6 of 255 in a square around the keypoint that reaches 1 % of the diagonal, at least one working
    pixel. This is a lower bound: background that a robot passes in front of counts as changing.

    :param image_hw: height and width of each image, (N, 2) px
    :param deviation: from :class:`~keypoint_perception.evaluation.pixel_motion.PixelMotion`
    """
    height, width = deviation.shape
    reach = max(1, round(REACH_PERCENT / 100 * float(np.hypot(height, width))))
    padded = np.pad(deviation, reach, mode='edge')
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
    static = windows.max(axis=(-2, -1)) < STATIC_DEVIATION  # (height, width)
    scale = np.array([width, height]) / np.asarray(image_hw)[:, ::-1]  # (N, 2) along u, v
    working = (np.asarray(uv, np.float64) + 0.5) * scale[:, None] - 0.5
    cells = np.clip(np.rint(working), 0, [width - 1, height - 1]).astype(int)
    shares: np.ndarray = static[cells[..., 1], cells[..., 0]].mean(axis=0)
    return shares


def still_jitter(
    uv: np.ndarray,
    diagonal_px: float | np.ndarray,
    stamps_ns: np.ndarray,
    image_changes: np.ndarray,
) -> tuple[np.ndarray, int]:
    """
    Return the mean displacement of each keypoint between frames whose image hardly changes.

    Two consecutive frames of an episode are still if the mean grey value of no block of 8 x 8
    working pixels changes by more than 1.5 of 255.

    :param image_changes: change since the previous frame, (N,), from
        :class:`~keypoint_perception.evaluation.pixel_motion.PixelMotion`
    :return: jitter (K,) in % of the diagonal, NaN without still pairs, and the number of pairs
    """
    same_episode = np.diff(find_episodes(stamps_ns)) == 0
    still = same_episode & (np.asarray(image_changes)[1:] <= STILL_CHANGE)
    pairs = int(still.sum())
    if not pairs:
        return np.full(uv.shape[1], np.nan), 0
    jumps = np.linalg.norm(np.diff(in_diagonals(uv, diagonal_px), axis=0)[still], axis=-1)
    return 100 * jumps.mean(axis=0), pairs
