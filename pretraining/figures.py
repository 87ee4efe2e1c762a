"""
Flat figures: trees of textured parts that are drawn into an image.

A part is a picture with an outline of its own (RGB and alpha), drawn with an affine map, so that
its texture moves with it. Lengths are shares of the longer image side, angles rad.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pretraining.textures import colour, texture

Array = np.ndarray
Rng = np.random.Generator

# Side of the square picture of a part, px.
SPRITE = 64


@dataclass(frozen=True)
class Part:
    """
    A part of a figure.

    :param sprite: RGB and alpha, (SPRITE, SPRITE, 4) float32 in [0, 1]
    :param length: from its joint to its end; ``width`` is across
    :param parent: index of the part it is attached to; -1 for the first
    :param at: where on its parent, (along, across) as shares of the parent's length and width
    :param angle: to its parent when it rests; ``reach`` is how far it turns to either side
    """

    sprite: Array
    length: float
    width: float
    parent: int
    at: tuple[float, float]
    angle: float
    reach: float


class Pose:
    """
    A figure at one moment: where each of its parts is.

    :param place: of the first part's joint, x and y as shares of the image's sides
    :param heading: of the first part
    :param turned: of each part, in [-1, 1], (P,)
    :param hw: of the image, px
    """

    def __init__(
        self, parts: list[Part], place: Array, heading: float, turned: Array, hw: tuple[int, int]
    ) -> None:
        self.parts, side = parts, max(hw)
        origins: list[Array] = []
        angles: list[float] = []
        self.maps: list[Array] = []  # from the sprite of each part to the image, (2, 3)
        for part, turn in zip(parts, turned, strict=True):
            if part.parent < 0:
                origin = np.asarray(place) * (hw[1], hw[0])
                angle = heading + part.angle + part.reach * turn
            else:
                owner, base = parts[part.parent], angles[part.parent]
                along, across = part.at[0] * owner.length, part.at[1] * owner.width
                offset = along * _unit(base) + across * _unit(base + np.pi / 2)
                origin = origins[part.parent] + offset * side
                angle = base + part.angle + part.reach * turn
            origins.append(origin)
            angles.append(angle)
            # the joint is in the middle of the sprite's left edge
            along = _unit(angle) * part.length * side / SPRITE
            across = _unit(angle + np.pi / 2) * part.width * side / SPRITE
            corner = origin - across * SPRITE / 2
            self.maps.append(np.stack([along, across, corner], axis=1))

    def draw(self, image: Array, owner: Array | None = None, number: int = 0) -> None:
        """
        Draw the figure into an image (H, W, 3) float32, its first part below the others.

        :param owner: where to write ``number`` + index of the part that each pixel shows, (H, W)
        """
        for index, (part, matrix) in enumerate(zip(self.parts, self.maps, strict=True)):
            _paste(image, part.sprite, matrix, owner, number + index)

    def project(self, index: int, xy: Array) -> Array:
        """Return where a point of a part's sprite is in the image, (2,) px."""
        matrix = self.maps[index]
        return np.asarray(matrix[:, :2] @ xy + matrix[:, 2])


def _unit(angle: float) -> Array:
    return np.array([np.cos(angle), np.sin(angle)])


def _paste(image: Array, sprite: Array, matrix: Array, owner: Array | None, number: int) -> None:
    corners = np.array([[0, 0, 1], [SPRITE, 0, 1], [0, SPRITE, 1], [SPRITE, SPRITE, 1]])
    found = corners @ matrix.T
    low = np.floor(found.min(axis=0)).astype(int).clip(0, None)
    high = np.ceil(found.max(axis=0)).astype(int) + 1
    high = np.minimum(high, (image.shape[1], image.shape[0]))
    if (high <= low).any():
        return
    matrix = matrix.copy()
    matrix[:, 2] -= low
    size = tuple((high - low).tolist())
    shown = cv2.warpAffine(sprite, matrix, size, flags=cv2.INTER_LINEAR)
    region = np.s_[low[1] : high[1], low[0] : high[0]]
    image[region] += shown[..., 3:] * (shown[..., :3] - image[region])
    if owner is not None:
        owner[region][shown[..., 3] > 0.5] = number


