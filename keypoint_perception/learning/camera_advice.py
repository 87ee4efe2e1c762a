"""What a camera that moves means for the objectives of a run."""

from __future__ import annotations

import logging

from keypoint_perception.learning.composite_objective import assuming_still_camera
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.registration import RegisteredFrames

log = logging.getLogger('keypoint_perception')

# Longest gap of pairs before a camera that moves, for objectives that do not register frames, s.
SHORT_GAP_S = 0.4


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
