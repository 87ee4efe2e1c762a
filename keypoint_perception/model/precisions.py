"""
fp16 and int8 exports, beside ``keypointer.onnx``.

Their loss is measured before they are kept: the distance of keypoints and landmarks to those of
``keypointer.onnx`` on held-out recorded frames. Medians and 95th percentiles are written to the
manifest; an export whose median exceeds the limit is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from keypoint_perception.atomic_files import PendingFile
from keypoint_perception.landmark_map import Landmarks
from keypoint_perception.manifest import Manifest, read_manifest, write_manifest
from keypoint_perception.model.checkpoint import load_network
from keypoint_perception.model.landmark_head import fitted_landmarks
from keypoint_perception.model.network import Keypointer
from keypoint_perception.model.onnx_export import run_onnx, write_onnx
from keypoint_perception.model.quantisation import write_quantised
from keypoint_perception.model_directory import ONNX_NAME, onnx_name
from keypoint_perception.parity import check_parity, Parity, Tolerance
import numpy as np

# Default limit of the median distance to fp32, px at network size.
MAX_LOSS_PX = {'fp16': 0.1, 'int8': 0.5}

# Writes a network file, given the network, the path and the landmarks.
Write = Callable[[Keypointer, Path, Landmarks | None], None]


def export_fp16(
    model_dir: Path, frames: np.ndarray, *, max_loss_px: float | None = None
) -> Manifest:
    """
    Export weights and convolutions in half precision, norms and read-out in single.

    :param frames: to measure the loss on, (N, H, W, 3) uint8
    :param max_loss_px: None: that of :data:`MAX_LOSS_PX`
    :raises ModelError: if the model does not match its manifest, or has no checkpoint
    :raises EngineError: if its keypoints differ too much from those of fp32
    """

    def write(network: Keypointer, path: Path, landmarks: Landmarks | None) -> None:
        write_onnx(network, path, landmarks, kind='fp16')

    return _export(model_dir, 'fp16', write, frames, max_loss_px, {})


def export_int8(
    model_dir: Path,
    frames: np.ndarray,
    held_out: np.ndarray,
    *,
    max_loss_px: float | None = None,
    signed: bool = False,
) -> Manifest:
    """
    Export int8 convolutions, as :func:`export_fp16`; see :mod:`.quantisation`.

    :param frames: recorded frames for calibration, (N, H, W, 3) uint8
    :param held_out: other frames, to measure the loss on
    :param signed: for TensorRT
    """

    def write(network: Keypointer, path: Path, landmarks: Landmarks | None) -> None:
        write_quantised(network, path, frames, landmarks, signed=signed)

    details = {'calibration_frames': len(frames), 'signed': signed}
    return _export(model_dir, 'int8', write, held_out, max_loss_px, details)


def _export(
    model_dir: Path,
    precision: str,
    write: Write,
    frames: np.ndarray,
    max_loss_px: float | None,
    details: dict[str, Any],
) -> Manifest:
    model_dir = Path(model_dir)
    manifest = read_manifest(model_dir)
    network, landmarks = load_network(model_dir), fitted_landmarks(model_dir)
    name = onnx_name(precision)
    with PendingFile(model_dir / name) as part:
        write(network, part, landmarks)

        def compare(output: str) -> Parity:
            return check_parity(
                {output: run_onnx(part, frames, output)},
                {output: run_onnx(model_dir / ONNX_NAME, frames, output)},
                Tolerance(MAX_LOSS_PX[precision] if max_loss_px is None else max_loss_px),
                pair=f'The {output} in {precision} and in fp32',
                images='recorded frames',
                remedy='nothing was exported; use fp32, or allow more with --max-loss',
                min_confidence=0.0,
            )

        parity = compare('keypoints')
        names = ('frames', 'median_px', 'p95_px', 'largest_confidence')
        loss = {name: getattr(parity, name) for name in names}
        if landmarks is not None:
            parity = compare('landmarks')
            loss['landmarks_median_px'], loss['landmarks_p95_px'] = parity.median_px, parity.p95_px
        if name in manifest.files:
            # without the precision, so that the model loads while the file is replaced
            others = {p: of for p, of in manifest.precisions.items() if p != precision}
            files = [file for file in manifest.files if file != name]
            write_manifest(model_dir, replace(manifest, precisions=others), files=files)
    entry = {'made_from': manifest.files[ONNX_NAME]} | details | loss
    manifest = replace(manifest, precisions=manifest.precisions | {precision: entry})
    return write_manifest(model_dir, manifest, files=sorted({*manifest.files, name}))
