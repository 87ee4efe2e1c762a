"""
Checkpoints: weights and training state in formats that cannot execute code.

A checkpoint is a directory that is written and replaced in one step::

    checkpoint/
        network.safetensors    the exported network, with its configuration in the header
        training.safetensors   live weights and optimiser moments, for --resume
        frames.safetensors     a few frames of the recording, for parity checks
        training.json          step, random states, configuration, digests of the above
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path
from typing import Any

from keypoint_perception.atomic_files import backup_path, PendingDirectory
from keypoint_perception.errors import ConfigError, ModelError
from keypoint_perception.json_files import parse_json, read_json
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
from safetensors.torch import load_file, save
import torch
from torch import nn, Tensor


@dataclass(frozen=True)
class Checkpoint:
    """
    Everything that is needed to resume training exactly.

    :param network: the averaged network, which is exported
    :param tensors: live weights, optimiser moments and torch's random state, by name
    :param state: step, random states, configuration; JSON values only
    :param frames: a few frames at the network's size, (N, H, W, 3) uint8
    """

    network: Keypointer
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    frames: Tensor


def save_checkpoint(model_dir: Path, checkpoint: Checkpoint) -> None:
    """
    Write a checkpoint, then replace the previous one.

    The previous one is kept until the new one would survive a power failure.

    :raises OSError: if the disk is full, for example; the previous one is as it was
    """
    with PendingDirectory(model_dir / CHECKPOINT_NAME, replace=True, durable=True) as part:
        part.mkdir()
        write_network(part / NETWORK_FILE, checkpoint.network)
        _save(checkpoint.tensors, part / TRAINING_FILE)
        _save({'frames': checkpoint.frames}, part / FRAMES_FILE)
        state = checkpoint.state | {'files': {p.name: file_digest(p) for p in part.iterdir()}}
        state['sha256'] = _digest(state)
        (part / STATE_FILE).write_text(json.dumps(state, indent=1))


def has_checkpoint(model_dir: Path) -> bool:
    """Return whether a model directory holds a checkpoint."""
    return _find(model_dir) is not None


def load_checkpoint(model_dir: Path) -> Checkpoint:
    """
    Read a checkpoint, verifying the digest of every file.

    One that a kill left at its backup path gets its name again, so the caller must be the
    :func:`.sole_writer`.

    :raises ModelError: if there is none, or a file is missing, changed or invalid
    """
    place = _require(model_dir)
    if place.name != CHECKPOINT_NAME:
        place = place.rename(Path(model_dir) / CHECKPOINT_NAME)
    with valid_checkpoint(model_dir):
        state = read_json(place / STATE_FILE)
        unchanged, digests = state.pop('sha256') == _digest(state), dict(state.pop('files'))
        if not unchanged:
            raise ValueError('it was changed')
    for name in (NETWORK_FILE, TRAINING_FILE, FRAMES_FILE):
        path = place / name
        if not path.is_file() or file_digest(path) != digests.get(name):
            raise ModelError(_damaged(path, 'it is missing or was changed'))
    network = load_network(model_dir)
    frames = _load(place / FRAMES_FILE).get('frames', torch.empty(0))
    if frames.dtype != torch.uint8 or frames.shape[1:] != (*network.config.input_hw, 3):
        reason = f'its frames are {frames.dtype} {tuple(frames.shape)}, not those of the network'
        raise ModelError(_damaged(place / FRAMES_FILE, reason))
    return Checkpoint(network, _load(place / TRAINING_FILE), state, frames)


@contextmanager
def valid_checkpoint(
    model_dir: Path, name: str = f'{CHECKPOINT_NAME}/{STATE_FILE}'
) -> Iterator[None]:
    """
    Raise ModelError for all that missing, odd or hostile values of a file make the block raise.

    :param name: of the file that the values are from
    """
    try:
        yield
    except (
        ArithmeticError, AttributeError, ConfigError, LookupError, OSError, RuntimeError,
        SafetensorError, TypeError, ValueError,
    ) as error:  # fmt: skip
        reason = f'it lacks {error}' if isinstance(error, KeyError) else str(error).rstrip('.')
        raise ModelError(
            _damaged(Path(model_dir) / name, ' '.join(reason.split())[:400])
        ) from error


def load_network(model_dir: Path) -> Keypointer:
    """
    Return the network of a model directory, in evaluation mode.

    :raises ModelError: if there is no checkpoint, or its weights do not fit the network
    """
    return read_network(_require(model_dir) / NETWORK_FILE)


def write_network(path: Path, network: Keypointer, metadata: dict[str, str] | None = None) -> None:
    """Write a network's weights, with its configuration and ``metadata`` in the header."""
    config = json.dumps(asdict(network.config))
    _save(network.state_dict(), path, {'config': config} | (metadata or {}))


def read_metadata(path: Path) -> dict[str, str]:
    """
    Return the header entries of a file that :func:`write_network` wrote.

    :raises ModelError: if it cannot be read
    """
    with valid_checkpoint(path.parent, path.name), safe_open(path, framework='pt') as stream:
        return stream.metadata() or {}


def read_network(path: Path) -> Keypointer:
    """
    Return the network of a file that :func:`write_network` wrote, in evaluation mode.

    :raises ModelError: if it cannot be read, or its weights do not fit the network or are NaN
    """
    tensors = _load(path)
    with valid_checkpoint(path.parent, path.name):
        values = parse_json(read_metadata(path)['config'])
        values['input_hw'] = tuple(values['input_hw'])
        network = Keypointer(NetworkConfig(**values))
    load_strictly(network, tensors, str(path))
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ModelError(_damaged(path, 'it has weights that are NaN or infinite'))
    return network.eval()


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], place: str) -> None:
    """
    Load weights whose names, types and shapes are exactly those of a module.

    :param place: description of their origin
    :raises ModelError: listing all differences
    """
    expected, found = (
        {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
        for weights in (module.state_dict(), tensors)
    )
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    common = expected.keys() & found.keys()
    reshaped = sorted(name for name in common if expected[name] != found[name])
    if missing or unexpected or reshaped:
        msg = (
            f'The weights in {place!r} do not fit the network: missing {missing}, unexpected '
            f'{unexpected}, of another shape or type {reshaped}; use the '
            'configuration of their training.'
        )
        raise ModelError(msg)
    module.load_state_dict(tensors)


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    # safetensors rejects views and other memory formats
    plain = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    path.write_bytes(save(plain, metadata))  # its own writing reports a full disk as no OSError


def _load(path: Path) -> dict[str, Tensor]:
    with valid_checkpoint(path.parent, path.name):
        return load_file(path)


def _digest(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _find(model_dir: Path) -> Path | None:
    # a run that is killed while replacing its checkpoint leaves only the backup
    place = Path(model_dir) / CHECKPOINT_NAME
    found = (path for path in (place, backup_path(place)) if (path / STATE_FILE).is_file())
    return next(found, None)


def _require(model_dir: Path) -> Path:
    place = _find(model_dir)
    if place is None:
        msg = (
            f'{str(model_dir)!r} holds no checkpoint (expected {CHECKPOINT_NAME}/{STATE_FILE}); '
            'give a directory that `train --out` has finished, or train without --resume.'
        )
        raise ModelError(msg)
    return place


def _damaged(path: Path, reason: str) -> str:
    return (
        f'Checkpoint {str(path.parent)!r} cannot be read: {path.name}: {reason}; copy the '
        'complete model directory again, or train into another --out.'
    )
