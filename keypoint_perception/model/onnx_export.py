"""
Export of a network to one ONNX file for all engines.

Input ``image`` uint8 (N, H, W, 3) RGB, output ``keypoints`` float32 (N, K, 3): u and v in
network px and confidence. Normalisation and read-out are part of the graph, so that all engines
give the same result. A model with landmarks has a second output ``landmarks`` float32 (N, L, 3).
"""

from __future__ import annotations

from dataclasses import replace
import logging
from pathlib import Path
from shlex import quote
from typing import Any
import warnings

from keypoint_perception.atomic_files import PendingFile
from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.landmark_map import Landmarks, write_landmarks
from keypoint_perception.manifest import file_digest, Manifest, read_manifest, write_manifest
from keypoint_perception.model.checkpoint import Checkpoint, load_checkpoint, valid_checkpoint
from keypoint_perception.model.inference_form import InferenceForm
from keypoint_perception.model.landmark_head import (
    fitted_landmarks,
    LandmarkKeypointer,
    network_digest,
)
from keypoint_perception.model.network import Keypointer
from keypoint_perception.model_directory import (
    CHECKPOINT_NAME,
    LANDMARKS_NAME,
    ONNX_NAME,
    onnx_name,
    POSE_PRIOR_NAME,
    PRECISIONS,
    REPORT_NAME,
)
from keypoint_perception.parity import check_parity, Parity, TOLERANCES
from keypoint_perception.pose_prior import read_pose_prior
import numpy as np
import torch

OPSET = 17
log = logging.getLogger('keypoint_perception')


def export_model(model_dir: Path, landmarks: Landmarks | None = None) -> Manifest:
    """
    Write and check the ONNX file of a model directory's checkpoint, and write its manifest.

    :param landmarks: landmarks to add to the model; None: those in the directory
    :raises ModelError: if there is no checkpoint
    :raises EngineError: if ONNX Runtime and torch differ
    """
    model_dir = Path(model_dir)
    checkpoint = load_checkpoint(model_dir)
    new, landmarks = landmarks, landmarks or fitted_landmarks(model_dir)
    with PendingFile(model_dir / ONNX_NAME) as part:
        write_onnx(checkpoint.network, part, landmarks)
        parity = _compare(checkpoint, part, landmarks)
        kept = _kept_precisions(model_dir, file_digest(part))
    if new is not None:
        write_landmarks(model_dir, new)
    with valid_checkpoint(model_dir):
        manifest = replace(_describe(checkpoint, parity, landmarks), precisions=kept)
    files = [*_files(model_dir, landmarks), *map(onnx_name, kept)]
    manifest = write_manifest(model_dir, manifest, files=files)
    outdated = 'was exported from an earlier network'
    _remove(model_dir, kept, outdated if new is None else 'does not contain the new landmarks')
    return manifest


def write_onnx(
    network: Keypointer, path: Path, landmarks: Landmarks | None = None, *, kind: str = 'fp32'
) -> None:
    """
    Write a network as ONNX, with its landmarks if it has any, and with a dynamic batch size.

    :param kind: one of ``inference_form.KINDS``
    """
    form = InferenceForm(network, kind)
    exported = (form if landmarks is None else LandmarkKeypointer(form, landmarks)).eval()
    outputs = ['keypoints'] if landmarks is None else ['keypoints', 'landmarks']
    height, width = network.config.input_hw
    image = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated; the new one needs another package and writes the
        # same operators for this network.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            exported,
            (image,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=['image'],
            output_names=outputs,
            dynamic_axes={name: {0: 'N'} for name in ('image', *outputs)},
        )


