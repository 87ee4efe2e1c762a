"""Model directories, checkpoints, frame stores, tables and images, as subjects."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
from random import Random
import subprocess
import sys

from torture.bags import identity, PERIOD_NS, picture, SIZE_HW, START_NS, write_directory
from torture.campaign import Subject

ROOT = Path(__file__).parents[1]
IMAGES = 6
HEADER = 'stamp_ns,keypoint,u,v'


def model_subjects(directory: Path, only: str = '') -> Iterator[Subject]:
    """Write and yield the subjects whose names contain a text; a checkpoint takes seconds."""
    for name, write, files, use, repair in (
        ('model: manifest', _write_model, ('manifest.json',), _use_model, _keep),
        ('model: ONNX', _write_model, ('keypointer.onnx',), _use_model, _sign),
        (
            'image folder',
            _write_images,
            image_names('.png'),
            _use_images,
            _keep,
        ),
        (
            'JPEG folder',
            _write_jpegs,
            image_names('.jpg'),
            _use_images,
            _keep,
        ),
        ('annotations', _write_table, ('labels.csv',), _use_table, _keep),
        ('metadata.yaml', _write_bag, ('metadata.yaml',), _use_images, _keep),
        (
            'frame store',
            _write_store,
            ('store.json', 'index.bin', 'images.bin'),
            _use_images,
            _keep,
        ),
        ('checkpoint', _write_checkpoint, _checkpoint_files(), _use_checkpoint, _keep),
    ):
        if only not in name:
            continue
        place = directory / name.replace(':', '').replace(' ', '_')
        place.mkdir(parents=True)
        write(place)
        yield Subject(name, place, files, use, repair=repair)


def _keep(place: Path) -> None:
    """Leave the digests as they are."""


def _sign(place: Path) -> None:
    """Bring the manifest's digests up to date, as a hostile author would."""
    from keypoint_perception.manifest import file_digest

    path = place / 'manifest.json'
    values = json.loads(path.read_text())
    values['files'] = {name: file_digest(place / name) for name in values['files']}
    path.write_text(json.dumps(values))


def _write_model(place: Path) -> None:
    from keypoint_perception.inference.synthetic_model import write_synthetic_model

    write_synthetic_model(place, keypoints=4, input_hw=(24, 32), landmark_names=('tip',))


def _use_model(place: Path) -> list[str]:
    from keypoint_perception.inference.engine import load_engine
    from keypoint_perception.inference.estimator import Estimator
    import numpy as np

    engine = load_engine(place, 'onnxruntime', threads=1)
    try:
        points = Estimator(engine).estimate(np.zeros((24, 32, 3), np.uint8))
        return [str(points.shape)]
    finally:
        engine.close()


def image_names(suffix: str) -> tuple[str, ...]:
    """Return names that are stamps: nothing needs to be said of undamaged images."""
    return tuple(f'{START_NS + index * PERIOD_NS}{suffix}' for index in range(IMAGES))


def _write_images(place: Path, suffix: str = '.png') -> None:
    import cv2
    import numpy as np

    for index, name in enumerate(image_names(suffix)):
        pixels = np.frombuffer(picture(index), np.uint8).reshape(*SIZE_HW, 3)
        cv2.imwrite(str(place / name), pixels)


def _write_jpegs(place: Path) -> None:
    _write_images(place, '.jpg')


def _use_images(place: Path) -> list[str]:
    from keypoint_perception.frames.source import read_frames

    return [identity(frame.image.tobytes()) for frame in read_frames([place])]


def _write_table(place: Path) -> None:
    chance = Random(0)
    rows = [
        f'{i * 10**8},{k},{chance.random():.4f},0.5' for i in range(20) for k in ('tip', 'base')
    ]
    (place / 'labels.csv').write_text('\n'.join([HEADER, *rows, '']))


def _use_table(place: Path) -> list[str]:
    from keypoint_perception.frames.annotations import read_annotations

    return [str(len(read_annotations(place / 'labels.csv').stamps_ns))]


def _write_bag(place: Path) -> None:
    write_directory(place)


def _write_store(place: Path) -> None:
    from keypoint_perception.frames.extraction import extract_frames

    images = place.with_name('images_of_store')
    images.mkdir()
    _write_images(images)
    extract_frames([images], [], place, size=max(SIZE_HW))


def _checkpoint_files() -> tuple[str, ...]:
    from keypoint_perception.model_directory import (
        CHECKPOINT_NAME,
        NETWORK_FILE,
        STATE_FILE,
        TRAINING_FILE,
    )

    return tuple(f'{CHECKPOINT_NAME}/{name}' for name in (NETWORK_FILE, STATE_FILE, TRAINING_FILE))


def _write_checkpoint(place: Path) -> None:
    run = ['train', ROOT / 'demo' / 'arm', '--out', place, '--steps', 2, '--size', 64]
    command = [sys.executable, '-m', 'keypoint_perception', *map(str, run), '--keypoints', '2']
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def _use_checkpoint(place: Path) -> list[str]:
    from keypoint_perception.model.checkpoint import load_checkpoint

    return [str(load_checkpoint(place).state['step'])]
