"""What the node counts: images in, keypoints out, and what happened to the rest."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
import re
import threading
import time
from typing import NamedTuple

import numpy as np

# Rates, latencies and shares speak of the last seconds, so that they follow what happens now.
WINDOW_S = 5.0
MAX_SAMPLES = 4096
# Sentences that differ in numbers alone are one kind of complaint; a stream of ever new texts
# must neither fill the log nor the memory.
MAX_COMPLAINTS = 64
COUNTS = ('received', 'published', 'dropped', 'lost', 'jumps')


UNKNOWN = float('nan')


class Times(NamedTuple):
    """
    Where the time of one answered image went, in milliseconds; NaN where unknown.

    :param latency: from the image's stamp to publication
    :param wait: from arrival to the inference thread
    :param prepare: from the bytes to the network's input, and back to pixels of the image
    :param engine: in the engine
    :param publish: from keypoints to messages that are sent
    """

    latency: float = UNKNOWN
    wait: float = UNKNOWN
    prepare: float = UNKNOWN
    engine: float = UNKNOWN
    publish: float = UNKNOWN


@dataclass(frozen=True)
class StatisticsSnapshot:
    """
    The counts at one moment.

    :param received: images that arrived
    :param published: messages of keypoints
    :param dropped: images that a newer one replaced before the engine was free
    :param lost: images that were sent and never arrived
    :param bad: images that could not be used, by reason
    :param last_bad: sentence about the last of these
    :param notes: images that could be used but not wholly, as without a depth, by reason
    :param last_note: sentence about the last of these
    :param input_hz: images a second
    :param output_hz: messages a second
    :param spread_ms: p50, p95, p99 of the ``age`` of stamps at arrival and of each of
        :class:`Times`; NaN if unknown
    :param jumps: how often stamps or the clock have gone back
    :param recently_bad: images of the last seconds that could not be used
    :param recently_noted: images of the last seconds that could not be used wholly
    :param recently_lost: share of the last seconds' images that never arrived
    :param image_bytes: size of the last image as it was sent
    :param silent_s: seconds since the last message or since the start
    """

    received: int
    published: int
    dropped: int
    lost: int
    bad: dict[str, int]
    last_bad: str
    notes: dict[str, int]
    last_note: str
    input_hz: float
    output_hz: float
    spread_ms: dict[str, tuple[float, float, float]]
    jumps: int
    recently_bad: int
    recently_noted: int
    recently_lost: float
    image_bytes: int
    silent_s: float


@dataclass
class Recent:
    """Values with the time at which they came; those older than the window are forgotten."""

    samples: deque = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))

    def add(self, now: float, value: float = 1.0) -> None:
        """Remember a value."""
        self.samples.append((now, value))

    def values(self, now: float) -> list[float]:
        """Return the values of the window."""
        while self.samples and self.samples[0][0] < now - WINDOW_S:
            self.samples.popleft()
        return [value for _, value in self.samples]


class NodeStatistics:
    """Counts, from both threads of the node."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counter()
        self._bad = Counter()
        self._last_bad = ''
        self._notes = Counter()
        self._last_note = ''
        self._image_bytes = 0
        self._complaints: set[str] = set()
        self.restart()

    def restart(self) -> None:
        """Begin a new window; counts stay."""
        with self._lock:
            self._started = self._last_published = time.monotonic()
            names = ('received', 'lost', 'bad', 'noted', 'age', *Times._fields)
            self._recent = {name: Recent() for name in names}

    def received(self, size: int, age_ms: float = UNKNOWN) -> None:
        """Count an image of so many bytes that arrived, and how old its stamp was."""
        with self._lock:
            now = time.monotonic()
            self._image_bytes = size
            self._counts['received'] += 1
            self._recent['received'].add(now)
            self._recent['age'].add(now, age_ms)

    def jumped_back(self) -> None:
        """Count that stamps or the clock went back; ages of before say nothing any more."""
        with self._lock:
            self._counts['jumps'] += 1
            self._recent['age'], self._recent['latency'] = Recent(), Recent()

    def dropped(self) -> None:
        """Count an image that a newer one replaced."""
        with self._lock:
            self._counts['dropped'] += 1

    def lost(self, count: int) -> None:
        """Count images that never arrived."""
        with self._lock:
            self._counts['lost'] += count
            self._recent['lost'].add(time.monotonic(), count)

    def published(self, times: Times) -> None:
        """Count a message."""
        with self._lock:
            self._counts['published'] += 1
            self._last_published = time.monotonic()
            for name, time_ms in zip(Times._fields, times, strict=True):
                self._recent[name].add(self._last_published, time_ms)

    def refused(self, kind: str, sentence: str) -> bool:
        """Count a bad image; return whether its sentence is new, apart from numbers."""
        with self._lock:
            self._bad[kind] += 1
            self._last_bad = sentence
            self._recent['bad'].add(time.monotonic())
            return self._is_new(sentence)

    def noted(self, kind: str, sentence: str) -> bool:
        """Count an image that could be used but not wholly; see :meth:`refused`."""
        with self._lock:
            self._notes[kind] += 1
            self._last_note = sentence
            self._recent['noted'].add(time.monotonic())
            return self._is_new(sentence)

    def _is_new(self, sentence: str) -> bool:
        complaint = re.sub(r'\d+', '#', sentence)
        new = complaint not in self._complaints and len(self._complaints) < MAX_COMPLAINTS
        if new:
            self._complaints.add(complaint)
        return new

    def lost_share(self) -> float:
        """Return the share of the last seconds' images that never arrived."""
        with self._lock:
            return self._lost_share(time.monotonic())

    def _lost_share(self, now: float) -> float:
        received = len(self._recent['received'].values(now))
        lost = sum(self._recent['lost'].values(now))
        return lost / max(1, lost + received)

    def snapshot(self) -> StatisticsSnapshot:
        """Return the counts as they are now."""
        with self._lock:
            now = time.monotonic()
            recent = {name: values.values(now) for name, values in self._recent.items()}
            seconds = max(1.0, min(WINDOW_S, now - self._started))
            received = len(recent['received'])
            return StatisticsSnapshot(
                **{name: self._counts[name] for name in COUNTS},
                bad=dict(self._bad),
                last_bad=self._last_bad,
                notes=dict(self._notes),
                last_note=self._last_note,
                input_hz=received / seconds,
                output_hz=len(recent['engine']) / seconds,
                spread_ms={n: percentiles(recent[n]) for n in ('age', *Times._fields)},
                recently_bad=len(recent['bad']),
                recently_noted=len(recent['noted']),
                recently_lost=self._lost_share(now),
                image_bytes=self._image_bytes,
                silent_s=now - self._last_published,
            )


def percentiles(values: list[float]) -> tuple[float, float, float]:
    """Return p50, p95 and p99 of the finite values; NaN if there are none."""
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return (float('nan'),) * 3
    return tuple(float(p) for p in np.percentile(finite, (50, 95, 99)))
