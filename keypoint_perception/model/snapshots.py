"""
The averaged network at moments of a run, so that its quality can be told over the time it learned.

``snapshots/step_NNNNNNN.safetensors`` of a model directory, each with the seconds of learning in
its header. They belong to no manifest: a robot needs none of them.
"""

from __future__ import annotations

from pathlib import Path
import shutil
from typing import NamedTuple

from keypoint_perception.atomic_files import PendingFile
from keypoint_perception.errors import ModelError
from keypoint_perception.model.checkpoint import read_notes, write_network
from keypoint_perception.model.network import Keypointer
from keypoint_perception.model_directory import SNAPSHOTS_NAME, step_files, step_name


class WeightSnapshot(NamedTuple):
    """
    A moment of a run.

    :param elapsed_s: time spent learning until then, s
    """

    step: int
    elapsed_s: float
    path: Path


def save_snapshot(model_dir: Path, network: Keypointer, step: int, elapsed_s: float) -> None:
    """Keep a network as it is at a moment of its run."""
    path = model_dir / SNAPSHOTS_NAME / step_name(step, '.safetensors')
    path.parent.mkdir(parents=True, exist_ok=True)
    with PendingFile(path) as part:
        write_network(part, network, {'elapsed_s': repr(elapsed_s), 'step': str(step)})


def find_snapshots(model_dir: Path) -> list[WeightSnapshot]:
    """
    Return the snapshots of a run in the order of learning.

    :raises ModelError: if there is none, or one cannot be read
    """
    found = []
    for path in step_files(Path(model_dir) / SNAPSHOTS_NAME, '.safetensors'):
        try:
            notes = read_notes(path)
            found.append(WeightSnapshot(int(notes['step']), float(notes['elapsed_s']), path))
        except (KeyError, ValueError) as error:
            msg = f'WeightSnapshot {str(path)!r} does not say when it was taken; remove it.'
            raise ModelError(msg) from error
    if not found:
        msg = (
            f'{str(model_dir)!r} holds no snapshots; train with snapshot_every_s above 0 in '
            '--config.'
        )
        raise ModelError(msg)
    return sorted(found)


def drop_snapshots(model_dir: Path, *, after_step: int) -> None:
    """Remove what a run that goes on from ``after_step`` takes again."""
    folder = Path(model_dir) / SNAPSHOTS_NAME
    if after_step == 0:
        shutil.rmtree(folder, ignore_errors=True)
    for path in step_files(folder, '.safetensors'):
        if int(path.stem.removeprefix('step_')) > after_step:
            path.unlink()
