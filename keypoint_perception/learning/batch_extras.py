"""Data that objectives need besides the frames of a batch."""

from __future__ import annotations

from collections.abc import Callable

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.batch_loader import BatchExtra
from keypoint_perception.learning.composite_objective import needs
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.camera_backgrounds import CameraBackgrounds
from keypoint_perception.learning.data.carried_labels import CarriedLabels
from keypoint_perception.learning.data.flows import Flows
from keypoint_perception.learning.data.labels import Labels
from keypoint_perception.learning.data.landmark_priors import LandmarkPriors
from keypoint_perception.learning.data.registration import Registration
from keypoint_perception.learning.self_training.candidates import Candidates

# By the name in the ``needs`` of an objective.
BATCH_EXTRAS: dict[str, Callable[[FrameStore, TrainConfig], BatchExtra]] = {
    'background': CameraBackgrounds,
    'candidates': Candidates,
    'carried_labels': CarriedLabels,
    'flow': Flows,
    'labels': Labels,
    'landmark_priors': LandmarkPriors,
    'registration': Registration,
}


def batch_extras(config: TrainConfig, store: FrameStore) -> list[BatchExtra]:
    """
    Return what the objectives of a run need.

    :raises PerceptionError: if the recording or the labels do not provide it
    """
    return [BATCH_EXTRAS[name](store, config) for name in needs(config.parts)]
