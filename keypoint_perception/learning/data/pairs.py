"""
Two frames of the same scene, some time apart.

A clip is a run of frames of one camera of one recording without a longer pause; pairs never reach
across a pause, since the scene may have been changed there. Gaps are drawn log-uniformly, forward
and backward alike, and never zero: a pair of a frame with itself teaches nothing.
"""

from __future__ import annotations

import logging

from keypoint_perception.errors import TrainingError
import numpy as np

log = logging.getLogger('keypoint_perception')

# A pause ends a clip when it is this many times the usual time between frames, and this long.
PAUSE_FRAMES = 10
PAUSE_NS = 1_000_000_000
# Rounds of drawing before giving up on finding enough pairs.
TRIES = 200
# Two frames of a recording in which nothing moves differ by sensor noise, about this much (in
# squared units of [-1, 1]): a noise of 1.5 grey levels in either frame.
STILL = 2 * (1.5 / 127.5) ** 2


class PairSampler:
    """
    Draws pairs of frame indices.

    The same seed draws the same pairs, whatever the number of processes: each draws the whole
    batch and takes its share.
    """

    def __init__(
        self,
        stamps_ns: np.ndarray,
        clips: np.ndarray,
        *,
        min_gap_s: float,
        max_gap_s: float,
        seed: int,
        favoured: np.ndarray | None = None,
    ) -> None:
        """
        Look up which frames have a partner.

        :param stamps_ns: (N,) int64, ascending inside a clip
        :param clips: clip of each frame, (N,) int
        :param favoured: indices of frames with which every second pair begins
        :raises TrainingError: if no two frames of a clip are that far apart
        """
        order = np.lexsort((stamps_ns, clips))
        self._frames = order
        self._clips = clips[order]
        # One axis for all clips, so that one search finds partners for a whole batch: each clip
        # is moved behind the last one by more than the longest gap.
        seconds = (stamps_ns[order] - stamps_ns.min()) / 1e9
        starts = np.flatnonzero(np.r_[True, np.diff(self._clips) != 0])
        ends = np.r_[starts[1:], len(order)]
        lengths = seconds[ends - 1] - seconds[starts]
        offsets = np.r_[0.0, np.cumsum(lengths + 2 * max_gap_s + 1.0)[:-1]]
        clip_of = np.repeat(np.arange(len(starts)), ends - starts)
        self._time = seconds - seconds[starts][clip_of] + offsets[clip_of]
        within = np.diff(seconds)[np.diff(self._clips) == 0]
        self._period_s = float(np.median(within)) if len(within) else 0.0
        self._gaps = (np.log(max(min_gap_s, 1e-3)), np.log(max_gap_s))
        self._rng = np.random.default_rng(seed)
        long_enough = lengths >= min_gap_s if min_gap_s > 0 else ends - starts > 1
        if not ((ends - starts > 1) & long_enough).any():
            msg = (
                f'No clip of the {len(order)} frames is long enough for a pair: the longest of '
                f'{len(starts)} lasts {lengths.max():.2f} s, min_gap_s is {min_gap_s:g} s; give a '
                'longer recording or a smaller min_gap_s.'
            )
            raise TrainingError(msg)
        self._longest_s, self._max_gap_s = float(lengths.max()), max_gap_s
        self._usable = np.flatnonzero(((ends - starts > 1) & long_enough)[clip_of])
        favoured = np.isin(order, [] if favoured is None else favoured)
        self._favoured = self._usable[favoured[self._usable]]

    def draw(self, count: int) -> np.ndarray:
        """
        Return frame indices of source and target, (2, count) int64.

        :raises TrainingError: if the stamps are so uneven that no partner is found
        """
        pairs = np.empty((2, 0), np.int64)
        for _ in range(TRIES):
            pairs = np.concatenate([pairs, self._try(2 * count)], axis=1)
            if pairs.shape[1] >= count:
                return pairs[:, :count]
        msg = (
            f'Almost no frames are {np.exp(self._gaps[0]):g} to {np.exp(self._gaps[1]):g} s apart '
            f'(usual is {self._period_s:g} s); set min_gap_s and max_gap_s to suit the recording.'
        )
        raise TrainingError(msg)

    def warn_if_short(self) -> None:
        """Say so if no clip is as long as the longest gap asked for."""
        if self._longest_s < self._max_gap_s:
            log.warning(
                'The longest clip lasts %.2f s, max_gap_s is %g s: pairs are that much nearer.',
                self._longest_s,
                self._max_gap_s,
            )

    def state(self) -> dict:
        """Return the random state as JSON values."""
        return self._rng.bit_generator.state

    def restore(self, state: dict) -> None:
        """Go on drawing where :meth:`state` was taken."""
        self._rng.bit_generator.state = state

    def _try(self, count: int) -> np.ndarray:
        source = self._rng.choice(self._usable, count)
        if len(self._favoured):
            mine = self._rng.random(count) < 0.5
            source[mine] = self._rng.choice(self._favoured, int(mine.sum()))
        gap = np.exp(self._rng.uniform(*self._gaps, count))
        # a recording slower than the gaps asked for has its neighbours as partners
        gap = np.maximum(gap, self._period_s) * self._rng.choice((-1.0, 1.0), count)
        wanted = self._time[source] + gap
        target = np.searchsorted(self._time, wanted).clip(1, len(self._time) - 1)
        nearer = wanted - self._time[target - 1] < self._time[target] - wanted
        target = target - nearer
        # beyond the end of a clip the nearest frame is its last one, and much too near
        close = np.abs(self._time[target] - wanted) <= self._period_s
        good = close & (self._clips[source] == self._clips[target]) & (source != target)
        return self._frames[np.stack([source[good], target[good]])]


