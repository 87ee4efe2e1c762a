"""What happened to a camera's images: counters, rates and latencies."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
import threading
import time
from typing import Literal, NamedTuple

from keypoint_perception.seen_messages import SeenMessages
import numpy as np

# Rates, latencies and shares are computed over a sliding window, so that they follow the present.
WINDOW_S = 5.0
MAX_SAMPLES = 4096
UNKNOWN = float('nan')
Effect = Literal['rejected', 'degraded']


class StageTimes(NamedTuple):
    """
    Where the time of one published image went, in milliseconds; NaN where unknown.

    :param latency: from the image's stamp to publication
    :param wait: from arrival to the inference thread
    :param prepare: decoding and fitting to the network's input, and mapping keypoints back
    :param publish: from keypoints to published messages
    """

    latency: float = UNKNOWN
    wait: float = UNKNOWN
    prepare: float = UNKNOWN
    engine: float = UNKNOWN
    publish: float = UNKNOWN


class Problems(NamedTuple):
    """Images with a problem: counts by kind, the last message, the number in the window."""

    counts: dict[str, int]
    last: str
    recent: int


class StatisticsSnapshot(NamedTuple):
    """
    The statistics at one moment; rates and shares are of the sliding window.

    :param counts: images ``received``, keypoint messages ``published``, images ``dropped`` for a
        newer one before the engine was free, images ``lost`` between publisher and node, and
        ``clock_jumps``: how often stamps or the clock went back
    :param rejected: images that could not be used
    :param degraded: images that could only be used in part, as without depth
    :param spread_ms: p50, p95, p99 of the ``age`` of stamps at arrival and of each of
        :class:`StageTimes`; NaN if unknown
    :param lost_share: share of images that never arrived
    :param image_bytes: size of the last image as it was sent
    :param silent_s: seconds since the last keypoint message or since the start
    """

    counts: Counter[str]
    rejected: Problems
    degraded: Problems
    input_hz: float
    output_hz: float
    spread_ms: dict[str, tuple[float, float, float]]
    lost_share: float
    image_bytes: int
    silent_s: float


class NodeStatistics:
    """Collects the statistics of one camera, from both threads of the node."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._problems: dict[Effect, Counter[str]] = {'rejected': Counter(), 'degraded': Counter()}
        self._last = {'rejected': '', 'degraded': ''}
        self._image_bytes = 0
        self._seen = SeenMessages()
        self.restart_window()

    def restart_window(self) -> None:
        """Empty the sliding window; the counters stay."""
        with self._lock:
            self._started_s = self._last_published_s = time.monotonic()
            # timestamped values by name, see _values
            self._samples: dict[str, deque[tuple[float, float]]] = defaultdict(
                lambda: deque(maxlen=MAX_SAMPLES)
            )

    def _add(self, name: str, value: float = 1.0) -> None:
        self._samples[name].append((time.monotonic(), value))

    def _values(self, name: str, now: float) -> list[float]:
        """Return the values within the window, and drop older ones."""
        samples = self._samples[name]
        while samples and samples[0][0] < now - WINDOW_S:
            samples.popleft()
        return [value for _, value in samples]

    def count_received(self, size: int, age_ms: float = UNKNOWN) -> None:
        """Count an image that arrived, with its size in bytes and the age of its stamp."""
        with self._lock:
            self._image_bytes = size
            self._counts['received'] += 1
            self._add('received')
            self._add('age', age_ms)

    def count_clock_jump(self) -> None:
        """Count that stamps or the clock went back, which makes all previous ages meaningless."""
        with self._lock:
            self._counts['clock_jumps'] += 1
            self._samples['age'].clear()
            self._samples['latency'].clear()

    def count_dropped(self) -> None:
        """Count an image that a newer one replaced."""
        with self._lock:
            self._counts['dropped'] += 1

    def count_lost(self, count: int) -> None:
        with self._lock:
            self._counts['lost'] += count
            self._add('lost', count)

    def count_published(self, times: StageTimes) -> None:
        with self._lock:
            self._counts['published'] += 1
            self._last_published_s = time.monotonic()
            for name, time_ms in times._asdict().items():
                self._add(name, time_ms)

    def count_problem(self, effect: Effect, kind: str, message: str) -> bool:
        """Count an image with a problem; return whether its message is new."""
        with self._lock:
            self._problems[effect][kind] += 1
            self._last[effect] = message
            self._add(effect)
            return self._seen.is_new(message)

    def lost_share(self) -> float:
        with self._lock:
            return self._lost_share(time.monotonic())

    def _lost_share(self, now: float) -> float:
        lost = sum(self._values('lost', now))
        return lost / max(1, lost + len(self._values('received', now)))

    def snapshot(self) -> StatisticsSnapshot:
        with self._lock:
            now = time.monotonic()
            seconds = max(1.0, min(WINDOW_S, now - self._started_s))
            rejected, degraded = (
                Problems(dict(counts), self._last[effect], len(self._values(effect, now)))
                for effect, counts in self._problems.items()
            )
            return StatisticsSnapshot(
                counts=self._counts.copy(),
                rejected=rejected,
                degraded=degraded,
                input_hz=len(self._values('received', now)) / seconds,
                output_hz=len(self._values('engine', now)) / seconds,
                spread_ms={
                    name: percentiles(self._values(name, now))
                    for name in ('age', *StageTimes._fields)
                },
                lost_share=self._lost_share(now),
                image_bytes=self._image_bytes,
                silent_s=now - self._last_published_s,
            )


def percentiles(values: list[float]) -> tuple[float, float, float]:
    """Return p50, p95 and p99 of the finite values; NaN if there are none."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return (UNKNOWN, UNKNOWN, UNKNOWN)
    p50, p95, p99 = np.percentile(finite, (50, 95, 99))
    return (float(p50), float(p95), float(p99))
