"""Measurements of the demo: loss, latency and explained motion."""

from __future__ import annotations

from collections.abc import Iterator
import csv
from dataclasses import dataclass
from pathlib import Path

from keypoint_perception.evaluation.regression import RegressionScore, score_regression
from keypoint_perception.evaluation.video.overlay_video import OverlayVideo
from keypoint_perception.frames.annotations import (
    Keypoints,
    match_labels,
    read_annotations,
    read_keypoints,
)
from keypoint_perception.frames.frame import Frame
from keypoint_perception.keypoints import diagonal_px
import numpy as np


@dataclass(frozen=True)
class Journey:
    """
    Images sent and keypoints received.

    :param latency_ms: from the publication of an image to the arrival of its keypoints, (N,)
    """

    sent: int
    received: int
    latency_ms: np.ndarray

    @property
    def percentiles_ms(self) -> dict[str, float]:
        """Return p50, p95 and p99."""
        return {f'p{p}': float(np.percentile(self.latency_ms, p)) for p in (50, 95, 99)}


def read_journey(sent: Path, arrivals: Path) -> Journey:
    """Join the logs of both ends by the stamps of the images."""
    published, arrived = _times(sent), _times(arrivals)
    latency_ns = [arrived[stamp] - published[stamp] for stamp in arrived if stamp in published]
    return Journey(len(published), len(arrived), np.array(latency_ns) / 1e6)


def _times(path: Path) -> dict[int, int]:
    with path.open(newline='') as stream:
        rows = csv.reader(stream)
        next(rows)
        return {int(stamp): int(time) for stamp, time in rows}


def score(keypoints: Keypoints, image_hw: tuple[int, int], annotations: Path) -> RegressionScore:
    """Score the received keypoints against the labels."""
    order = np.argsort(keypoints.stamps_ns, kind='stable')
    stamps_ns = keypoints.stamps_ns[order]
    labels = read_annotations(annotations)
    sizes = np.tile(image_hw, (len(stamps_ns), 1))
    return score_regression(
        stamps_ns,
        keypoints.keypoints[order],
        match_labels(labels, stamps_ns, sizes, path=annotations),
        names=labels.names,
        diagonal_px=diagonal_px(*image_hw),
    )


def draw(frames: Iterator[Frame], keypoints_csv: Path, video: Path) -> tuple[int, int]:
    """
    Write the overlay video and its contact sheet from the received keypoints.

    :return: height and width of the images, px
    """
    received = read_keypoints(keypoints_csv)
    found = dict(zip(received.stamps_ns.tolist(), received.keypoints, strict=True))
    image_hw = (0, 0)
    with OverlayVideo(video) as overlay:
        for frame in frames:
            image_hw = image_hw if any(image_hw) else frame.image.shape[:2]
            if frame.stamp_ns in found:
                overlay.add(frame.stamp_ns, frame.image, found[frame.stamp_ns])
    return image_hw
