"""Model directories that a running node is told to use: good ones, and bad ones of many kinds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
import shutil

GOOD = {
    'three': {'keypoints': 3, 'input_hw': (48, 64)},
    'five': {'keypoints': 5, 'input_hw': (24, 32)},
    'marked': {'keypoints': 4, 'landmark_names': ('tip',), 'skeleton': ((0, 1, 1.0),)},
}
MANIFESTS = {
    'odd': b'{"format_version": 1, "sources": 5}',
    'deep': b'[' * 100_000,
    'empty': b'',
    'infinite': b'{"format_version": 1e999}',
    'binary': bytes(range(256)),
    'list': b'[]',
}
CHANGES = {
    'names': {'keypoint_names': ['é' * 100_000]},
    'huge': {'input_hw': [10**9, 10**9]},
    'outside': {'files': {'../../../etc/passwd': '0' * 64}},
    'digest': {'files': {'keypointer.onnx': 5}},
}
NETWORKS = {'noise': bytes(range(256)) * 20, 'nothing': b'', 'text': b'no network'}
FLIPPED = 12


def write_models(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the directories, and return the good and the bad ones."""
    from keypoint_perception.inference.synthetic_model import write_synthetic_model
    from keypoint_perception.model_directory import MANIFEST_NAME, ONNX_NAME

    for name, options in GOOD.items():
        write_synthetic_model(folder / name, **options)
    bad = [folder / 'nowhere', folder / ('x' * 300)]
    bad += [Path('/dev/zero'), Path('/proc/self/mem'), Path('/')]
    write_synthetic_model(folder / 'nan', keypoints=3, nan_keypoints=(0, 1, 2))
    for name, manifest in MANIFESTS.items():
        (folder / name).mkdir()
        (folder / name / MANIFEST_NAME).write_bytes(manifest)
    for name, changes in CHANGES.items():
        write_synthetic_model(folder / name)
        path = folder / name / MANIFEST_NAME
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    for name, network in NETWORKS.items():
        _with_network(folder, name, network)
    chance, whole = Random(5), (folder / 'five' / ONNX_NAME).read_bytes()
    for number in range(FLIPPED):
        flipped = bytearray(whole)
        for _ in range(4):
            flipped[chance.randrange(len(flipped))] = chance.randrange(256)
        _with_network(folder, f'flipped{number}', bytes(flipped))
    shutil.copytree(folder / 'five', folder / 'pipe')
    (folder / 'pipe' / MANIFEST_NAME).unlink()
    os.mkfifo(folder / 'pipe' / MANIFEST_NAME)
    bad += [path for path in sorted(folder.iterdir()) if path.name not in GOOD]
    return [folder / name for name in GOOD], bad


def _with_network(folder: Path, name: str, network: bytes) -> None:
    """Write a model whose manifest agrees with a network that is none."""
    from keypoint_perception.manifest import read_manifest, write_manifest
    from keypoint_perception.model_directory import ONNX_NAME

    shutil.copytree(folder / 'five', folder / name)
    (folder / name / ONNX_NAME).write_bytes(network)
    write_manifest(folder / name, read_manifest(folder / 'five'), files=[ONNX_NAME])
