"""
Background points: keypoints that lie on what does not move in the world.

Frames are registered to each other (:mod:`~keypoint_perception.geometry.camera_motion`), also
across clips where the camera returns to a place. The background of a frame is computed twice, as
the median of frames near it and of frames of all clips at its place. Near are those of its clip if
the camera stands still, and those within some seconds if it moves. A pixel moves in the world if
it differs from either by more than noise: from the first if a thing passes within the clip, from
the second if it was elsewhere in other clips (:mod:`.registered_background`). A keypoint is a
background point if in more than half of the frames in which this can be told nothing moves within
1 % of the image diagonal.

Limits: a homography is exact for a camera that turns or zooms, and for a flat scene; elsewhere the
edges of resting things that are nearer or farther count as moving. What rests in all clips, or is
seen in one clip and rests there, counts as background; so does what covers a pixel in most of the
frames of a median, as a large thing that hardly moves does. Where frames cannot be registered,
nothing is said.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.label_free import REACH_PERCENT
from keypoint_perception.evaluation.registered_background import (
    LEAST_FRAMES,
    moving_pixels,
    RegisteredFrame,
)
from keypoint_perception.evaluation.stream_samples import EvenSample
from keypoint_perception.geometry.camera_motion import (
    CameraTracker,
    FramePose,
    moving_frames,
    relative_px,
    working_image,
)
from keypoint_perception.geometry.point_motion import in_diagonals
from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Frames that are kept (up to twice as many) and judged; a keypoint needs LEAST_FRAMES of these.
KEPT, JUDGED = 200, 80
# Consecutive frames that are kept besides, for cameras that move, and their length in frames; the
# picture must be displaced by this share of the diagonal within one.
RUNS, RUN_FRAMES, LEAST_RANGE = 10, 30, 0.02
# The camera moves if it does in this share of the registered frames.
LEAST_MOVING = 0.1
# Distance within which a keypoint is at a labelled point, % of the diagonal.
NEAR_PERCENT = 5.0
# Frames of a recording from which every second run is left out, then more.
MOST_FRAMES = 3600
# Time between registered frames; closer ones are only counted, s. Time within which a camera that
# moves is elsewhere, s.
STEP_S, LAG_S = 0.1, 1.0


class BackgroundScore(NamedTuple):
    """
    Where keypoints lie.

    :param share: of the judged frames in which each keypoint is on the background, (K,); NaN if
        too few could be judged
    :param judged: number of these frames of each keypoint, (K,)
    :param moving_share: of the registered frames in which the camera moves
    :param range_percent: how far the picture is displaced at most within a clip, % of the diagonal
    """

    share: np.ndarray
    judged: np.ndarray
    moving_share: float
    range_percent: float

    @property
    def points(self) -> list[int]:
        """Return the keypoints that are background points."""
        return [int(k) for k in np.flatnonzero(self.share > 0.5)]  # False for NaN

    @property
    def points_share(self) -> float:
        """Return the share of the keypoints that are background points, NaN if none is judged."""
        return len(self.points) / len(self.share) if np.isfinite(self.share).any() else np.nan


class BackgroundPoints:
    """Judges the keypoints of one camera's frames, which are added in recorded order."""

    def __init__(self, total: int | None = None) -> None:
        """
        Start without frames.

        :param total: number of frames to come, of which some runs are left out if it is large
        """
        self._every = max(1, round((total or 0) / MOST_FRAMES))
        self._last_ns, self._offered = 0, 0
        self._tracker = CameraTracker()
        self._stamps_ns: list[int] = []
        self._poses: list[FramePose] = []
        self._registered: list[int] = []
        self._hw: tuple[int, ...] = (1, 1)
        self._diagonal_px = 1.0
        self._sample = EvenSample[RegisteredFrame](KEPT)
        self._run: list[RegisteredFrame] = []
        self._runs = EvenSample[list[RegisteredFrame]](RUNS)

    def add(self, stamp_ns: int, image: np.ndarray, uv: np.ndarray) -> None:
        """
        Add the next frame.

        :param image: RGB, (H, W, 3) uint8
        :param uv: keypoints, (K, 2 or more) px
        """
        index = len(self._stamps_ns)
        self._stamps_ns.append(stamp_ns)
        if index and abs(stamp_ns - self._last_ns) < 0.9e9 * STEP_S:
            return
        self._last_ns = stamp_ns
        self._offered += 1
        if (self._offered - 1) // RUN_FRAMES % self._every:
            return
        grey, scale = working_image(image)
        pose = self._tracker.add(grey)
        self._hw, self._diagonal_px = grey.shape, diagonal_px(*grey.shape[:2])
        self._registered.append(index)
        self._poses.append(pose)
        working = (np.asarray(uv, np.float64)[:, :2] + 0.5) * scale - 0.5
        kept = RegisteredFrame(index, grey, working, pose)
        self._sample.add(lambda: kept)
        self._run.append(kept)
        if len(self._run) == RUN_FRAMES:
            run, self._run = self._run, []
            self._runs.add(lambda: run)

    def score(self, scored: np.ndarray) -> BackgroundScore:
        """
        Return where the keypoints lie in some of the frames.

        :param scored: which frames to judge, (N,) bool; all serve to find the background
        """
        stamps_ns = np.array(self._stamps_ns, np.int64)
        episodes = find_episodes(stamps_ns)
        moving_share = self._moving_share(stamps_ns[self._registered])
        moves = moving_share >= LEAST_MOVING
        kept, pairs = self._sample.items(), list[tuple[RegisteredFrame, list[RegisteredFrame]]]()
        if moves:
            pairs = [(frame, run) for run in self._moving_runs() for frame in run]
        if not pairs:
            clips = [[o for o in kept if episodes[o.number] == n] for n in range(episodes[-1] + 1)]
            pairs = [(frame, clips[episodes[frame.number]]) for frame in kept]
        pairs = [pair for pair in pairs if scored[pair[0].number]]
        on_background = [np.full(len(kept[0].uv), np.nan)]
        for i in evenly_spaced(np.arange(len(pairs)), JUDGED):
            frame, near = pairs[i]
            moving, known = moving_pixels(frame, (near, kept), check=moves)
            on_background.append(_is_on_background(frame, moving, known))
        judged = np.isfinite(on_background).sum(axis=0)
        total = np.nansum(on_background, axis=0)
        share = np.where(judged >= LEAST_FRAMES, total / np.maximum(judged, 1), np.nan)
        return BackgroundScore(share, judged, moving_share, self._range_percent(episodes))

    def _moving_share(self, stamps_ns: np.ndarray) -> float:
        steps_s = np.diff(stamps_ns) / 1e9
        usual_s = float(np.median(steps_s)) if len(steps_s) else LAG_S
        lag = max(1, round(LAG_S / max(usual_s, 1e-3)))
        return float(moving_frames(self._poses, self._hw, lag).mean())

    def _moving_runs(self) -> list[list[RegisteredFrame]]:
        """Return the runs of frames in which the camera moves, by segments."""
        runs, least_px = [], LEAST_RANGE * self._diagonal_px
        for run in [*self._runs.items(), self._run]:
            for number in {frame.pose.segment for frame in run}:
                part = [frame for frame in run if frame.pose.segment == number]
                away = [relative_px(frame.pose, part[0].pose, self._hw) for frame in part]
                if len(part) >= LEAST_FRAMES and max(away) >= least_px:
                    runs.append(part)
        return runs

    def _range_percent(self, episodes: np.ndarray) -> float:
        """Return the largest displacement from the first frame of a clip and segment."""
        first: dict[tuple[int, int], FramePose] = {}
        ranges = [0.0]
        for index, pose in zip(self._registered, self._poses, strict=True):
            start = first.setdefault((int(episodes[index]), pose.segment), pose)
            ranges.append(relative_px(pose, start, self._hw))
        finite = [value for value in ranges if np.isfinite(value)]
        return 100 * max(finite) / self._diagonal_px


