"""
Names of the files in a model directory.

    manifest.json                      what an engine must know of the network; every digest
    keypointer.onnx                    the network in fp32; keypointer.fp16.onnx, .int8.onnx
    landmarks.json                     named points as sums of the keypoints
    checkpoint/                        what training resumes from
        network.safetensors            weights of the exported network
        training.safetensors           live weights and optimiser state
        frames.safetensors             a few frames, for parity checks
        training.json                  step, configuration, digests
    frames/                            frame store that the run learned from
    history.csv                        losses over the steps
    overlays/step_0000100.png          keypoints on frames during training
    reconstruction.png                 frames as the objective rebuilt them
    snapshots/step_0000100.safetensors weights during training
    tensorboard/
    report.html
"""

from __future__ import annotations

import csv
from pathlib import Path

MANIFEST_NAME = 'manifest.json'
ONNX_NAME = 'keypointer.onnx'
PRECISIONS = ('fp32', 'fp16', 'int8')
LANDMARKS_NAME = 'landmarks.json'
CHECKPOINT_NAME = 'checkpoint'
NETWORK_FILE = 'network.safetensors'
TRAINING_FILE = 'training.safetensors'
FRAMES_FILE = 'frames.safetensors'
STATE_FILE = 'training.json'
FRAME_STORE_NAME = 'frames'
HISTORY_NAME = 'history.csv'
OVERLAYS_NAME = 'overlays'
RECONSTRUCTION_NAME = 'reconstruction.png'
SNAPSHOTS_NAME = 'snapshots'
TENSORBOARD_NAME = 'tensorboard'
REPORT_NAME = 'report.html'


def onnx_name(precision: str) -> str:
    """Return the name of the network's file in a precision."""
    return ONNX_NAME if precision == 'fp32' else f'keypointer.{precision}.onnx'


def step_name(step: int, suffix: str) -> str:
    """Return the name of a file written at a training step."""
    return f'step_{step:07d}{suffix}'


def step_files(directory: Path, suffix: str) -> list[Path]:
    """Return the files with a :func:`step_name` in the order of their steps."""
    return sorted(directory.glob(f'step_*{suffix}'))


def read_history(model_dir: Path) -> list[dict[str, str]]:
    """Return the rows of ``history.csv``; none if the run has written none yet."""
    path = model_dir / HISTORY_NAME
    if not path.is_file():
        return []
    with path.open(newline='') as stream:
        return list(csv.DictReader(stream))
