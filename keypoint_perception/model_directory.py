"""Names of the files in a model directory."""

from __future__ import annotations

from collections.abc import Iterable
import math
from pathlib import Path

MANIFEST_NAME = 'manifest.json'
ONNX_NAME = 'keypointer.onnx'
PRECISIONS = ('fp32', 'fp16', 'int8')
LANDMARKS_NAME = 'landmarks.json'
POSE_PRIOR_NAME = 'pose_prior.json'
CHECKPOINT_NAME = 'checkpoint'
NETWORK_FILE = 'network.safetensors'  # this and the next three are in the checkpoint
TRAINING_FILE = 'training.safetensors'
FRAMES_FILE = 'frames.safetensors'
STATE_FILE = 'training.json'
FRAME_STORE_NAME = 'frames'
HISTORY_NAME = 'history.csv'
OVERLAYS_NAME = 'overlays'  # has files with a step_name
RECONSTRUCTION_NAME = 'reconstruction.png'
SNAPSHOTS_NAME = 'snapshots'  # has files with a step_name
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
    """
    Return the rows of ``history.csv``; none if the run has written none yet.

    Lines that a crash or a full disk cut short, and all others that are not numbers, are left out.
    """
    path = model_dir / HISTORY_NAME
    if not path.is_file():
        return []
    names, *lines = (line.split(',') for line in path.read_text(errors='replace').split('\n'))
    rows = [dict(zip(names, line, strict=True)) for line in lines[:-1] if len(line) == len(names)]
    return [row for row in rows if {'step', 'loss'} <= row.keys() and _are_numbers(row.values())]


def _are_numbers(values: Iterable[str]) -> bool:
    try:
        return all(math.isfinite(float(value)) for value in values)
    except ValueError:
        return False
