"""What a camera that moves means for the objective of a run."""

from __future__ import annotations

from dataclasses import replace
import logging
from pathlib import Path
from typing import Any

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.composite_objective import assuming_still_camera
from keypoint_perception.learning.config import read_yaml, TrainConfig
from keypoint_perception.learning.data.camera_backgrounds import CameraBackgrounds
from keypoint_perception.learning.data.fitting_part import fitting_part
from keypoint_perception.learning.data.foreground import foreground_map
from keypoint_perception.learning.data.registration import registered_frames, RegisteredFrames
from keypoint_perception.learning.objectives import OBJECTIVES
from keypoint_perception.model.layers import normalise
from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch

log = logging.getLogger('keypoint_perception')

# Longest gap of pairs before a camera that moves, for objectives that do not register frames, s.
SHORT_GAP_S = 0.4
# The objective that assumes nothing of the camera, and needs nothing to move in the world.
CORRESPONDENCE = 'self_training'
# Frames that are searched for what moves, their cells of so many pixels, and how many cells must
# show it in half of the frames.
SEARCHED_FRAMES, CELL, LEAST_CELLS = 16, 4, 1
# Settings that say which objective is meant.
OBJECTIVE_SETTINGS = ('objective', 'objective_settings', 'weights', 'annotations')


def states_objective(path: Path | None, stated: dict[str, Any]) -> bool:
    """
    Return whether the user says which objective is meant.

    :param path: YAML file of settings, or None
    :param stated: values of the command line by name; None means not stated
    """
    names = {name for name, value in stated.items() if value is not None}
    names |= set() if path is None else set(read_yaml(path))
    return bool(names & set(OBJECTIVE_SETTINGS))


def suited_to_camera(config: TrainConfig, store: FrameStore) -> TrainConfig:
    """
    Return the settings of a run whose objective is not stated, with one that suits the camera.

    Where a camera moves and all that matters rests in the world, as things before a camera on a
    robot's hand do, nothing can be learned from motion: points are learned by what they look like.
    """
    part = fitting_part(store, config.holdout)
    reason = why_by_correspondence(config, part)
    if reason is None:
        return config
    if CORRESPONDENCE not in OBJECTIVES:
        log.warning('%s; the objective %s learns from motion.', reason, config.title)
        return config
    log.info(
        'Objective %s, because %s; state --objective %s to have it otherwise.',
        CORRESPONDENCE,
        reason[0].lower() + reason[1:],
        config.title,
    )
    return replace(config, objective=CORRESPONDENCE, extra_keypoints=0)


def why_by_correspondence(config: TrainConfig, store: FrameStore) -> str | None:
    """Return why points should be learned by what they look like; None if by how they move."""
    registered = registered_frames(store, config)
    surveys = registered.surveys.values()
    if surveys and all(survey.unregistered for survey in surveys):
        return 'Frames cannot be registered'
    if surveys and all(survey.parallax or survey.unregistered for survey in surveys):
        seconds = float(np.mean([survey.keyframe_s for survey in surveys]))
        share = float(np.mean([survey.explained.mean() for survey in surveys]))
        return (
            'The camera moves through a scene with depth (a homography holds for '
            f'{seconds:.1f} s and explains {100 * share:.0f} % of the texture)'
        )
    if registered.moving.all() and not anything_moves(config, store):
        return 'The camera moves and nothing else does'
    return None


def anything_moves(config: TrainConfig, store: FrameStore) -> bool:
    """Return whether something moves against a camera that moves."""
    frames = evenly_spaced(np.arange(len(store.stamps_ns)), SEARCHED_FRAMES)
    found = CameraBackgrounds(store, config).take(frames)
    images = torch.from_numpy(np.stack([store.images[frame] for frame in frames]))
    height, width = (side // CELL for side in images.shape[1:3])
    foreground = foreground_map(
        normalise(images), found['background'], found['noise'], (height, width)
    )
    cells = (foreground > 0.5).sum(dim=(1, 2))
    return bool(cells.float().median() >= LEAST_CELLS)


def warn_of_motion(config: TrainConfig, registered: RegisteredFrames) -> None:
    """Warn if an objective takes the camera's motion for that of things."""
    assuming = assuming_still_camera(config.parts)
    if registered.any_moves and assuming and config.max_gap_s > SHORT_GAP_S:
        log.warning(
            'The camera moves, and %s takes its motion for that of things; set max_gap_s to %g: '
            'with temporal_transport and without registration, 0.96 of the motion on a panning '
            'recording was explained with that, and 0.35 with 2 s.',
            ' and '.join(assuming),
            SHORT_GAP_S,
        )
