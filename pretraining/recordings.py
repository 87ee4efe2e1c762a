"""
Simulated recordings as a frame store, and their exact backgrounds.

Each scene is a source of the store, with three clips; arms in space are a third of the scenes.
Scene n depends on the seed and n alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from keypoint_perception.frames.frame import EncodedFrame
from keypoint_perception.frames.store_format import SourceEntry, StoreHeader
from keypoint_perception.frames.store_writer import StoreWriter
import numpy as np

from pretraining.arm_scenes import arm_scene, ArmScene
from pretraining.camera_effects import CameraEffects
from pretraining.flat_scenes import FlatScene
from pretraining.picture import Picture

POINTS_NAME = 'points.npy'
CLIPS, FRAMES, PERIOD_S = 3, 8, 0.3
# Between the clips of a scene, s; the frames of two clips are never paired.
PAUSE_S = 20.0


def write_store(
    out: Path, hw: tuple[int, int], *, scenes: int, seed: int, report: Callable[[int], None]
) -> None:
    """
    Write a frame store of simulated scenes, and the places of their points beside it.

    ``points.npy`` holds x and y, px, and whether it is visible, (frames, POINTS, 3) float32.

    :param hw: height and width of the images, px
    :param report: called with the number of scenes that are done
    """
    points = []
    with StoreWriter(out, StoreHeader(hw)) as writer:
        for number in range(scenes):
            rng = np.random.default_rng((seed, number))
            entry = _entry(number, seed)
            with _scene(rng, hw, number) as scene:
                effects = CameraEffects(rng)
                for stamp_ns, picture in _frames(scene):
                    encoded = EncodedFrame(stamp_ns, '', partial(effects, picture.image, hw))
                    writer.append(effects(picture.image, hw), encoded, entry)
                    scale = (hw[1], hw[0], 1)
                    points.append(picture.points * scale - (0.5, 0.5, 0))
            report(number + 1)
        writer.commit()
    np.save(out / POINTS_NAME, np.stack(points).astype(np.float32))


def _scene(
    rng: np.random.Generator, hw: tuple[int, int], number: int
) -> AbstractContextManager[ArmScene | FlatScene]:
    return arm_scene(rng, hw) if number % 3 == 2 else nullcontext(FlatScene(rng, hw))


def _frames(scene: ArmScene | FlatScene) -> Iterator[tuple[int, Picture]]:
    times = np.arange(FRAMES) * PERIOD_S
    for clip in range(CLIPS):
        start_s = clip * (FRAMES * PERIOD_S + PAUSE_S)
        for time_s, picture in zip(times, scene.clip(times), strict=True):
            yield round((start_s + time_s) * 1e9), picture


def _entry(number: int, seed: int) -> SourceEntry:
    count = CLIPS * FRAMES
    return {
        'name': f'scene {number}',
        'digest': f'seed {seed}, scene {number}',
        'topics': [''],
        'frames': 0,
        'position': count,
        'failed': 0,
        'complete': True,
        'grey_range': None,
        'stamps': '',
    }
