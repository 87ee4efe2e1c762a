"""Scenes of flat figures: arms, animals, single movers, games and several alike things."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pretraining.figures import animal, arm, Part, Pose, SPRITE, thing
from pretraining.motion import swing, wander
from pretraining.picture import Picture, POINTS
from pretraining.textures import background

Array = np.ndarray
Rng = np.random.Generator

SUPERSAMPLED = 2
# Most parts of a figure.
PARTS = 100


@dataclass(frozen=True)
class Actor:
    """
    A figure and how it moves.

    :param base: where its first part is fixed, x and y; None: it is elsewhere in each clip
    :param speed: image sides per second; 0: it rests within a clip
    :param upright: whether it keeps its heading
    """

    parts: list[Part]
    base: Array | None = None
    speed: float = 0.0
    upright: bool = False


@dataclass(frozen=True)
class Path:
    """Place (T, 2), heading (T,) and turns of the parts (T, P) of a figure over a clip."""

    places: Array
    headings: Array
    turned: Array


class FlatScene:
    """
    Figures on a background, which are the scene's; poses, paths and resting places are a clip's.

    :param hw: of the final images; rendered images are twice as large
    :ivar place: the background, (H, W, 3) float32 in [0, 1]
    """

    def __init__(self, rng: Rng, hw: tuple[int, int]) -> None:
        self._rng = rng
        self.place = background(rng, (hw[0] * SUPERSAMPLED, hw[1] * SUPERSAMPLED))
        self._actors = _actors(rng)
        self._shadow = rng.uniform(0.2, 0.5) if rng.random() < 0.25 else 0.0
        self._points = [self._random_point() for _ in range(POINTS)]

    def clip(self, times: Array) -> Iterator[Picture]:
        """Yield the frames of a clip; ``times`` in s."""
        paths = [_path(self._rng, actor, times) for actor in self._actors]
        hw = self.place.shape[:2]
        for frame in range(len(times)):
            image, owner = self.place.copy(), np.full(hw, -1)
            poses = [
                Pose(a.parts, p.places[frame], p.headings[frame], p.turned[frame], hw)
                for a, p in zip(self._actors, paths, strict=True)
            ]
            if self._shadow:
                dark = np.zeros_like(image)
                for actor, path in zip(self._actors, paths, strict=True):
                    place = path.places[frame] + 0.02
                    turned = path.turned[frame]
                    Pose(_silhouette(actor.parts), place, path.headings[frame], turned, hw).draw(
                        dark
                    )
                image *= 1 - self._shadow * cv2.GaussianBlur(dark, (0, 0), 4)
            for number, pose in enumerate(poses):
                pose.draw(image, owner, PARTS * number)
            yield Picture(image, self._seen(poses, owner))

    def _random_point(self) -> tuple[int, int, Array]:
        """Return a point of a figure: actor, part, and x and y in the part's sprite."""
        actor = int(self._rng.integers(len(self._actors)))
        parts = self._actors[actor].parts
        part = int(self._rng.integers(len(parts)))
        inside = np.argwhere(parts[part].sprite[..., 3] > 0.9)
        row, column = (
            inside[self._rng.integers(len(inside))] if len(inside) else (SPRITE // 2,) * 2
        )
        return actor, part, np.array([column, row], float)

    def _seen(self, poses: list[Pose], owner: Array) -> Array:
        points = np.zeros((POINTS, 3), np.float32)
        height, width = owner.shape
        for index, (actor, part, xy) in enumerate(self._points):
            x, y = poses[actor].project(part, xy)
            inside = 0 <= x < width - 0.5 and 0 <= y < height - 0.5
            shown = inside and owner[round(y), round(x)] == PARTS * actor + part
            points[index] = (x + 0.5) / width, (y + 0.5) / height, shown
        return points


def _actors(rng: Rng) -> list[Actor]:
    kinds = ('arm', 'animal', 'movers', 'game', 'alike', 'mixed')
    kind = rng.choice(kinds, p=[0.35, 0.18, 0.15, 0.1, 0.09, 0.13])
    actors = [Actor(thing(rng, small=rng.random() < 0.3)) for _ in range(rng.integers(0, 4))]
    if rng.random() < 0.5:
        actors = []  # nothing rests
    if kind in ('arm', 'mixed'):
        actors += [Actor(arm(rng), _base(rng)) for _ in range(1 if rng.random() < 0.8 else 2)]
    if kind in ('animal', 'mixed'):
        actors.append(Actor(animal(rng), speed=rng.uniform(0.05, 0.5)))
    if kind == 'movers':
        for _ in range(rng.integers(1, 4)):
            parts = thing(rng, small=rng.random() < 0.5)
            actors.append(Actor(parts, speed=rng.uniform(0.1, 0.9)))
    if kind == 'game':  # small sprites that keep upright
        for _ in range(rng.integers(2, 6)):
            parts = thing(rng, small=rng.random() < 0.8)
            actors.append(Actor(parts, speed=rng.uniform(0.1, 1.2), upright=True))
    if kind == 'alike':
        parts = thing(rng, small=False)
        for _ in range(rng.integers(2, 5)):
            actors.append(Actor(parts, speed=rng.uniform(0.05, 0.4)))
    return actors


def _base(rng: Rng) -> Array:
    """Return where an arm stands: in the middle, seen from above, or at the lower edge."""
    if rng.random() < 0.5:
        return rng.uniform(0.35, 0.65, 2)
    return np.array([rng.uniform(0.2, 0.8), rng.uniform(0.8, 1.02)])


def _silhouette(parts: list[Part]) -> list[Part]:
    return [replace(part, sprite=np.maximum(part.sprite, (1, 1, 1, 0))) for part in parts]


def _path(rng: Rng, actor: Actor, times: Array) -> Path:
    count, moves = len(times), actor.speed > 0
    rest = 0.15 if actor.base is not None else 0.3
    turned = np.stack([swing(rng, times, rest=rest) for _ in actor.parts], axis=1)
    if actor.base is not None:
        return Path(np.repeat(actor.base[None], count, axis=0), np.zeros(count), turned)
    if moves:
        places, headings = wander(rng, times, speed=actor.speed)
        if actor.upright:
            headings = np.zeros(count)
        return Path(places, headings, turned)
    places = np.repeat(rng.uniform(0.1, 0.9, (1, 2)), count, axis=0)
    if rng.random() < 0.25:  # moved in the middle of the clip
        places[count // 2 :] = rng.uniform(0.1, 0.9, 2)
    return Path(places, np.full(count, rng.uniform(0, 2 * np.pi)), np.zeros_like(turned))
