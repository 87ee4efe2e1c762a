"""Which points move, how far about their mean positions, and what is explained of it."""

from __future__ import annotations

import numpy as np

# A point moves if it spreads by at least this.
MIN_SPREAD_PERCENT = 1.0


def in_diagonals(positions: np.ndarray, diagonal_px: float | np.ndarray) -> np.ndarray:
    """
    Return positions in units of the image diagonal, (N, P, 2) float64.

    :param positions: u, v in px, any further columns are dropped, (N, P, 2 or more)
    :param diagonal_px: one for all or (N,)
    """
    diagonal = np.broadcast_to(np.asarray(diagonal_px, np.float64), (len(positions),))
    uv: np.ndarray = np.asarray(positions, np.float64)[..., :2]
    return uv / diagonal[:, None, None]


def spread_percent(positions: np.ndarray) -> np.ndarray:
    """
    Return the root mean square distance of points from their mean position, % of the diagonal.

    :param positions: over time, (N, ..., 2) in diagonals
    :return: (...); NaN where a position is missing
    """
    spread: np.ndarray = 100 * np.sqrt(positions.var(axis=0).sum(axis=-1))
    return spread


def does_move(positions: np.ndarray) -> np.ndarray:
    """Return whether points (N, ..., 2) move; False where a position is missing."""
    return np.asarray(spread_percent(positions) >= MIN_SPREAD_PERCENT)


def mean_spread_percent(positions: np.ndarray, episode: np.ndarray) -> float:
    """
    Return the mean spread of a point within episodes that have two positions or more.

    :param positions: (N, 2) in diagonals
    :param episode: number of each frame's episode, (N,)
    :return: NaN without such an episode
    """
    within = [positions[episode == number] for number in np.unique(episode)]
    spreads = [spread_percent(part) for part in within if len(part) > 1]
    return float(np.mean(spreads)) if spreads else float('nan')


def explained_share(error: float, trivial: float) -> float:
    """Return 1 - error / trivial, NaN if the trivial prediction is exact."""
    # Not compared with zero, because the mean of equal numbers has a rounding error.
    return 1 - error / trivial if trivial > 1e-9 else float('nan')
