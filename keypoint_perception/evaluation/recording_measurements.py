"""Everything measured in one pass over a recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from keypoint_perception.evaluation.background_error import background_error, shrink
from keypoint_perception.evaluation.background_points import BackgroundPoints
from keypoint_perception.evaluation.detections import (
    Detection,
    KeypointSequence,
    StampedImage,
)
from keypoint_perception.evaluation.equivariance_error import Detector, equivariance_error
from keypoint_perception.evaluation.illumination_error import illumination_error
from keypoint_perception.evaluation.keypoint_crops import KeypointCrops
from keypoint_perception.evaluation.label_free import (
    find_dead,
    find_duplicates,
    find_static,
    find_uninformative,
    static_share,
    still_jitter,
)
from keypoint_perception.evaluation.pixel_motion import PixelMotion
from keypoint_perception.evaluation.stream_samples import ReservoirSample
from keypoint_perception.evaluation.video.overlay_video import OverlayVideo
from keypoint_perception.evaluation.video.preview_clip import PreviewClip
from keypoint_perception.holdout import Exposure
import numpy as np


def _sample() -> ReservoirSample[np.ndarray]:
    return ReservoirSample(16)


def _small_sample() -> ReservoirSample[tuple[int, np.ndarray]]:
    return ReservoirSample(240)


@dataclass
class RecordingMeasurements:
    """
    What is kept of a recording; of its images only samples, crops and a short preview.

    :param exposure: what the model has learned from; if it has withheld frames, these alone are
        sampled and measured
    :param withheld: whether each frame was withheld from the model
    """

    sequence: KeypointSequence = field(default_factory=KeypointSequence)
    motion: PixelMotion = field(default_factory=PixelMotion)
    sample: ReservoirSample[np.ndarray] = field(default_factory=_sample)
    small_sample: ReservoirSample[tuple[int, np.ndarray]] = field(default_factory=_small_sample)
    preview: PreviewClip = field(default_factory=PreviewClip)
    crops: KeypointCrops = field(default_factory=KeypointCrops)
    exposure: Exposure = field(default_factory=Exposure)
    withheld: list[bool] = field(default_factory=list)
    background: BackgroundPoints = field(default_factory=BackgroundPoints)

    def add_all(self, detections: Iterable[Detection], video: OverlayVideo | None = None) -> None:
        """Add frames with their keypoints, to the overlay video too."""
        for index, detection in enumerate(detections):
            frame, keypoints = detection
            self.sequence.add(detection)
            self.motion.add(frame.image)
            self._add_to_samples(index, frame)
            self.background.add(frame.stamp_ns, frame.image, keypoints)
            self.preview.add(frame.stamp_ns, frame.image, keypoints)
            self.crops.add(frame.image, keypoints)
            if video is not None:
                video.add(frame.stamp_ns, frame.image, keypoints)

    def _add_to_samples(self, index: int, frame: StampedImage) -> None:
        withheld = self.exposure.is_withheld(frame.stamp_ns, frame.topic)
        if withheld and not any(self.withheld):
            self.sample, self.small_sample = _sample(), _small_sample()
        self.withheld.append(withheld)
        if withheld or not any(self.withheld):
            self.sample.add(frame.image)
            self.small_sample.add((index, shrink(frame.image)))

    def label_free(self, detect: Detector, names: tuple[str, ...]) -> dict[str, Any]:
        """
        Return the label-free measures of the recording and of each keypoint.

        Each is defined where it is computed: in :mod:`~keypoint_perception.evaluation.label_free`
        and in the modules of the equivariance, background and illumination errors. Shares are
        between 0 and 1.

        :param detect: list of B RGB images -> (B, K, 3)
        :param names: K names
        """
        scored = (
            np.array(self.withheld) if any(self.withheld) else np.ones(len(self.withheld), bool)
        )
        keypoints, diagonal = self.sequence.keypoints[scored], self.sequence.diagonal_px[scored]
        equivariance = equivariance_error(detect, self.sample.items)
        frames, images = map(list, zip(*self.small_sample.items, strict=True))
        lying = self.background.score(scored)
        background = background_error(detect, images, frames, self.sequence.stamps_ns)
        image_hw, stamps_ns = self.sequence.image_hw[scored], self.sequence.stamps_ns[scored]
        static = static_share(keypoints[..., :2], image_hw, self.motion.deviation())
        changes = np.array(self.motion.image_changes)[scored]
        jitter, still_pairs = still_jitter(keypoints, diagonal, stamps_ns, changes)
        dead = find_dead(keypoints, diagonal)
        pairs = find_duplicates(keypoints, diagonal)
        still = find_static(keypoints, diagonal, static)
        uninformative = find_uninformative(still, dead, pairs)
        confidence = keypoints[..., 2].mean(axis=0)
        return {
            'equivariance_error_percent': equivariance.percent,
            'equivariance_pairs': equivariance.pairs,
            'background_error_percent': background.percent,
            'background_pairs': background.pairs,
            'light_error_percent': illumination_error(detect, self.sample.items),
            'background_keypoints': [names[k] for k in lying.points],
            'background_share': lying.points_share,
            'camera_moving_share': lying.moving_share,
            'camera_range_percent': lying.range_percent,
            'duplicate_pairs': [[names[i], names[j]] for i, j in pairs],
            'dead_keypoints': [names[k] for k in dead],
            'static_keypoints': [names[k] for k in still],
            'wasted_keypoints': [names[k] for k in uninformative],
            'wasted_share': len(uninformative) / len(names),
            'static_share': float(static.mean()),
            'still_jitter_percent': float(jitter.mean()),
            'still_pairs': still_pairs,
            'keypoints': [
                {
                    'name': name,
                    'equivariance_error_percent': float(equivariance.by_keypoint[k]),
                    'static_share': float(static[k]),
                    'background_share': float(lying.share[k]),
                    'background_judged_frames': int(lying.judged[k]),
                    'still_jitter_percent': float(jitter[k]),
                    'mean_confidence': float(confidence[k]),
                    'dead': k in dead,
                    'static': k in still,
                    'background': k in lying.points,
                    'wasted': k in uninformative,
                }
                for k, name in enumerate(names)
            ],
        }
