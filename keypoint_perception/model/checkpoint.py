"""
Weights on disk, and nothing that runs code on loading.

A checkpoint is a directory that appears and is replaced as a whole::

    checkpoint/
        network.safetensors    the network that is exported; its configuration in the header
        training.safetensors   what --resume needs: live weights, optimiser moments
        frames.safetensors     a few frames of the recording, for parity checks
        training.json          step, random states, configuration, digests of the above
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path

from keypoint_perception.atomic_files import backup_path, PendingDirectory
from keypoint_perception.errors import ModelError
from keypoint_perception.manifest import file_digest
from keypoint_perception.model.network import Keypointer, NetworkConfig
from keypoint_perception.model_directory import (
    CHECKPOINT_NAME,
    FRAMES_FILE,
    NETWORK_FILE,
    STATE_FILE,
    TRAINING_FILE,
)
from safetensors import safe_open, SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn, Tensor


@dataclass(frozen=True)
class Checkpoint:
    """
    Everything that training needs to go on as if it had never stopped.

    :param network: the averaged network, the one that is exported
    :param tensors: live weights, optimiser moments and torch's random state, by name
    :param state: step, random states, configuration; JSON values only
    :param frames: a few frames in the network's size, (N, H, W, 3) uint8
    """

    network: Keypointer
    tensors: dict[str, Tensor]
    state: dict
    frames: Tensor


def save_checkpoint(model_dir: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the old one, then put it in the old one's place."""
    with PendingDirectory(model_dir / CHECKPOINT_NAME, replace=True) as part:
        part.mkdir()
        write_network(part / NETWORK_FILE, checkpoint.network)
        _save(checkpoint.tensors, part / TRAINING_FILE)
        _save({'frames': checkpoint.frames}, part / FRAMES_FILE)
        names = (NETWORK_FILE, TRAINING_FILE, FRAMES_FILE)
        digests = {name: file_digest(part / name) for name in names}
        state = checkpoint.state | {'files': digests}
        state['sha256'] = _digest(state)
        (part / STATE_FILE).write_text(json.dumps(state, indent=1))


def has_checkpoint(model_dir: Path) -> bool:
    """Say whether a model directory holds a checkpoint."""
    return _find(model_dir) is not None


def load_checkpoint(model_dir: Path) -> Checkpoint:
    """
    Read a checkpoint, checking every file against its digest.

    :raises ModelError: if there is none, or a file is missing or changed
    """
    place = _put_back(model_dir)
    try:
        state = json.loads((place / STATE_FILE).read_text())
        digest = state.pop('sha256')
        unchanged = digest == _digest(state)
        digests = dict(state.pop('files'))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(_damaged(place, STATE_FILE, error)) from error
    if not unchanged:
        raise ModelError(_damaged(place, STATE_FILE, 'it was changed'))
    for name, digest in digests.items():
        if not (place / name).is_file() or file_digest(place / name) != digest:
            raise ModelError(_damaged(place, name, 'it is missing or was changed'))
    return Checkpoint(
        network=load_network(model_dir),
        tensors=_load(place / TRAINING_FILE),
        state=state,
        frames=_load(place / FRAMES_FILE)['frames'],
    )


def load_network(model_dir: Path) -> Keypointer:
    """
    Return the network of a model directory, ready to run.

    :raises ModelError: if there is no checkpoint, or its weights do not fit the network
    """
    return read_network(_require(model_dir) / NETWORK_FILE)


def write_network(path: Path, network: Keypointer, notes: dict[str, str] | None = None) -> None:
    """
    Write a network's weights, and its configuration into the file's header.

    :param notes: further entries of the header
    """
    config = json.dumps(asdict(network.config))
    _save(network.state_dict(), path, {'config': config} | (notes or {}))


def read_notes(path: Path) -> dict[str, str]:
    """
    Return the header's entries of a file that :func:`write_network` wrote.

    :raises ModelError: if it cannot be read
    """
    try:
        with safe_open(path, framework='pt') as stream:
            return stream.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelError(_damaged(path.parent, path.name, error)) from error


def read_network(path: Path) -> Keypointer:
    """
    Return the network of a file that :func:`write_network` wrote, ready to run.

    :raises ModelError: if it cannot be read, or its weights do not fit the network
    """
    tensors = _load(path)
    try:
        values = json.loads(read_notes(path)['config'])
        values['input_hw'] = tuple(values['input_hw'])
        network = Keypointer(NetworkConfig(**values))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(_damaged(path.parent, path.name, error)) from error
    load_strictly(network, tensors, str(path))
    return network.eval()


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], place: str) -> None:
    """
    Load weights, refusing any that are missing or left over.

    :raises ModelError: naming all of them
    """
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    missing = sorted(wanted.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - wanted.keys())
    unfit = sorted(n for n in wanted.keys() & tensors.keys() if wanted[n] != tensors[n].shape)
    if missing or unexpected or unfit:
        msg = (
            f'The weights in {place!r} do not fit the network: missing {missing}, unexpected '
            f'{unexpected}, of another shape {unfit}; use the configuration they were made with.'
        )
        raise ModelError(msg)
    module.load_state_dict(tensors)


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    # safetensors refuses views and other memory formats
    plain = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    save_file(plain, path, metadata)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(_damaged(path.parent, path.name, error)) from error


def _digest(state: dict) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _find(model_dir: Path) -> Path | None:
    # a run that is killed while it replaces its checkpoint leaves the old one under this name
    place = Path(model_dir) / CHECKPOINT_NAME
    found = (path for path in (place, backup_path(place)) if (path / STATE_FILE).is_file())
    return next(found, None)


def _put_back(model_dir: Path) -> Path:
    place = _require(model_dir)
    return place if place.name == CHECKPOINT_NAME else place.rename(model_dir / CHECKPOINT_NAME)


def _require(model_dir: Path) -> Path:
    place = _find(model_dir)
    if place is None:
        msg = (
            f'{str(model_dir)!r} holds no checkpoint (expected {CHECKPOINT_NAME}/{STATE_FILE}); '
            'name the directory that `train --out` wrote.'
        )
        raise ModelError(msg)
    return place


def _damaged(place: Path, name: str, why: object) -> str:
    return (
        f'Checkpoint {str(place)!r} cannot be read: {name}: {why}; copy the whole model '
        'directory again or train anew.'
    )