def make_sprite(rng: Rng, kind: str) -> Array:
    """Return a part's picture; ``kind``: ``bar``, ``taper``, ``box``, ``disc`` or ``blob``."""
    y, x = np.indices((SPRITE, SPRITE), np.float32) / (SPRITE - 1)
    across = np.abs(2 * y - 1)
    if kind == 'bar':
        inside = _rounded(x, across, rng.uniform(0.05, 0.4))
    elif kind == 'taper':
        inside = _rounded(x, across, 0.15) * (across < 1 - rng.uniform(0.2, 0.7) * x)
    elif kind == 'box':
        inside = np.ones_like(x)
    elif kind == 'disc':
        inside = ((2 * x - 1) ** 2 + across**2 < 0.95).astype(np.float32)
    else:
        angle = np.arctan2(2 * y - 1, 2 * x - 1)
        waves = [rng.uniform(0, 0.12) * np.cos(n * angle + rng.uniform(0, 6)) for n in (2, 3, 5)]
        inside = (np.hypot(2 * x - 1, 2 * y - 1) < 0.8 + sum(waves)).astype(np.float32)
    inside = np.asarray(inside, np.float32)
    inside[[0, -1]] = 0
    inside[:, [0, -1]] = 0
    fill = texture(rng, (SPRITE, SPRITE))
    if rng.random() < 0.5:  # parts of robots are plain more often than not
        fill = np.broadcast_to(colour(rng), fill.shape).copy()
    if rng.random() < 0.4:  # round in the light
        fill *= 1 - rng.uniform(0.2, 0.6) * across[..., None] ** 2
    if rng.random() < 0.3:  # an outline
        core = cv2.erode(inside, np.ones((5, 5), np.uint8))[..., None]
        fill = core * fill + (1 - core) * colour(rng)
    if rng.random() < 0.3:  # a mark at the joint
        mark = (np.hypot(x - 0.12, (y - 0.5) * 0.5) < 0.08)[..., None]
        fill = np.where(mark, colour(rng), fill)
    alpha = cv2.GaussianBlur(inside, (3, 3), 0)
    return np.dstack([fill, alpha]).astype(np.float32)


def _rounded(x: Array, across: Array, radius: float) -> Array:
    end = (np.minimum(x, 1 - x) / radius).clip(0, 1)
    return (across**2 + (1 - end) ** 2 < 1).astype(np.float32)


def arm(rng: Rng) -> list[Part]:
    """Return a chain of 2 to 6 links with a gripper, two fingers or nothing at its end."""
    count = int(rng.integers(2, 7))
    length, width = rng.uniform(0.5, 1.0) / count, rng.uniform(0.025, 0.09)
    alike = make_sprite(rng, 'bar') if rng.random() < 0.4 else None
    parts = []
    for index in range(count):
        sprite = alike if alike is not None else make_sprite(rng, rng.choice(['bar', 'taper']))
        own = length * rng.uniform(0.6, 1.3)
        parts.append(
            Part(
                sprite=sprite,
                length=own,
                width=width * 0.85**index,
                parent=index - 1,
                at=(0.95, 0.0),
                angle=0.0 if index else -np.pi / 2,
                reach=rng.uniform(0.5, 1.6),
            )
        )
    if rng.random() < 0.6:  # fingers
        finger, reach = make_sprite(rng, 'bar'), rng.uniform(0, 0.4)
        for side in (-1, 1):
            parts.append(
                Part(
                    sprite=finger,
                    length=length * rng.uniform(0.25, 0.5),
                    width=width * 0.4,
                    parent=count - 1,
                    at=(0.95, 0.35 * side),
                    angle=0.25 * side,
                    reach=reach * side,
                )
            )
    return parts


def animal(rng: Rng) -> list[Part]:
    """Return a body with a head, ears, a tail of some parts and legs, seen from above or aside."""
    size, slim = rng.uniform(0.08, 0.35), rng.uniform(0.35, 0.8)
    body = Part(make_sprite(rng, 'disc'), size, size * slim, -1, (0, 0), 0.0, 0.15)
    skin = make_sprite(rng, 'disc')
    if rng.random() < 0.6:
        skin = body.sprite
    parts = [body]
    parts.append(Part(skin, size * 0.45, size * slim * 0.6, 0, (0.85, 0), 0.0, 0.5))
    if rng.random() < 0.6:
        ear = make_sprite(rng, 'disc')
        for side in (-1, 1):
            shape = size * 0.18, size * 0.15
            parts.append(Part(ear, *shape, 1, (0.4, 0.4 * side), 1.2 * side, 0.1))
    tail = make_sprite(rng, 'bar')
    parent = 0
    for index in range(rng.integers(0, 4)):
        at = (0.05, 0.0) if index == 0 else (0.95, 0.0)
        angle = np.pi if index == 0 else 0.0
        parts.append(Part(tail, size * 0.35, size * 0.08, parent, at, angle, 0.6))
        parent = len(parts) - 1
    if rng.random() < 0.7:
        leg = make_sprite(rng, 'bar')
        for along in (0.25, 0.75):
            for side in (-1, 1):
                shape = size * rng.uniform(0.25, 0.5), size * 0.12
                parts.append(Part(leg, *shape, 0, (along, 0.35 * side), 1.4 * side, 0.5))
    return parts


def thing(rng: Rng, *, small: bool) -> list[Part]:
    """Return one part, or two fixed to each other: a ball, a box, a tool."""
    low, high = (0.02, 0.07) if small else (0.06, 0.25)
    length = rng.uniform(low, high)
    kind = rng.choice(['box', 'disc', 'blob', 'bar', 'taper'])
    width = length if kind in ('disc', 'blob') else length * rng.uniform(0.3, 1)
    parts = [Part(make_sprite(rng, kind), length, width, -1, (0, 0), 0.0, 0.0)]
    if not small and rng.random() < 0.4:
        other = make_sprite(rng, rng.choice(['box', 'disc', 'bar']))
        shape = length * rng.uniform(0.3, 0.9), width * rng.uniform(0.3, 0.8)
        parts.append(Part(other, *shape, 0, (rng.uniform(0.2, 0.9), 0), rng.uniform(-2, 2), 0.0))
    return parts
