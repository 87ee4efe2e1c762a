"""All that is measured while a recording goes by once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from keypoint_perception.evaluation.background_error import background_error, shrink
from keypoint_perception.evaluation.detections import Detection, Track
from keypoint_perception.evaluation.equivariance_error import Detector, equivariance_error
from keypoint_perception.evaluation.illumination_error import illumination_error
from keypoint_perception.evaluation.keypoint_crops import KeypointCrops
from keypoint_perception.evaluation.label_free import (
    find_dead,
    find_duplicates,
    find_static,
    find_wasted,
    static_share,
    still_jitter,
)
from keypoint_perception.evaluation.overlay_video import OverlayVideo
from keypoint_perception.evaluation.pixel_motion import PixelMotion
from keypoint_perception.evaluation.preview_clip import PreviewClip
import numpy as np

Item = TypeVar('Item')


class FairSample(Generic[Item]):
    """A fair draw of a recording's images, say, without knowing how many there will be."""

    def __init__(self, size: int, *, seed: int = 0) -> None:
        self.items: list[Item] = []
        self._size = size
        self._seen = 0
        self._generator = np.random.default_rng(seed)

    def add(self, item: Item) -> None:
        """Take in the next item; each one seen so far is kept with the same probability."""
        self._seen += 1
        if len(self.items) < self._size:
            self.items.append(item)
            return
        place = int(self._generator.integers(self._seen))
        if place < self._size:
            self.items[place] = item


@dataclass
class RecordingMeasurements:
    """What is kept of a recording: no images but samples, small crops and a short film."""

    track: Track = field(default_factory=Track)
    motion: PixelMotion = field(default_factory=PixelMotion)
    sample: FairSample[np.ndarray] = field(default_factory=lambda: FairSample(16))
    shrunk: FairSample[tuple[int, np.ndarray]] = field(default_factory=lambda: FairSample(240))
    film: PreviewClip = field(default_factory=PreviewClip)
    gallery: KeypointCrops = field(default_factory=KeypointCrops)

    def gather(self, detections: Iterable[Detection], video: OverlayVideo | None = None) -> None:
        """Take in frames with their keypoints, and show them on the video."""
        for number, detection in enumerate(detections):
            frame, keypoints = detection
            self.track.add(detection)
            self.motion.add(frame.image)
            self.sample.add(frame.image)
            self.shrunk.add((number, shrink(frame.image)))
            self.film.add(frame.stamp_ns, frame.image, keypoints)
            self.gallery.add(frame.image, keypoints)
            if video is not None:
                video.add(frame.stamp_ns, frame.image, keypoints)

    def label_free(self, detect: Detector, names: tuple[str, ...]) -> dict:
        """
        Return the label-free measures of the recording and of each keypoint.

        Each is defined where it is computed, in :mod:`keypoint_perception.evaluation.label_free`,
        :mod:`~keypoint_perception.evaluation.equivariance_error`,
        :mod:`~keypoint_perception.evaluation.background_error` and
        :mod:`~keypoint_perception.evaluation.illumination_error`; shares are between 0 and 1.

        :param detect: list of B RGB images -> (B, K, 3)
        :param names: K names
        """
        keypoints, diagonal = self.track.keypoints, self.track.diagonal_px
        equivariance = equivariance_error(detect, self.sample.items)
        frames, images = (list(x) for x in zip(*self.shrunk.items, strict=True))
        background = background_error(detect, images, frames, self.track.stamps_ns)
        static = static_share(keypoints[..., :2], self.track.image_hw, self.motion.deviation())
        jitter, still_pairs = still_jitter(
            keypoints, diagonal, self.track.stamps_ns, np.array(self.motion.image_changes)
        )
        dead = find_dead(keypoints, diagonal)
        pairs = find_duplicates(keypoints, diagonal)
        unmoved = find_static(keypoints, diagonal, static)
        wasted = find_wasted(unmoved, dead, pairs)
        confidence = keypoints[..., 2].mean(axis=0)
        return {
            'equivariance_error_percent': equivariance.percent,
            'equivariance_pairs': equivariance.pairs,
            'background_error_percent': background.percent,
            'background_pairs': background.pairs,
            'light_error_percent': illumination_error(detect, self.sample.items),
            'duplicate_pairs': [[names[i], names[j]] for i, j in pairs],
            'dead_keypoints': [names[k] for k in dead],
            'static_keypoints': [names[k] for k in unmoved],
            'wasted_keypoints': [names[k] for k in wasted],
            'wasted_share': len(wasted) / len(names),
            'static_share': float(static.mean()),
            'still_jitter_percent': float(jitter.mean()),
            'still_pairs': still_pairs,
            'keypoints': [
                {
                    'name': name,
                    'equivariance_error_percent': float(equivariance.by_keypoint[k]),
                    'static_share': float(static[k]),
                    'still_jitter_percent': float(jitter[k]),
                    'mean_confidence': float(confidence[k]),
                    'dead': k in dead,
                    'static': k in unmoved,
                    'wasted': k in wasted,
                }
                for k, name in enumerate(names)
            ],
        }
