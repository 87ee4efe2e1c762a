"""What the benchmark of the node makes of stamps, arrivals and samples of memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

PERCENTILES = (50, 95, 99)


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float | None]:
    """Return p50, p95, p99 and the largest; None where there is nothing."""
    if len(values) == 0:
        return dict.fromkeys(('p50', 'p95', 'p99', 'max'))
    figures = [*np.percentile(values, PERCENTILES), np.max(values)]
    names = [f'p{p}' for p in PERCENTILES] + ['max']
    return {n: round(float(f), digits) for n, f in zip(names, figures, strict=True)}


def growth_per_minute(seconds: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the slope of the straight line through samples, a minute; None if there is none."""
    if len(values) < 2 or np.ptp(seconds) == 0:
        return None
    return round(float(np.polyfit(seconds, values, 1)[0]) * 60, 3)


def latency(clouds: Sequence[tuple[str, int, int]]) -> dict:
    """
    Return how old keypoints were when they arrived.

    :param clouds: label, stamp and arrival of each, ns
    :return: ``latency_ms``, and how much it grows in a minute
    """
    ages_ms = [(arrived_ns - stamp_ns) / 1e6 for _, stamp_ns, arrived_ns in clouds]
    seconds = [arrived_ns / 1e9 for _, _, arrived_ns in clouds]
    if seconds:  # large numbers make a poor line
        seconds = [second - seconds[0] for second in seconds]
    return {
        'latency_ms': spread(ages_ms),
        'latency_growth_ms_per_min': growth_per_minute(seconds, ages_ms),
    }


def newest_ages_ms(clouds: Sequence[tuple[str, int, int]]) -> list[float]:
    """
    Return how old the newest keypoints were just before newer ones came.

    That is the most a controller sees that looks at any time.
    """
    return [(following[2] - earlier[1]) / 1e6 for earlier, following in pairwise(clouds)]
