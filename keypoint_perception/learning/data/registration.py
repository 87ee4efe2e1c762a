"""
Frames of a camera that moves, registered to each other.

Whether the camera of a recording moves is found out, unless ``camera`` says so, and logged with
its figures. Where it does, each frame has the homography to the first frame of its episode
(:mod:`...geometry.camera_survey`), so that backgrounds and transport can follow the camera. Where
the view changes at once, as when a camera is pushed or a video is cut, an episode ends.
"""

from __future__ import annotations

from dataclasses import dataclass
import logging

from keypoint_perception.episodes import find_episodes
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.geometry.camera_survey import CameraSurvey, survey_camera
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.model.network import map_stride
import numpy as np
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

MOVES = {'auto': None, 'still': False, 'moving': True}
# Jumps that are listed one by one.
LISTED = 3


@dataclass(frozen=True)
class RegisteredFrames:
    """
    How the frames of a recording are registered.

    :param episodes: episode of each frame, within which frames are registered, (N,) int
    :param moving: frames of a camera that moves, (N,) bool
    :param to_reference: from pixels of each frame to those of the first frame of its episode,
        (N, 3, 3); the identity where the camera stands still
    :param keyframe: whose surroundings each frame shows, (N,) int
    :param scene: frames of one camera that are registered, or taken from one place, (N,) int
    :param surveys: of each camera of each recording, by its title
    :param sentences: what they say
    """

    episodes: np.ndarray
    moving: np.ndarray
    to_reference: np.ndarray
    keyframe: np.ndarray
    scene: np.ndarray
    surveys: dict[str, CameraSurvey]
    sentences: list[str]

    @property
    def any_moves(self) -> bool:
        """Whether any camera moves."""
        return bool(self.moving.any())

    def between(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the homographies from frames to others of their episodes, (n, 3, 3) px."""
        moved = np.linalg.inv(self.to_reference[second]) @ self.to_reference[first]
        return np.asarray(moved / moved[:, 2:, 2:])


class Registration:
    """
    Provides the motion of the camera between the frames of each pair.

    ``registration``: from cells of the first frames to those of the second ones, (B, 3, 3)
    float32; absent if no camera of the recording moves.
    """

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """Use a recording, whose frames are registered on first use."""
        self._frames = registered_frames(store, config)
        stride = map_stride(config.network)
        offset = (stride - 1) / 2
        self._to_px = np.array([[stride, 0, offset], [0, stride, offset], [0, 0, 1.0]])

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the motion between the frames of pairs, (2, B) indices."""
        if not self._frames.any_moves:
            return {}
        moved = np.linalg.inv(self._to_px) @ self._frames.between(*frames) @ self._to_px
        return {'registration': torch.from_numpy(moved.astype(np.float32))}


# The frames that were registered last: all parts of a run use the same.
_last: list[tuple[FrameStore, str, RegisteredFrames]] = []


def registered_frames(store: FrameStore, config: TrainConfig) -> RegisteredFrames:
    """Return how the frames of a recording are registered; computed once for a run."""
    for known, camera, registered in _last:
        if camera == config.camera and _same_frames(known, store):
            return registered
    registered = register_frames(store, config.camera)
    _last[:] = [(store, config.camera, registered)]
    return registered


def _same_frames(one: FrameStore, other: FrameStore) -> bool:
    """Return whether two selections of one store are of the same frames."""
    if one is other:
        return True
    whole = getattr(one, 'whole', None)
    same = whole is not None and whole is getattr(other, 'whole', None)
    return same and np.array_equal(one.selected, other.selected)


def register_frames(store: FrameStore, camera: str = 'auto') -> RegisteredFrames:
    """
    Register the frames of each camera of a recording, and log how it moves.

    :param camera: auto, still or moving
    """
    episodes = find_episodes(store.stamps_ns, store.source, store.camera)
    count = len(episodes)
    found = RegisteredFrames(
        np.zeros(count, np.int64),
        np.zeros(count, bool),
        np.tile(np.eye(3), (count, 1, 1)),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        {},
        [],
    )
    views = np.stack([store.source, store.camera], axis=1)
    first_episode = first_keyframe = first_scene = 0
    several = len(np.unique(views, axis=0)) > 1
    for view in np.unique(views, axis=0):
        members = np.flatnonzero((views == view).all(axis=1))
        survey = survey_camera(
            lambda index, members=members: store.images[members[index]],  # type: ignore[misc]
            store.stamps_ns[members],
            episodes[members],
            MOVES[camera],
        )
        found.episodes[members] = first_episode + survey.segment
        found.keyframe[members] = first_keyframe + survey.keyframe
        found.moving[members] = survey.moves
        found.to_reference[members] = survey.homography
        found.scene[members] = first_scene + places(survey, store.stamps_ns[members])
        first_scene = int(found.scene[members].max()) + 1
        first_episode += int(survey.segment.max()) + 1
        first_keyframe += int(survey.keyframe.max()) + 1
        title = _title(store, view) if several else 'The camera'
        found.surveys[title] = survey
        if survey.moves or camera == 'auto':
            found.sentences.append(describe_motion(title, survey))
            level = logging.WARNING if survey.restless else logging.INFO
            log.log(level, '%s', found.sentences[-1])
        if survey.jumps:
            found.sentences.append(describe_jumps(title, survey, store.stamps_ns[members]))
            log.warning('%s', found.sentences[-1])
    return found


def places(survey: CameraSurvey, stamps_ns: np.ndarray) -> np.ndarray:
    """Return which frames are registered, or taken from one place, (N,) int from 0."""
    if survey.moves:
        return survey.segment
    order = np.argsort(stamps_ns, kind='stable')
    jumps = np.isin(order, [jump.frame for jump in survey.jumps])
    found = np.empty(len(order), np.int64)
    found[order] = np.cumsum(jumps)
    return found


def _title(store: FrameStore, view: np.ndarray) -> str:
    source, camera = store.sources[view[0]]['name'], store.cameras[view[1]]
    return f'The camera {camera} of {source}' if camera else f'The camera of {source}'


def describe_motion(title: str, survey: CameraSurvey) -> str:
    """Return a sentence on how a camera moves."""
    if survey.unregistered:
        return (
            f'{title} seems to move, but its frames cannot be registered: nothing rests in the '
            'picture, or it changes too much from frame to frame.'
        )
    if survey.restless:
        return (
            f'{title}: nothing rests in the picture, so that it cannot be told whether it moves, '
            'and keypoints may not be useful; let more of what rests be in view.'
        )
    if not survey.moves:
        return f'{title} stands still.'
    return (
        f'{title} moves: by up to {survey.range_px:.0f} px from where it began, '
        f'{survey.speed_px:.1f} px in a second; '
        f'frames are registered (residual {np.median(survey.residual_px):.2f} px, '
        f'{100 * survey.explained.mean():.0f} % of the texture explained). If it stands still, '
        'set camera to still.'
    )


def describe_jumps(title: str, survey: CameraSurvey, stamps_ns: np.ndarray) -> str:
    """
    Return a sentence on where a view changes at once.

    :param stamps_ns: of the camera's frames, (N,) ns
    """
    # a camera that moves may also move too fast
    unknown = '(nothing is recognised)' if survey.moves else '(to another picture)'
    places = [
        f'{(stamps_ns[jump.frame] - stamps_ns.min()) / 1e9:.1f} s '
        + (f'(by {jump.px:.1f} px)' if np.isfinite(jump.px) else unknown)
        for jump in survey.jumps[:LISTED]
    ]
    more = '' if len(survey.jumps) <= LISTED else f' and {len(survey.jumps) - LISTED} more'
    plural = 's' if len(survey.jumps) > 1 else ''
    return (
        f'{title}: the view changes at once at {len(survey.jumps)} place{plural}, after '
        f'{", ".join(places)}{more}; episodes end there.'
    )
