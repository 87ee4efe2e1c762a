"""
Pairs of frames of one episode, some time apart.

Gaps are drawn log-uniformly, forward and backward alike, and are never zero: a pair of a frame
with itself teaches nothing. Where views are known, the second frames of some pairs are from other
clips of the view: what rests within a clip differs only between clips.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
import logging
from typing import Any

import cv2
from keypoint_perception.errors import TrainingError
from keypoint_perception.geometry.warped_images import shown_pixels, warp_image
from keypoint_perception.learning.data.registration import RegisteredFrames
import numpy as np

log = logging.getLogger('keypoint_perception')

# Rounds of sampling before giving up on finding enough pairs.
ROUNDS = 200
# Something moves between two frames if their difference, averaged over BLUR x BLUR pixels, is at
# one place PEAK times its median, or if it is over CELL x CELL pixels WIDE times that, where white
# noise has at most 7 and 0.4 times; and at least so many grey levels. A larger median is none.
BLUR, PEAK, LEAST_PEAK = 3, 8.0, 8.0
CELL, WIDE, LEAST_WIDE = 8, 0.55, 1.0
MOST_NOISE = 12.0


class SeededSampler(ABC):
    """A sampler whose random state can be stored and restored."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def state(self) -> dict[str, Any]:
        """Return the random state as JSON values."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self._rng.bit_generator.state = state

    @abstractmethod
    def draw(self, count: int) -> np.ndarray:
        """Return frame indices of the first and second frames, (2, count) int64."""

    def peek(self, count: int) -> np.ndarray:
        """Return what :meth:`draw` would return, which is drawn again later."""
        state = self.state()
        try:
            return self.draw(count)
        finally:
            self.restore(state)


class PairSampler(SeededSampler):
    """
    Draws pairs of frame indices.

    The same seed draws the same pairs for any number of processes: each draws the whole batch
    and takes its share.
    """

    def __init__(
        self,
        stamps_ns: np.ndarray,
        episodes: np.ndarray,
        *,
        min_gap_s: float,
        max_gap_s: float,
        seed: int,
        favoured: np.ndarray | None = None,
        views: np.ndarray | None = None,
        across: float = 0.0,
    ) -> None:
        """
        Find the frames that have a partner.

        :param stamps_ns: (N,) int64
        :param episodes: episode of each frame, (N,) int
        :param favoured: indices of the frames that half of the pairs start from
        :param views: view of each frame, (N,) int; -1 = none
        :param across: share of pairs whose second frame is any frame of the first one's view
        :raises TrainingError: if no two frames of an episode are far enough apart
        """
        super().__init__(seed)
        order = np.lexsort((stamps_ns, episodes))
        self._frames = order
        self._episodes = episodes[order]
        # All episodes share one time axis, each shifted behind the previous one by more than the
        # longest gap, so that one search finds the partners of a whole batch.
        seconds = (stamps_ns[order] - stamps_ns.min()) / 1e9
        starts = np.flatnonzero(np.r_[True, np.diff(self._episodes) != 0])
        ends = np.r_[starts[1:], len(order)]
        lengths = seconds[ends - 1] - seconds[starts]
        offsets = np.r_[0.0, np.cumsum(lengths + 2 * max_gap_s + 1.0)[:-1]]
        episode_of = np.repeat(np.arange(len(starts)), ends - starts)
        self._time = seconds - seconds[starts][episode_of] + offsets[episode_of]
        within = np.diff(seconds)[np.diff(self._episodes) == 0]
        self._period_s = float(np.median(within)) if len(within) else 0.0
        self._gaps = (np.log(max(min_gap_s, 1e-3)), np.log(max_gap_s))
        usable = (ends - starts > 1) & (lengths >= min_gap_s)
        if not usable.any():
            msg = (
                f'No episode of the {len(order)} frames is long enough for a pair: the longest of '
                f'{len(starts)} lasts {lengths.max():.2f} s, min_gap_s is {min_gap_s:g} s; use a '
                'longer recording or a smaller min_gap_s.'
            )
            raise TrainingError(msg)
        self._longest_s, self._max_gap_s = float(lengths.max()), max_gap_s
        self._usable = np.flatnonzero(usable[episode_of])
        self._views = np.full(len(order), -1) if views is None else views[order]
        self._across = across
        self._by_view = {v: np.flatnonzero(self._views == v) for v in {*self._views} - {-1}}
        favoured = np.isin(order, [] if favoured is None else favoured)
        self._favoured = self._usable[favoured[self._usable]]

    def draw(self, count: int) -> np.ndarray:
        """
        Return frame indices of source and target, (2, count) int64.

        :raises TrainingError: if the stamps are too irregular to find partners
        """
        pairs = np.empty((2, 0), np.int64)
        for _ in range(ROUNDS):
            pairs = np.concatenate([pairs, self._propose(2 * count)], axis=1)
            if pairs.shape[1] >= count:
                return pairs[:, :count]
        msg = (
            f'Almost no frames are {np.exp(self._gaps[0]):g} to {np.exp(self._gaps[1]):g} s apart '
            f'(the median is {self._period_s:g} s); set min_gap_s and max_gap_s to suit the '
            'recording.'
        )
        raise TrainingError(msg)

    def warn_if_short(self) -> None:
        """Warn if no episode is as long as the longest gap."""
        if self._longest_s < self._max_gap_s:
            log.warning(
                'The longest episode lasts %.2f s, less than max_gap_s of %g s: pairs are closer '
                'together in time.',
                self._longest_s,
                self._max_gap_s,
            )

    def _propose(self, count: int) -> np.ndarray:
        source = self._rng.choice(self._usable, count)
        if len(self._favoured):
            replaced = self._rng.random(count) < 0.5
            source[replaced] = self._rng.choice(self._favoured, int(replaced.sum()))
        gap = np.exp(self._rng.uniform(*self._gaps, count))
        # in a recording slower than the requested gaps, neighbours are partners
        gap = np.maximum(gap, self._period_s) * self._rng.choice((-1.0, 1.0), count)
        wanted = self._time[source] + gap
        target = np.searchsorted(self._time, wanted).clip(1, len(self._time) - 1)
        target = target - (wanted - self._time[target - 1] < self._time[target] - wanted)
        # beyond the end of an episode the nearest frame is its last, which is too close
        close = np.abs(self._time[target] - wanted) <= self._period_s
        good = close & (self._episodes[source] == self._episodes[target]) & (source != target)
        source, target = source[good], target[good]
        if self._across and self._by_view:
            self._choose_across(source, target)
        pairs: np.ndarray = self._frames[np.stack([source, target])]
        return pairs

    def _choose_across(self, source: np.ndarray, target: np.ndarray) -> None:
        """Replace some targets by any frames of the source's view, of other clips or times."""
        chosen = self._rng.random(len(source)) < self._across
        place = self._rng.random(len(source))
        for view, members in self._by_view.items():
            mine = np.flatnonzero(chosen & (self._views[source] == view))
            other = members[(place[mine] * len(members)).astype(int)]
            # clips are further apart on this axis than the longest gap, so are pairs in them
            far = np.abs(self._time[other] - self._time[source[mine]]) > self._max_gap_s
            target[mine[far]] = other[far]


