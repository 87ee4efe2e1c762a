"""Comparison of the points that two engines return for the same images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
import math
from typing import Any

from keypoint_perception.errors import EngineError
import numpy as np

# Below this confidence, rounding decides which cell of a flat heatmap is the largest.
MIN_CONFIDENCE = 0.3

# Points (N, P, 3) by name of the output: u, v in network px and confidence.
Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Tolerance:
    """
    Allowed differences.

    :param median_px: median distance of the confident points, px of the network
    :param far_px: a confident point is off if it is farther away than this
    :param far_confidence: any point is off if its confidence differs by more
    :param off_share: share of the points that may be off
    """

    median_px: float
    far_px: float = math.inf
    far_confidence: float = math.inf
    off_share: float = 0.0


UNLIMITED = Tolerance(median_px=math.inf)
# fp32 without TF32 is as precise as PyTorch. fp16 has 11 bits, which libraries that add in
# different orders round differently, and int8 values may differ by one step; there a heatmap with
# two equal peaks may switch to the other one.
TOLERANCES = {
    'fp32': Tolerance(median_px=0.01, far_px=0.05, far_confidence=1e-3, off_share=0.0),
    'fp16': Tolerance(median_px=0.05, far_px=0.5, far_confidence=0.02, off_share=0.01),
    'int8': Tolerance(median_px=0.25, far_px=2.0, far_confidence=0.1, off_share=0.02),
}


@dataclass(frozen=True)
class Parity:
    """
    The differences between two engines.

    :param images: description of the images
    :param frames: number of images
    :param confident: number of points compared by position; distances are of these
    :param bias_px: largest component of their mean displacement; 0.01 px is a wrong formula
    :param worst_frame: index of the image with the largest distance
    :param off: number of points outside the tolerance
    """

    images: str
    frames: int
    points: int
    confident: int
    median_px: float
    p95_px: float
    largest_px: float
    bias_px: float
    largest_confidence: float
    worst_frame: int
    off: int
    tolerance: Tolerance

    @property
    def holds(self) -> bool:
        """Return whether the differences are within the tolerance."""
        limit = self.tolerance
        return self.median_px <= limit.median_px and self.off <= limit.off_share * self.points

    def __str__(self) -> str:
        """Return the differences and their limits as part of a sentence."""
        limit = self.tolerance
        parts = [f'median {self.median_px:.4f} px (allowed {limit.median_px:g})']
        if math.isfinite(limit.far_px):
            parts.append(
                f'{self.off} of {self.points} points off by more than {limit.far_px:g} px or '
                f'{limit.far_confidence:g} in confidence (allowed {limit.off_share:.0%})'
            )
        parts.append(f'at most {self.largest_px:.4f} px and {self.largest_confidence:.4f}')
        parts.append(f'on {self.frames} {self.images}, worst at index {self.worst_frame}')
        return ', '.join(parts)

    def report(self) -> dict[str, Any]:
        """Return all fields for JSON."""
        return asdict(self) | {'holds': self.holds}


def check_parity(
    found: Outputs,
    expected: Outputs,
    tolerance: Tolerance,
    *,
    pair: str,
    images: str,
    remedy: str = 'export the model again',
    min_confidence: float = MIN_CONFIDENCE,
) -> Parity:
    """
    Compare the outputs of an engine with those of a reference.

    :param pair: both engines, as the subject of a sentence
    :param images: description of the images
    :param remedy: consequence and remedy, for the error message
    :param min_confidence: of the points that are compared by position
    :raises EngineError: if they have different outputs, are not finite or differ too much
    """
    shapes = [{n: points.shape for n, points in outputs.items()} for outputs in (found, expected)]
    broken = [n for n, points in found.items() if not np.isfinite(points).all()]
    if shapes[0] != shapes[1]:
        difference = f'outputs {shapes[0]} and {shapes[1]}'
    elif broken:
        difference = f'NaN or infinity in {", ".join(broken)}'
    else:
        parity = _measure(found, expected, tolerance, images, min_confidence)
        if parity.holds:
            return parity
        difference = str(parity)
    msg = f'{pair} differ: {difference}; {remedy}.'
    raise EngineError(msg)


def _measure(
    found: Outputs, expected: Outputs, limit: Tolerance, images: str, min_confidence: float
) -> Parity:
    reference = np.concatenate(list(expected.values()), axis=1)  # (N, P, 3)
    moved = np.concatenate(list(found.values()), axis=1).astype(np.float64) - reference
    confidence = np.abs(moved[..., 2])
    confident = reference[..., 2] >= min_confidence
    distances = np.where(confident, np.linalg.norm(moved[..., :2], axis=-1), 0.0)
    off = (distances > limit.far_px) | (confidence > limit.far_confidence)
    ranked = distances[confident] if confident.any() else np.zeros(1)
    median, p95 = np.percentile(ranked, [50, 95])
    bias = np.abs(moved[confident][:, :2].sum(axis=0)) / max(1, int(confident.sum()))
    return Parity(
        images,
        len(reference),
        points=confident.size,
        confident=int(confident.sum()),
        median_px=float(median),
        p95_px=float(p95),
        largest_px=float(ranked.max()),
        bias_px=float(bias.max()),
        largest_confidence=float(confidence.max(initial=0.0)),
        worst_frame=int(distances.max(axis=1, initial=0.0).argmax()) if len(reference) else 0,
        off=int(off.sum()),
        tolerance=limit,
    )
