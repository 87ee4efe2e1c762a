"""
Points that another program has tracked through a recording, as correspondences over any time.

The file has the format that ``detect`` writes, and each name is one point over time. Optical flow
is lost after a second at most (:mod:`.flows`); a tracker that follows points for longer, or while
they are occluded, tells the keypoints nearby where to go.
"""

from __future__ import annotations

import logging
from pathlib import Path

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.annotations import Keypoints, read_keypoints
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.keypoints import Fit
from keypoint_perception.manifest import file_digest
import numpy as np
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Points of less confidence are lost or hidden.
LEAST_CONFIDENCE = 0.5
# Cells whose centre is within this many cells of a point move with it. Further away, a part that
# turns moves differently: at 1.0, the reacher's keypoints changed parts more often.
REACH = 0.5


class Tracks:
    """
    The tracked points of a run's frames.

    :ivar uv: (N, P, 2) float32 network px, NaN where a point is not tracked
    :ivar digest: SHA-256 of the file
    """

    def __init__(self, store: FrameStore, path: Path) -> None:
        """
        Match the tracks with the frames to learn from.

        :raises SourceError: if they cannot be read, do not match the frames, or lie outside them
        """
        tracks, whole, self.digest = read_keypoints(path), store.whole, file_digest(path)
        rows = _matching_rows(tracks, whole, path)
        points = np.full((len(rows), len(tracks.names), 3), np.nan, np.float32)
        points[rows >= 0] = tracks.keypoints[rows[rows >= 0]]
        points[~(points[..., 2] >= LEAST_CONFIDENCE)] = np.nan
        _refuse_outside(points, tracks.names, whole, path)
        chosen = points[store.selected, :, :2]
        if not (np.isfinite(chosen).all(axis=-1).sum(axis=0) > 1).any():
            msg = (
                f'Tracks {str(path)!r} have no point in two of the {len(chosen)} frames to learn '
                f'from with a confidence of {LEAST_CONFIDENCE:g} or more; give longer tracks, '
                'whose names stay the same over time, or learn with --holdout 0.'
            )
            raise SourceError(msg)
        self.uv = np.full(chosen.shape, np.nan, np.float32)
        for hw in np.unique(store.image_hw, axis=0):
            mine = (store.image_hw == hw).all(axis=1)
            fit = Fit((int(hw[0]), int(hw[1])), store.network_hw)
            self.uv[mine] = fit.to_network(chosen[mine])

    def along(
        self, flow: Tensor, starts: Tensor, earlier: np.ndarray, later: np.ndarray
    ) -> Tensor:
        """
        Return the flow of pairs with the motion of tracks in the cells around them.

        :param flow: (B, 2, h, w) network px, NaN where unknown
        :param starts: centres of the cells, (h, w, 2) network px
        :param earlier: frame indices, (B,), like ``later``
        """
        begin, end = (torch.from_numpy(self.uv[frames]) for frames in (earlier, later))
        known = (begin + end).isfinite().all(dim=-1)  # (B, P)
        away = torch.cdist(starts.reshape(1, -1, 2), begin.nan_to_num())  # (B, h w, P)
        nearest = away.masked_fill(~known[:, None], torch.inf).min(dim=-1)
        motion = (end - begin).nan_to_num()
        moved = motion.gather(1, nearest.indices[..., None].expand(-1, -1, 2))
        reach = REACH * (starts[0, 1, 0] - starts[0, 0, 0])
        near = (nearest.values <= reach).reshape(len(flow), 1, *flow.shape[2:])
        return torch.where(near, moved.permute(0, 2, 1).reshape(flow.shape), flow)


def _matching_rows(tracks: Keypoints, store: FrameStore, path: Path) -> np.ndarray:
    """Return which frame of the tracks each frame of the store is, (N,), -1 if none."""
    stamps_ns = store.stamps_ns.tolist()
    if len(store.cameras) == 1:  # whatever its topic is called
        row_of = {int(stamp): row for row, stamp in enumerate(tracks.stamps_ns)}
        rows = [row_of.get(stamp, -1) for stamp in stamps_ns]
    else:
        keys = zip(tracks.stamps_ns.tolist(), tracks.topics, strict=True)
        row_at = {key: row for row, key in enumerate(keys)}
        cameras = [store.cameras[camera] for camera in store.camera]
        rows = [row_at.get(key, -1) for key in zip(stamps_ns, cameras, strict=True)]
    found = np.array(rows, np.int64)
    matched = int((found >= 0).sum())
    if not matched:
        stamp = int(tracks.stamps_ns[0])
        nearest_ns = int(np.abs(store.stamps_ns.astype(np.int64) - stamp).min())
        topics = f' and the topics {", ".join(store.cameras)}' if len(store.cameras) > 1 else ''
        msg = (
            f'Tracks {str(path)!r} match no frame: the image nearest to stamp_ns {stamp} is '
            f"{nearest_ns} ns away; give tracks of this recording, with the stamps of its images' "
            f'headers{topics}.'
        )
        raise SourceError(msg)
    log.info('Tracks: %d points in %d of %d frames.', len(tracks.names), matched, len(rows))
    return found


def _refuse_outside(
    points: np.ndarray, names: tuple[str, ...], store: FrameStore, path: Path
) -> None:
    limit = store.image_hw[:, None, ::-1] - 0.5  # (N, 1, 2) along u, v
    uv = points[..., :2]
    outside = ((uv < -0.5) | (uv > limit)).any(axis=-1)  # False for NaN
    if not outside.any():
        return
    frame, point = np.argwhere(outside)[0]
    (u, v), (height, width) = uv[frame, point], store.image_hw[frame]
    msg = (
        f'Tracks {str(path)!r} have {int(outside.sum())} points outside the image; the first is '
        f'{names[point]!r} at ({u:g}, {v:g}) in the {width}x{height} image of stamp_ns '
        f'{int(store.stamps_ns[frame])}; use pixels of the image as recorded, and give points '
        'that have left the view a confidence of 0.'
    )
    raise SourceError(msg)