def find_clips(stamps_ns: np.ndarray, source: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """
    Return the clip of each frame, (N,) int.

    :param stamps_ns: (N,) int64
    :param source: recording of each frame, (N,) int
    :param camera: camera of each frame, (N,) int
    """
    clips = np.empty(len(stamps_ns), np.int64)
    next_clip = 0
    for pair in np.unique(np.stack([source, camera], axis=1), axis=0):
        mine = np.flatnonzero((source == pair[0]) & (camera == pair[1]))
        mine = mine[np.argsort(stamps_ns[mine], kind='stable')]
        steps = np.diff(stamps_ns[mine])
        usual = np.median(steps) if len(steps) else 0
        pauses = steps > max(PAUSE_FRAMES * usual, PAUSE_NS)
        clips[mine] = next_clip + np.r_[0, np.cumsum(pauses)]
        next_clip = clips[mine[-1]] + 1
    return clips


def mean_change(images: np.ndarray, sampler: PairSampler, *, pairs: int = 256) -> float:
    """
    Return the mean squared difference between the frames of a pair, in units of [-1, 1].

    It is the error of answering with the source, by which reconstruction errors are divided.

    :param images: (N, H, W, 3) uint8
    :raises TrainingError: if nothing moves in the recording
    """
    total = 0.0
    source, target = sampler.draw(pairs)
    for i, j in zip(source, target, strict=True):
        difference = images[i].astype(np.float32) - images[j]
        total += float(np.square(difference / 127.5).mean())
    change = total / pairs
    if change < STILL and not _moves_somewhere(images, source, target):
        msg = (
            f'Nothing moves in the recording: two frames of a pair differ by '
            f'{127.5 * np.sqrt(change):.2f} grey levels on average, which is noise; record the '
            'scene while the robot or the objects move.'
        )
        raise TrainingError(msg)
    return max(change, 1e-6)


def _moves_somewhere(images: np.ndarray, source: np.ndarray, target: np.ndarray) -> bool:
    # A small mover in a large still picture changes the mean very little but some cells a lot.
    moving = 0
    for i, j in zip(source[:64], target[:64], strict=True):
        difference = np.abs(images[i].astype(np.int16) - images[j]).mean(axis=-1)
        height, width = (n // 4 * 4 for n in difference.shape)
        cells = difference[:height, :width].reshape(height // 4, 4, width // 4, 4).mean((1, 3))
        moving += cells.max() > 12
    return moving >= 4