def _compare(checkpoint: Checkpoint, path: Path, landmarks: Landmarks | None) -> Parity:
    """Compare the keypoints of ONNX Runtime with torch, and its landmarks with its keypoints."""
    frames = checkpoint.frames.numpy()
    with torch.no_grad():
        expected = checkpoint.network(checkpoint.frames).cpu().numpy()
    if not np.isfinite(expected).all():
        msg = (
            'The network gives NaN on its own training frames; train into another --out at a '
            'lower learning_rate.'
        )
        raise ModelError(msg)
    limit, images = TOLERANCES['fp32'], 'frames of the training recording'
    remedy = 'nothing was exported; report this with the versions that `doctor` prints'
    found = run_onnx(path, frames)
    parity = check_parity(
        {'keypoints': found},
        {'keypoints': expected},
        limit,
        pair='ONNX Runtime and torch',
        images=images,
        remedy=remedy,
    )
    if landmarks is not None:
        check_parity(
            {'landmarks': run_onnx(path, frames, 'landmarks')},
            {'landmarks': landmarks.apply(found)},
            limit,
            pair='The landmarks of ONNX Runtime and those that were fitted',
            images=images,
            remedy=remedy,
            min_confidence=0.0,
        )
    return parity


def _describe(checkpoint: Checkpoint, parity: Parity, landmarks: Landmarks | None) -> Manifest:
    """Return the manifest of a checkpoint's model, without digests."""
    config, state = checkpoint.network.config, checkpoint.state
    labels = tuple(state.get('facts', {}).get('label_names', ()))
    if len(labels) != config.keypoints:
        labels = tuple(f'kp{k}' for k in range(config.keypoints))
    return Manifest(
        keypoint_names=labels,
        input_hw=config.input_hw,
        objective=state['objective'],
        network=config.network,
        sources=tuple(state['sources']),
        metrics=state['metrics'] | {'parity': parity.report()},
        landmark_names=() if landmarks is None else landmarks.names,
        skeleton=tuple(tuple(edge) for edge in state.get('skeleton', ())),
        holdout=state.get('config', {}).get('holdout', 0.0),
    )


def _kept_precisions(model_dir: Path, onnx_sha256: str) -> dict[str, dict[str, Any]]:
    """Return the other precisions of exactly this network, if the directory is intact."""
    try:
        precisions = read_manifest(model_dir).precisions
    except ModelError:
        return {}
    return {name: of for name, of in precisions.items() if of.get('made_from') == onnx_sha256}


def _remove(model_dir: Path, kept: dict[str, dict[str, Any]], reason: str) -> None:
    """Remove other precisions of an earlier ``keypointer.onnx``."""
    for precision in PRECISIONS:
        path = model_dir / onnx_name(precision)
        if path.name != ONNX_NAME and precision not in kept and path.is_file():
            path.unlink()
            again = f'export {quote(str(model_dir))} --precision {precision}'
            log.warning('removed %s, which %s; run `%s` again', path, reason, again)


def run_onnx(path: Path, frames: np.ndarray, output: str = 'keypoints') -> np.ndarray:
    """
    Return an output of a network file in ONNX Runtime, on the CPU.

    :param frames: (N, H, W, 3) uint8
    :raises EngineError: if ONNX Runtime is not installed
    """
    try:
        import onnxruntime
    except ImportError as error:
        msg = (
            'onnxruntime, which checks the export, is not installed; install it with '
            '`pip install onnxruntime`.'
        )
        raise EngineError(msg) from error
    try:
        session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        points: np.ndarray = session.run([output], {'image': frames})[0]
    except Exception as error:  # its exceptions have no common base
        msg = (
            f'ONNX Runtime {onnxruntime.__version__} cannot run {str(path)!r} '
            f'({" ".join(str(error).split())[:300]}); install a newer onnxruntime.'
        )
        raise EngineError(msg) from error
    return points


def _has_poses(model_dir: Path) -> bool:
    """Return whether a model directory has the poses of exactly its weights."""
    prior = read_pose_prior(model_dir)
    return prior is not None and prior.network_sha256 == network_digest(model_dir)


def _files(model_dir: Path, landmarks: Landmarks | None) -> list[str]:
    checkpoint = sorted((model_dir / CHECKPOINT_NAME).iterdir())
    files = [ONNX_NAME]
    files += [REPORT_NAME] if (model_dir / REPORT_NAME).is_file() else []
    files += [LANDMARKS_NAME] if landmarks is not None else []
    files += [POSE_PRIOR_NAME] if _has_poses(model_dir) else []
    return files + [f'{CHECKPOINT_NAME}/{path.name}' for path in checkpoint if path.is_file()]
