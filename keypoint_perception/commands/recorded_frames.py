"""Recorded frames of a model's scene, at the size of its network."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from keypoint_perception.errors import SourceError
from keypoint_perception.holdout import count_fitted
from keypoint_perception.model_directory import FRAME_STORE_NAME
from keypoint_perception.sampling import evenly_spaced
import numpy as np

CALIBRATION_FRAMES = 200
HELD_OUT_FRAMES = 400
MIN_FRAMES = 20


def calibration_frames(
    model: Path, input_hw: tuple[int, int], source: Path | None, topic: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return frames for calibration, and held-out ones.

    :param input_hw: of the network, px
    :param source: recording; None: the training frames in the model directory
    :return: both (N, H, W, 3) uint8, evenly spread over the first 70 % and the rest
    :raises SourceError: if there are no frames, too few, or of another size
    """
    images = (
        _stored(model, input_hw) if source is None else _recorded(source, topic, input_hw, model)
    )
    if len(images) < MIN_FRAMES:
        msg = (
            f'{str(source or model / FRAME_STORE_NAME)!r} has {len(images)} frames, int8 needs '
            f'at least {MIN_FRAMES} for calibration; give a longer recording with --frames.'
        )
        raise SourceError(msg)
    end = count_fitted(len(images))  # the rest is held out
    first = evenly_spaced(images[:end], CALIBRATION_FRAMES)
    return np.asarray(first), np.asarray(evenly_spaced(images[end:], HELD_OUT_FRAMES))


def _stored(model: Path, input_hw: tuple[int, int]) -> np.ndarray:
    from keypoint_perception.frames.frame_store import FrameStore

    place = model / FRAME_STORE_NAME
    if not place.is_dir():
        msg = (
            f'The training frames of this model are missing ({str(place)!r}), which int8 is '
            'calibrated on; give a recording of the same scene with --frames.'
        )
        raise SourceError(msg)
    store = FrameStore.open(place)
    if tuple(store.network_hw) != tuple(input_hw):
        msg = (
            f'The frames in {str(place)!r} are {store.network_hw[1]} x {store.network_hw[0]} px '
            f'and the network takes {input_hw[1]} x {input_hw[0]}; give a recording with --frames.'
        )
        raise SourceError(msg)
    return store.images


def _recorded(
    source: Path, topic: str | None, input_hw: tuple[int, int], model: Path
) -> np.ndarray:
    """Return evenly spaced frames of a recording, at the network's size."""
    from keypoint_perception.evaluation.stream_samples import EvenSample
    from keypoint_perception.frames.source import read_frames
    from keypoint_perception.images import fit_image
    from keypoint_perception.keypoints import Fit
    from keypoint_perception.manifest import parse_manifest

    sample = EvenSample[np.ndarray](4 * (CALIBRATION_FRAMES + HELD_OUT_FRAMES))
    topics, grey_range = [] if topic is None else [topic], parse_manifest(model).grey_range
    for frame in read_frames([source], topics, grey_range):
        fit = Fit(frame.image.shape[:2], input_hw)
        sample.add(partial(fit_image, frame.image, fit))
    images = sample.items()
    return np.stack(images) if images else np.zeros((0, *input_hw, 3), np.uint8)
