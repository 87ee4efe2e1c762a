"""Writes annotation files, as :func:`keypoint_perception.frames.annotations.read_annotations`."""

from __future__ import annotations

from collections.abc import Sequence
import csv
from pathlib import Path

from keypoint_perception.atomic_files import PendingFile
from keypoint_perception.frames.annotations import ANNOTATION_HEADER
import numpy as np


def write_annotations(
    path: Path, names: Sequence[str], stamps_ns: np.ndarray, uv: np.ndarray
) -> None:
    """
    Write labels, one row each; the file takes its name when it is complete.

    :param stamps_ns: of the images, (N,); of equal ones, the first counts
    :param uv: (N, L, 2) px, NaN where there is no label
    """
    _, first = np.unique(stamps_ns, return_index=True)
    with PendingFile(path) as part, part.open('w', newline='', encoding='utf-8') as stream:
        writer = csv.writer(stream, lineterminator='\n')
        writer.writerow(ANNOTATION_HEADER)
        for row in first:
            for name, (u, v) in zip(names, uv[row], strict=True):
                if np.isfinite(u + v):
                    writer.writerow([int(stamps_ns[row]), name, f'{u:.3f}', f'{v:.3f}'])
