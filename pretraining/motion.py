"""Random smooth motion: joint angles and positions over the frames of a clip."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
Rng = np.random.Generator


def swing(rng: Rng, times: Array, *, rest: float = 0.15) -> Array:
    """
    Return a smooth signal over times in s, (T,) within [-1, 1].

    :param rest: probability that it is constant throughout the clip
    """
    if rng.random() < rest:
        return np.full(len(times), rng.uniform(-1, 1))
    waves = [
        rng.uniform(0.3, 1)
        * np.sin(2 * np.pi * rng.uniform(0.08, 0.7) * times + rng.uniform(0, 2 * np.pi))
        for _ in range(3)
    ]
    signal = np.sum(waves, axis=0)
    return signal / max(1.0, float(np.abs(signal).max())) * rng.uniform(0.4, 1) + rng.uniform(
        -0.3, 0.3
    )


def wander(rng: Rng, times: Array, *, speed: float) -> tuple[Array, Array]:
    """
    Return a walk inside the unit square, bouncing at its edges, and its heading.

    :param speed: sides per second
    :return: x and y, (T, 2) in [0, 1], and the heading, (T,) rad
    """
    heading = rng.uniform(0, 2 * np.pi)
    place = rng.uniform(0.15, 0.85, 2)
    turning, pace = swing(rng, times, rest=0), (swing(rng, times, rest=0.3) + 1.3) / 2
    places, headings = [], []
    step_s = float(np.diff(times).mean())
    for turn, share in zip(turning, pace, strict=True):
        heading += 3 * turn * step_s
        move = speed * share * step_s * np.array([np.cos(heading), np.sin(heading)])
        for axis in range(2):
            if not 0.08 < place[axis] + move[axis] < 0.92:
                move[axis] = -move[axis]
        if np.hypot(*move) > 0:
            heading = np.arctan2(move[1], move[0])
        place = place + move
        places.append(place)
        headings.append(heading)
    return np.array(places), np.unwrap(headings)
