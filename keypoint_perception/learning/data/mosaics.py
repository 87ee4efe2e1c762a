"""
The background of a camera that moves: mosaics of registered frames.

For each keyframe (:mod:`.registration`), frames of its episode that show the same place are warped
onto a canvas around it. The median of each pixel is the background, as far as what moves covers it
for less than half of the time. Warped back into a frame, it is what that frame would show without
foreground. With d the median difference of the frames from it and g its slope::

    noise = CERTAIN sqrt(d^2 + (s g)^2)         s: what registration leaves, px

So contours that are not registered exactly, and things that parallax displaces, are not
foreground. Of pixels that hardly any other frame shows, nothing is known: the background is the
frame itself there, and noise explains everything. If the brightness of frames changes, they are
merged in the light of the mosaic, which is then shown in that of each frame.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
from keypoint_perception.geometry.image_alignment import (
    align,
    corners_of,
    displacement_px,
    local_contrast,
    make_keyframe,
    quality,
    transform,
)
from keypoint_perception.geometry.warped_images import shown_pixels, warp_image
from keypoint_perception.learning.data.background_fit import fit_background, LEAST_CHANGE
from keypoint_perception.learning.data.registration import RegisteredFrames
from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch
from torch import Tensor

# Frames of a mosaic, of so many times as many with the nearest views; the least that show a pixel.
FRAMES, NEAREST, LEAST_FRAMES = 40, 4, 5
# Sides of a canvas in sides of a frame, at most, and its pixels per pixel of a frame.
MOST_SIDE, SCALE = 2.0, 1.5
# As with a still camera; least noise, in units of [-1, 1]; displacement that is left, px.
CERTAIN, LEAST_NOISE, LEFT_PX = 4.0, 0.05, 0.1
# Mosaics that are kept: 0.5 MB each at 128 x 128.
KEPT = 400
# Mask of what is known, after interpolation; the most that alignment corrects, px.
KNOWN, MOST_CORRECTION_PX = 254, 12.0


class Mosaic(NamedTuple):
    """
    The background around a keyframe.

    :param levels: background, its noise in half grey levels and whether it is known, 0 or 255,
        (h, w, 5) uint8
    :param to_canvas: from the episode's reference to pixels of the canvas, (3, 3)
    :param lit: whether the brightness of its frames changes
    """

    levels: np.ndarray
    to_canvas: np.ndarray
    lit: bool


class Light(NamedTuple):
    """Gain and offset, grey levels, of each colour of a frame against a mosaic, (3,) each."""

    gain: np.ndarray
    offset: np.ndarray

    def apply(self, levels: np.ndarray) -> np.ndarray:
        """Return levels (..., 3) of the mosaic as the frame shows them."""
        return _as_levels(self.gain * levels + self.offset)

    def undo(self, levels: np.ndarray) -> np.ndarray:
        """Return levels (..., 3) of the frame as the mosaic shows them."""
        return _as_levels((levels - self.offset) / self.gain)


class Mosaics:
    """Backgrounds of frames of cameras that move."""

    def __init__(self, images: np.ndarray, registered: RegisteredFrames) -> None:
        """Use frames (N, H, W, 3); a mosaic is computed on first use."""
        self._images, self._registered = images, registered
        self._kept: dict[int, Mosaic] = {}
        self._placed: dict[int, np.ndarray] = {}  # from each frame to its canvas
        self._lights: dict[int, Light] = {}  # of frames whose brightness changes

    def take(self, frames: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return background (n, 3, H, W) and noise (n, 1, H, W) of frames, in [-1, 1]."""
        found = np.stack([self._of(int(frame)) for frame in frames])
        levels = torch.from_numpy(found).permute(0, 3, 1, 2).to(torch.float32)
        own = torch.from_numpy(np.stack([self._images[frame] for frame in frames]))
        own = own.permute(0, 3, 1, 2).to(torch.float32)
        known = levels[:, 4:] > KNOWN
        background = torch.where(known, levels[:, :3], own) / 127.5 - 1
        noise = (levels[:, 3:4] / 255).clamp(min=LEAST_NOISE)
        return background, torch.where(known, noise, torch.ones_like(noise))

    def _of(self, frame: int) -> np.ndarray:
        """Return the mosaic of a frame as the frame shows it, (H, W, 5) uint8."""
        keyframe = int(self._registered.keyframe[frame])
        if keyframe not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[keyframe] = self._compute(keyframe)
        mosaic = self._kept[keyframe]
        if frame not in self._placed:
            self._placed[frame] = self._refine(mosaic, frame)
        seen = warp_image(mosaic.levels, self._placed[frame], self._images.shape[1:3])
        if mosaic.lit:
            if frame not in self._lights:
                self._lights[frame] = self._light(seen, frame)
            seen[..., :3] = self._lights[frame].apply(seen[..., :3])
        return seen

    def _light(self, seen: np.ndarray, frame: int) -> Light:
        """Return the light of a frame against a mosaic as the frame shows it, (H, W, 5) uint8."""
        image = self._images[frame]
        background = np.where(seen[..., 4:] > KNOWN, seen[..., :3], image)
        pair = np.stack([image, background]).transpose(0, 3, 1, 2) / 127.5 - 1
        fit = fit_background(*torch.from_numpy(pair).float().split(1))
        gain, offset = fit.gain[0].numpy(), fit.offset[0].numpy()
        return Light(gain, 127.5 * (offset + 1 - gain))

    def _refine(self, mosaic: Mosaic, frame: int) -> np.ndarray:
        """Return the homography from a frame to a canvas, aligned with what the frame shows."""
        to_canvas: np.ndarray = mosaic.to_canvas @ self._registered.to_reference[frame]
        image = self._images[frame]
        seen = warp_image(mosaic.levels, to_canvas, image.shape[:2])
        background = np.where(seen[..., 4:] > KNOWN, seen[..., :3], image)
        still, shown = (
            local_contrast(cv2.cvtColor(np.ascontiguousarray(i), cv2.COLOR_RGB2GRAY))
            for i in (background, image)
        )
        keyframe = make_keyframe(still)
        before = quality(keyframe, shown, np.eye(3))
        after = align(keyframe, shown, np.eye(3))
        moved = displacement_px(after.homography, image.shape[:2])
        if after.explained < before.explained or moved > MOST_CORRECTION_PX:
            return to_canvas
        return np.asarray(to_canvas @ np.linalg.inv(after.homography))

    def _compute(self, keyframe: int) -> Mosaic:
        registered, hw = self._registered, self._images.shape[1:3]
        group = np.flatnonzero(registered.keyframe == keyframe)
        centre = np.array([[(hw[1] - 1) / 2, (hw[0] - 1) / 2]])
        at = np.concatenate([transform(registered.to_reference[i], centre) for i in group])
        anchor = group[np.linalg.norm(at - np.median(at, axis=0), axis=1).argmin()]
        to_anchor = np.linalg.inv(registered.to_reference[anchor])
        corners = np.concatenate(
            [transform(to_anchor @ registered.to_reference[i], corners_of(hw)) for i in group]
        )
        margin = (MOST_SIDE - 1) / 2 * np.array(hw[::-1])
        low = np.maximum(corners.min(axis=0), -margin) - 0.5
        high = np.minimum(corners.max(axis=0), np.array(hw[::-1]) - 1 + margin) + 0.5
        size = np.ceil((high - low) * SCALE).astype(int)
        shift = -SCALE * low - 0.5
        place = np.array([[SCALE, 0, shift[0]], [0, SCALE, shift[1]], [0, 0, 1]])
        to_canvas = place @ to_anchor
        chosen = self._contributors(int(anchor), to_canvas, size)
        placed = [to_canvas @ registered.to_reference[frame] for frame in chosen]
        images = [self._images[frame] for frame in chosen]
        mosaic = Mosaic(_merge(images, placed, size), to_canvas, lit=False)
        # aligned with the median, in which nothing moves, the median is sharper
        placed = [self._refine(mosaic, int(frame)) for frame in chosen]
        seen = [warp_image(mosaic.levels, to_frame, hw) for to_frame in placed]
        lights = [self._light(s, int(frame)) for s, frame in zip(seen, chosen, strict=True)]
        changes = [
            np.abs(light.apply(s[..., :3]).astype(float) - s[..., :3]).mean()
            for light, s in zip(lights, seen, strict=True)
        ]
        lit = bool(np.median(changes) > 127.5 * LEAST_CHANGE)
        if lit:
            images = [light.undo(image) for light, image in zip(lights, images, strict=True)]
        return Mosaic(_merge(images, placed, size), to_canvas, lit)

    def _contributors(self, anchor: int, to_canvas: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Return frames of an episode that show most of a canvas, spread over time."""
        registered, hw = self._registered, self._images.shape[1:3]
        mine = np.flatnonzero(registered.episodes == registered.episodes[anchor])
        middle = np.array([[(hw[1] - 1) / 2, (hw[0] - 1) / 2]])
        views = np.concatenate([middle, corners_of(hw)])
        at = np.stack([transform(to_canvas @ registered.to_reference[i], views) for i in mine])
        away = np.linalg.norm(at[:, 0] - (size - 1) / 2, axis=1)
        near = away < np.linalg.norm(size) / 2
        order = mine[near][np.argsort(away[near], kind='stable')][: NEAREST * FRAMES]
        return evenly_spaced(np.sort(order), FRAMES)


def _merge(images: list[np.ndarray], placed: list[np.ndarray], size: np.ndarray) -> np.ndarray:
    """
    Return the median of frames (H, W, 3) on a canvas, its noise, and where it is known.

    :param placed: from pixels of each frame to those of the canvas, each (3, 3)
    """
    hw = (int(size[1]), int(size[0]))
    stack = np.zeros((len(images), *hw, 3), np.uint8)
    seen = np.zeros((len(images), *hw), bool)
    for i, (image, to_canvas) in enumerate(zip(images, placed, strict=True)):
        from_canvas = np.linalg.inv(to_canvas)
        stack[i] = warp_image(np.ascontiguousarray(image), from_canvas, hw, repeat=True)
        seen[i] = shown_pixels(image.shape[:2], from_canvas, hw)
    count = seen.sum(axis=0)
    median = masked_median(stack, seen, count)
    away = np.abs(stack.astype(np.int16) - median).mean(axis=-1)
    usual = masked_median(away[..., None].astype(np.float32), seen, count)[..., 0]
    usual = cv2.blur(usual, (3, 3)) / 127.5
    noise = CERTAIN * np.sqrt(usual**2 + (LEFT_PX * SCALE * slope(median) / 127.5) ** 2)
    known = np.where(count >= LEAST_FRAMES, 255, 0)
    levels = np.concatenate(
        [median, np.stack([(255 * noise).clip(0, 255).round(), known], axis=-1)], axis=-1
    )
    return np.asarray(levels, np.uint8)


def masked_median(stack: np.ndarray, seen: np.ndarray, count: np.ndarray) -> np.ndarray:
    """
    Return the median over those images of a stack (n, h, w, c) that show a pixel, (h, w, c).

    :param seen: which do, (n, h, w) bool
    :param count: how many do, (h, w)
    """
    most = np.iinfo(stack.dtype).max if stack.dtype.kind in 'iu' else np.inf
    ordered = np.sort(np.where(seen[..., None], stack, most), axis=0)
    middle = np.maximum(count - 1, 0) // 2
    chosen: np.ndarray = np.take_along_axis(ordered, middle[None, ..., None], axis=0)[0]
    return np.where(count[..., None] > 0, chosen, 0)


def slope(levels: np.ndarray) -> np.ndarray:
    """Return the steepest change of brightness around each pixel of an image, a pixel, (h, w)."""
    grey = levels.astype(np.float32).mean(axis=-1)
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    return np.asarray(cv2.dilate(np.hypot(across, down), np.ones((3, 3), np.uint8)))


def _as_levels(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.round().clip(0, 255), np.uint8)
