"""
The network of a model directory in fewer bits, beside ``keypointer.onnx``.

What it costs is measured before it is kept: the distance of its keypoints, and of the named
points, from those of ``keypointer.onnx`` on recorded frames that the scales were not taken from.
Medians and 95th percentiles over all points stand in the manifest; a median above what is allowed
is refused.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from keypoint_perception.atomic_files import PendingFile
from keypoint_perception.manifest import Manifest, read_manifest, write_manifest
from keypoint_perception.model.checkpoint import load_network
from keypoint_perception.model.landmark_head import fitted_landmarks
from keypoint_perception.model.onnx_export import run_onnx, write_onnx
from keypoint_perception.model.quantisation import write_quantised
from keypoint_perception.model_directory import ONNX_NAME, onnx_name
from keypoint_perception.parity import check_parity, Parity, Tolerance
import numpy as np

# How far the median point may be from that of fp32, px at network size.
MAX_LOSS_PX = {'fp16': 0.1, 'int8': 0.5}


def export_fp16(
    model_dir: Path, frames: np.ndarray, *, max_loss_px: float = MAX_LOSS_PX['fp16']
) -> Manifest:
    """
    Write weights and convolutions in half precision; norms and read-out stay in single.

    :param frames: to measure on, (N, H, W, 3) uint8
    :raises ModelError: if the model does not match its manifest, or has no checkpoint
    :raises EngineError: if its keypoints are too far from those of fp32
    """

    def write(network, landmarks, part: Path) -> None:
        write_onnx(network, part, landmarks, kind='fp16')

    return _export(model_dir, 'fp16', write, frames, max_loss_px, {})


def export_int8(
    model_dir: Path,
    frames: np.ndarray,
    held_out: np.ndarray,
    *,
    max_loss_px: float = MAX_LOSS_PX['int8'],
    signed: bool = False,
) -> Manifest:
    """
    Write convolutions of whole numbers; see :mod:`keypoint_perception.model.quantisation`.

    :param frames: recorded ones to take the scales from, (N, H, W, 3) uint8
    :param held_out: others, to measure on
    :param signed: for TensorRT
    :raises ModelError: if the model does not match its manifest, or has no checkpoint
    :raises EngineError: if its keypoints are too far from those of fp32
    """

    def write(network, landmarks, part: Path) -> None:
        write_quantised(network, part, frames, landmarks, signed=signed)

    facts = {'calibration_frames': len(frames), 'signed': signed}
    return _export(model_dir, 'int8', write, held_out, max_loss_px, facts)


def _export(model_dir, precision, write, frames, max_loss_px, facts) -> Manifest:
    model_dir = Path(model_dir)
    manifest = read_manifest(model_dir)
    network, landmarks = load_network(model_dir), fitted_landmarks(model_dir)
    with PendingFile(model_dir / onnx_name(precision)) as part:
        write(network, landmarks, part)
        outputs = ('keypoints', 'landmarks') if landmarks else ('keypoints',)
        parities = [
            _compare(model_dir, precision, part, frames, max_loss_px, output) for output in outputs
        ]
        _let_go(model_dir, manifest, precision)
    loss = {
        'frames': len(frames),
        'median_px': parities[0].median_px,
        'p95_px': parities[0].p95_px,
        'largest_confidence': parities[0].largest_confidence,
    }
    for parity in parities[1:]:
        loss |= {'landmarks_median_px': parity.median_px, 'landmarks_p95_px': parity.p95_px}
    made_from = {'made_from': manifest.files[ONNX_NAME]}
    precisions = manifest.precisions | {precision: made_from | facts | loss}
    files = sorted({*manifest.files, onnx_name(precision)})
    return write_manifest(model_dir, replace(manifest, precisions=precisions), files=files)


def _let_go(model_dir: Path, manifest: Manifest, precision: str) -> None:
    """Describe a model without a precision, so that it can be loaded while that is replaced."""
    if onnx_name(precision) in manifest.files:
        kept = {name: facts for name, facts in manifest.precisions.items() if name != precision}
        files = [name for name in manifest.files if name != onnx_name(precision)]
        write_manifest(model_dir, replace(manifest, precisions=kept), files=files)


def _compare(
    model_dir: Path,
    precision: str,
    part: Path,
    frames: np.ndarray,
    max_loss_px: float,
    output: str,
) -> Parity:
    """
    Compare one output of a network file with fp32, in ONNX Runtime on the CPU.

    :raises EngineError: if they differ too much
    """
    return check_parity(
        {output: run_onnx(part, frames, output)},
        {output: run_onnx(model_dir / ONNX_NAME, frames, output)},
        Tolerance(median_px=max_loss_px),
        pair=f'The {output} in {precision} and in fp32',
        images='recorded frames',
        remedy='nothing was exported; use fp32, or allow more with --max-loss',
        min_confidence=0.0,
    )
