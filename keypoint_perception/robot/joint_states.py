"""
The joint states of a recording, interpolated at the stamps of images.

Names decide: messages may hold any joints, of several robots too, in any order.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable
import math

from keypoint_perception.robot.robot_messages import JointStateMessage
import numpy as np

LONGEST_GAP_NS = 50_000_000  # between two states, at most, for the time between them


class JointStates:
    """
    The positions of joints over time.

    :ivar unequal: messages that were skipped, with other numbers of names and positions
    :ivar unusable: positions that were skipped, NaN or infinite
    :ivar count: positions that are used
    """

    def __init__(self) -> None:
        self._stamps: dict[str, array[int]] = defaultdict(lambda: array('q'))
        self._positions: dict[str, array[float]] = defaultdict(lambda: array('d'))
        self._sorted: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.unequal = self.unusable = self.count = 0

    def add(self, message: JointStateMessage, stamp_ns: int) -> None:
        """Keep the positions of a message."""
        if len(message.positions) != len(message.names):
            # effort or velocity alone is no fault
            self.unequal += bool(message.positions)
            return
        for name, position in zip(message.names, message.positions, strict=True):
            if not math.isfinite(position):
                self.unusable += 1
                continue
            self.count += 1
            self._stamps[name].append(stamp_ns)
            self._positions[name].append(position)
            self._sorted.pop(name, None)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all joints, in order of appearance."""
        return tuple(self._stamps)

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the stamps (M,) of a joint, ascending ns, and its positions (M,) rad or m."""
        if name not in self._sorted:
            stamps = np.frombuffer(self._stamps[name], np.int64)
            positions = np.frombuffer(self._positions[name], np.float64)
            order = np.argsort(stamps, kind='stable')
            stamps, positions = stamps[order], positions[order]
            last = np.append(stamps[1:] != stamps[:-1], True)  # of equal stamps
            self._sorted[name] = stamps[last], positions[last]
        return self._sorted[name]

    def span_ns(self, names: Iterable[str]) -> tuple[int, int]:
        """Return the first and the last stamp of some joints, ns."""
        stamps = [self.series(name)[0] for name in names]
        return min(int(s[0]) for s in stamps), max(int(s[-1]) for s in stamps)

    def at(self, name: str, times_ns: np.ndarray, *, wraps: bool = False) -> np.ndarray:
        """
        Return the positions of a joint at some times, (N,).

        They are interpolated linearly; NaN before the first state, after the last, and between
        two that are more than :data:`LONGEST_GAP_NS` apart.

        :param times_ns: (N,) int64
        :param wraps: whether whole turns make no difference, as of continuous joints
        """
        stamps, positions = self.series(name)
        after = np.searchsorted(stamps, times_ns, side='left')
        inside = after < len(stamps)
        after = np.minimum(after, len(stamps) - 1)
        exact = inside & (stamps[after] == times_ns)
        before = np.maximum(after - 1, 0)
        gap = stamps[after] - stamps[before]
        share = (times_ns - stamps[before]) / np.maximum(gap, 1)
        step = positions[after] - positions[before]
        if wraps:
            step = (step + math.pi) % (2 * math.pi) - math.pi
        between = inside & (after > before) & (gap <= LONGEST_GAP_NS)
        value = np.where(between, positions[before] + share * step, np.nan)
        result: np.ndarray = np.where(exact, positions[after], value)
        return result
