"""
Snapshots of the averaged network during a run, to measure quality over training time.

They are ``snapshots/step_NNNNNNN.safetensors`` in a model directory, with the training time in the
header. The manifest does not list them, because a robot does not need them.
"""

from __future__ import annotations

from pathlib import Path
import shutil
from typing import NamedTuple

from keypoint_perception.atomic_files import PendingFile
from keypoint_perception.errors import ModelError
from keypoint_perception.model.checkpoint import read_metadata, write_network
from keypoint_perception.model.network import Keypointer
from keypoint_perception.model_directory import SNAPSHOTS_NAME, step_files, step_name


class WeightSnapshot(NamedTuple):
    """The network at a step of a run; ``elapsed_s`` is the training time until then."""

    step: int
    elapsed_s: float
    path: Path


def save_snapshot(model_dir: Path, network: Keypointer, step: int, elapsed_s: float) -> None:
    """Write a snapshot of a network."""
    path = model_dir / SNAPSHOTS_NAME / step_name(step, '.safetensors')
    path.parent.mkdir(parents=True, exist_ok=True)
    with PendingFile(path) as part:
        write_network(part, network, {'elapsed_s': repr(elapsed_s), 'step': str(step)})


def find_snapshots(model_dir: Path) -> list[WeightSnapshot]:
    """
    Return the snapshots of a run in the order of steps.

    :raises ModelError: if there is none, or one cannot be read
    """
    found = []
    for path in step_files(Path(model_dir) / SNAPSHOTS_NAME, '.safetensors'):
        try:
            metadata = read_metadata(path)
            step, elapsed_s = int(metadata['step']), float(metadata['elapsed_s'])
            found.append(WeightSnapshot(step, elapsed_s, path))
        except (KeyError, ValueError) as error:
            msg = f'Snapshot {str(path)!r} has no step or training time in its header; remove it.'
            raise ModelError(msg) from error
    if not found:
        remedy = 'train with snapshot_every_s above 0 in --config'
        msg = f'{str(model_dir)!r} holds no snapshots; {remedy}.'
        raise ModelError(msg)
    return sorted(found)


def drop_snapshots(model_dir: Path, *, after_step: int) -> None:
    """Remove the snapshots that a run resumed at ``after_step`` will write again."""
    folder = Path(model_dir) / SNAPSHOTS_NAME
    if after_step == 0:
        shutil.rmtree(folder, ignore_errors=True)
    for path in step_files(folder, '.safetensors'):
        if int(path.stem.removeprefix('step_')) > after_step:
            path.unlink()
