"""Statistics of stamps, arrivals and samples of memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

PERCENTILES = (50, 95, 99)


class CloudArrival(NamedTuple):
    """A cloud of keypoints: the label and stamp of its image, and when it arrived."""

    label: str
    stamp_ns: int
    arrived_ns: int


def percentiles(values: Sequence[float], digits: int = 3) -> dict[str, float | None]:
    """Return p50, p95, p99 and the maximum; None without values."""
    names = [*(f'p{p}' for p in PERCENTILES), 'max']
    if len(values) == 0:
        return dict.fromkeys(names)
    figures = [*np.percentile(values, PERCENTILES), np.max(values)]
    return {n: round(float(f), digits) for n, f in zip(names, figures, strict=True)}


def growth_per_minute(seconds: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the slope of the line fitted to samples, per minute; None if there is none."""
    if len(values) < 2 or np.ptp(seconds) == 0:
        return None
    return round(float(np.polyfit(seconds, values, 1)[0]) * 60, 3)


def latency(clouds: Sequence[CloudArrival]) -> dict[str, Any]:
    """Return percentiles of the age of keypoints at arrival, and its growth per minute."""
    ages_ms = [(cloud.arrived_ns - cloud.stamp_ns) / 1e6 for cloud in clouds]
    # relative to the first, as the fit loses precision with large numbers
    seconds = [(cloud.arrived_ns - clouds[0].arrived_ns) / 1e9 for cloud in clouds]
    return {
        'latency_ms': percentiles(ages_ms),
        'latency_growth_ms_per_min': growth_per_minute(seconds, ages_ms),
    }


def newest_ages_ms(clouds: Sequence[CloudArrival]) -> list[float]:
    """Return the ages just before newer keypoints arrive, the largest that a controller sees."""
    return [(later.arrived_ns - earlier.stamp_ns) / 1e6 for earlier, later in pairwise(clouds)]