def mean_change(
    images: np.ndarray,
    sampler: PairSampler,
    *,
    pairs: int = 256,
    registered: RegisteredFrames | None = None,
) -> float:
    """
    Return the mean squared difference between the frames of a pair, in units of [-1, 1].

    Reconstruction errors are divided by it: it is the error of predicting the source frame.

    :param images: (N, H, W, 3) uint8
    :param registered: how frames are registered; those of a moving camera are compared in the view
        of the target
    :raises TrainingError: if nothing moves in the recording
    """
    source, target = sampler.draw(pairs)
    total = 0.0
    for i, j in zip(source, target, strict=True):
        before, shown = images[i], None
        if registered is not None and registered.moving[j]:
            [to_source] = registered.between(np.array([j]), np.array([i]))
            before = warp_image(images[i], to_source, images.shape[1:3])
            shown = shown_pixels(images.shape[1:3], to_source, images.shape[1:3])
        square = np.square((before.astype(np.float32) - images[j]) / 127.5)
        total += float((square if shown is None else square * shown[..., None]).mean())
    change = total / pairs
    moves = registered is not None and registered.any_moves
    if not moves and not _moves_somewhere(images, source, target):
        msg = (
            f'Nothing moves in the recording: the frames of a pair differ by '
            f'{127.5 * np.sqrt(change):.2f} grey levels on average, which is sensor noise; record '
            'the scene while the robot or the objects move.'
        )
        raise TrainingError(msg)
    return max(change, 1e-6)


def _moves_somewhere(images: np.ndarray, source: np.ndarray, target: np.ndarray) -> bool:
    """Return whether frames differ at some place, or everywhere, by more than noise."""
    moving = 0
    for i, j in zip(source[:64], target[:64], strict=True):
        difference = images[i].astype(np.float32) - images[j]
        # noise cancels in large cells, motion of the whole image does not
        near, wide = (
            np.abs(cv2.blur(difference, (side, side))).mean(axis=-1) for side in (BLUR, CELL)
        )
        usual = float(np.median(near))
        moving += bool(
            near.max() > max(LEAST_PEAK, PEAK * usual)
            or np.median(wide) > max(LEAST_WIDE, WIDE * usual)
            or usual > MOST_NOISE
        )
    return moving >= 4