def near_labels(keypoints: np.ndarray, labels: np.ndarray, diagonal_px: np.ndarray) -> list[int]:
    """
    Return the keypoints that are near a labelled point in most of the labelled frames.

    :param keypoints: (N, K, 2 or more) px
    :param labels: (N, L, 2) px, NaN where not labelled
    :param diagonal_px: of the images, (N,)
    """
    learned, labelled = in_diagonals(keypoints, diagonal_px), in_diagonals(labels, diagonal_px)
    frames = np.isfinite(labelled).all(axis=-1).any(axis=1)
    nearest = np.full(learned.shape[:2], np.inf)
    for j in range(labelled.shape[1]):
        away = np.linalg.norm(learned - labelled[:, j : j + 1], axis=-1)
        nearest = np.fmin(nearest, away)
    near = (100 * nearest[frames] < NEAR_PERCENT).mean(axis=0) > 0.5
    return [int(k) for k in np.flatnonzero(near)]


def _is_on_background(frame: RegisteredFrame, moving: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return whether each keypoint is on the background, (K,): 0, 1 or NaN where unknown."""
    height, width = moving.shape
    reach = max(1, round(REACH_PERCENT / 100 * float(np.hypot(height, width))))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = cv2.dilate(moving.astype(np.uint8), square) > 0
    column, row = np.clip(np.rint(frame.uv), 0, [width - 1, height - 1]).astype(int).T
    return np.where(known[row, column], ~near[row, column], np.nan)
