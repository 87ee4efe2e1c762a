"""
The description of a model directory: what an engine must know of its network, and digests.

``manifest.json`` lists every file with its SHA-256. Loading fails with the file's name if one is
missing or changed, or if the format is newer than this package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
import hashlib
import json
import os
from pathlib import Path
import reprlib
from shlex import quote
from typing import Any

from keypoint_perception import __version__
from keypoint_perception.atomic_files import replace_file
from keypoint_perception.errors import ModelError
from keypoint_perception.grey_range import FULL_RANGE, stored_range
from keypoint_perception.holdout import LARGEST_HOLDOUT
from keypoint_perception.json_files import read_json
from keypoint_perception.limits import limits, remedy
from keypoint_perception.model_directory import MANIFEST_NAME, ONNX_NAME, onnx_name, PRECISIONS

FORMAT_VERSION = 1
MAX_SIDE = 4096  # of the network input, px
MAX_WEIGHT = 1e6
RESTORE = 'copy the model directory again, or rebuild it from its checkpoint with `export`'
MAX_LISTED, MAX_SHOWN = 5, 100  # names in an error message, characters of each


@dataclass(frozen=True)
class Manifest:
    """
    The content of ``manifest.json``.

    :param keypoint_names: K names in the order of the network's output
    :param input_hw: height and width of the network input, px
    :param objective: name of the training objective, informative only like ``network``
    :param sources: training recordings: name, digest, topics, frames, and with a holdout the
        stamps of the frames learned from and withheld (:mod:`~keypoint_perception.holdout`)
    :param metrics: measurements at the end of training
    :param files: SHA-256 of every file by its path in the model directory
    :param landmark_names: L names in the order of the network's second output, if it has one
    :param skeleton: edges between keypoints, if the objective learned any: two indices, the lower
        first, and a weight, of which the largest is 1
    :param precisions: networks other than ``keypointer.onnx``, which is fp32, by precision, and
        the distance of their keypoints from its
    :param holdout: share of each recording, its last frames, that was withheld from learning
    """

    keypoint_names: tuple[str, ...]
    input_hw: tuple[int, int]
    objective: str
    network: str
    sources: tuple[dict[str, Any], ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    landmark_names: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int, float], ...] = ()
    precisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    holdout: float = 0.0
    package_version: str = __version__
    format_version: int = FORMAT_VERSION

    @property
    def keypoint_count(self) -> int:
        """Return K."""
        return len(self.keypoint_names)

    @property
    def grey_range(self) -> tuple[int, int]:
        """Return the 16-bit intensities that were black and white in the recordings."""
        return stored_range(self.sources) or FULL_RANGE


def onnx_file(model_dir: Path, manifest: Manifest, precision: str = 'fp32') -> Path:
    """
    Return the ONNX file of a model in a precision.

    :raises ModelError: if the precision is unknown, or the model has not been exported in it
    """
    if precision not in PRECISIONS:
        msg = f'Precision {precision!r} is unknown; known: {", ".join(PRECISIONS)}.'
        raise ModelError(msg)
    name = onnx_name(precision)
    described = precision == 'fp32' or precision in manifest.precisions
    if not described or name not in manifest.files:
        has = ', '.join(['fp32', *manifest.precisions])
        msg = (
            f'Model {str(model_dir)!r} has no {precision} network, only {has}; run '
            f'`export {quote(str(model_dir))} --precision {precision}`.'
        )
        raise ModelError(msg)
    return Path(model_dir) / name


def write_manifest(model_dir: Path, manifest: Manifest, *, files: list[str]) -> Manifest:
    """
    Write the manifest of a model directory, after its files, and return it with their digests.

    :param files: paths below ``model_dir``
    """
    digests = {name: file_digest(model_dir / name) for name in sorted(files)}
    values = asdict(manifest) | {'files': digests}
    text = json.dumps(values | {'keypoint_count': manifest.keypoint_count}, indent=2) + '\n'
    replace_file(model_dir / MANIFEST_NAME, text)
    return read_manifest(model_dir)


def update_file(model_dir: Path, name: str, content: bytes) -> None:
    """
    Write a file that no engine needs into a model directory, and update the manifest.

    The file is removed from the manifest first, so that the model can be loaded at any time.

    :raises ModelError: if the model directory does not match its manifest
    """
    manifest = read_manifest(model_dir)
    others = [other for other in manifest.files if other != name]
    write_manifest(model_dir, manifest, files=others)
    replace_file(model_dir / name, content)
    write_manifest(model_dir, manifest, files=[*others, name])


def read_manifest(model_dir: Path) -> Manifest:
    """
    Read the manifest of a model directory and verify its files.

    :raises ModelError: if it is no model directory, its format is newer than this package, or a
        file is missing, changed or too large
    """
    model_dir = Path(model_dir)
    manifest = parse_manifest(model_dir)
    try:
        _verify(model_dir, manifest.files)
    except OSError as error:
        raise _unreadable(model_dir, error) from error
    return manifest


def _verify(model_dir: Path, files: dict[str, str]) -> None:
    missing = [name for name in files if not (model_dir / name).is_file()]
    if missing:
        msg = (
            f'Model {str(model_dir)!r} lacks {_listed(missing)}, which its manifest lists; '
            f'{RESTORE}.'
        )
        raise ModelError(msg)
    megabytes = sum((model_dir / name).stat().st_size for name in files) / 1e6
    if megabytes > (largest := limits().max_model_mb):
        msg = (
            f'Model {str(model_dir)!r} has {megabytes:.0f} MB, expected {largest:g} or less; '
            f'{remedy("max_model_mb", megabytes)}.'
        )
        raise ModelError(msg)
    changed = [n for n, digest in files.items() if file_digest(model_dir / n) != digest]
    if changed:
        msg = (
            f'In model {str(model_dir)!r} the contents of {_listed(changed)} do not match the '
            f'manifest; {RESTORE}.'
        )
        raise ModelError(msg)


def _unreadable(path: Path, error: OSError) -> ModelError:
    where = os.fspath(path if error.filename is None else error.filename)
    return ModelError(
        f'{where!r} cannot be read ({error.strerror}); make it readable for the user who runs '
        'this, or give another model directory.'
    )


def _listed(names: Sequence[str]) -> str:
    """Return some of the names, which may be many, long and of any characters."""
    cut = [name[:MAX_SHOWN] for name in names[:MAX_LISTED]]
    shown = ', '.join(name if name.isprintable() else repr(name) for name in cut)
    return shown + (f' and {len(names) - MAX_LISTED} more' if len(names) > MAX_LISTED else '')


def parse_manifest(model_dir: Path) -> Manifest:
    """
    Read the manifest of a model directory, but none of its other files.

    :raises ModelError: as :func:`read_manifest`
    """
    model_dir = Path(model_dir)
    path = model_dir / MANIFEST_NAME
    try:
        if not path.is_file():
            found = 'no such directory' if not model_dir.is_dir() else f'it has no {MANIFEST_NAME}'
            msg = (
                f'{str(model_dir)!r} is not a model directory ({found}); expected the directory '
                'that `train --out` wrote.'
            )
            raise ModelError(msg)
        values = read_json(path)
        version = values['format_version']
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, KeyError, TypeError) as error:
        msg = f'{str(path)!r} is not a manifest ({error}); copy the model directory again.'
        raise ModelError(msg) from error
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        msg = (
            f'Model {str(model_dir)!r} has format {_shown(version)}, this package reads up to '
            f'{FORMAT_VERSION}; install a keypoint_perception newer than {__version__}.'
        )
        raise ModelError(msg)
    return _from_values(path, values)


def _all(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _maps_to(kind: type, value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, kind) for item in value.values())


def _is_size(value: object) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else [0]
    return all(type(side) is int and 0 < side <= MAX_SIDE for side in sides)


def _is_share(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= LARGEST_HOLDOUT  # type: ignore[operator]


def _are_edges(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(edge, list)
        and len(edge) == 3
        and type(edge[0]) is type(edge[1]) is int
        and type(edge[2]) in (int, float)
        and abs(edge[2]) <= MAX_WEIGHT
        for edge in value
    )


# What each value of a manifest must be, as a test and in words.
EXPECTED: dict[str, tuple[Callable[[object], bool], str]] = {
    'keypoint_names': (partial(_all, str), 'a list of text'),
    'input_hw': (_is_size, f'[height, width] from 1 to {MAX_SIDE}'),
    'objective': (lambda value: isinstance(value, str), 'text'),
    'network': (lambda value: isinstance(value, str), 'text'),
    'sources': (partial(_all, dict), 'a list of mappings'),
    'metrics': (lambda value: isinstance(value, dict), 'a mapping'),
    'files': (partial(_maps_to, str), 'a mapping of paths to text'),
    'landmark_names': (partial(_all, str), 'a list of text'),
    'skeleton': (_are_edges, 'a list of [index, index, weight]'),
    'precisions': (partial(_maps_to, dict), 'a mapping of names to mappings'),
    'holdout': (_is_share, f'a number from 0 to {LARGEST_HOLDOUT:g}'),
    'package_version': (lambda value: isinstance(value, str), 'text'),
    'format_version': (lambda value: type(value) is int, 'an integer'),
}


def _from_values(path: Path, values: dict[str, Any]) -> Manifest:
    for name, (is_valid, expected) in EXPECTED.items():
        if name in values and not is_valid(values[name]):
            msg = (
                f'{str(path)!r} is not a valid manifest: {name} must be {expected}, got '
                f'{_shown(values[name])}; copy the model directory again.'
            )
            raise ModelError(msg)
    known = {name: _as_tuple(value) for name, value in values.items() if name in EXPECTED}
    try:
        manifest = Manifest(**known)
    except TypeError as error:  # a value without a default
        msg = f'{str(path)!r} is not a valid manifest ({error}); copy the model directory again.'
        raise ModelError(msg) from error
    if not manifest.keypoint_names or ONNX_NAME not in manifest.files:
        msg = f'{str(path)!r} lists no keypoints or no {ONNX_NAME}; export the model again.'
        raise ModelError(msg)
    if any(not 0 <= i < j < manifest.keypoint_count for i, j, _ in manifest.skeleton):
        msg = (
            f'{str(path)!r} has a skeleton of unknown keypoints, {_shown(values["skeleton"])}; '
            'export the model again.'
        )
        raise ModelError(msg)
    if outside := [f for f in manifest.files if f.startswith('/') or '..' in Path(f).parts]:
        msg = f'{str(path)!r} lists files outside the model: {_listed(outside)}; do not use it.'
        raise ModelError(msg)
    return manifest


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _shown(value: object) -> str:
    """Return a value as text, cut short; the digits of a long integer would be an error."""
    return reprlib.repr(value)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open('rb') as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
