"""
What each frame would show without foreground, and how far noise alone may differ from it.

The median of some seconds of a clip is its background, except where something rests: there, other
clips of the same view show what is behind it (:mod:`.views`). The background of a frame is in the
light of that frame, and moves with its shake (:mod:`.background_fit`); what noise explains is
measured (:mod:`.noise`). A thing that rests at one place throughout a recording is background, and
so is a robot that never leaves a pose: objectives may use the background as a hint, not as ground
truth.
"""

from __future__ import annotations

from dataclasses import dataclass
import logging

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.data.background_fit import (
    apply_fit,
    BackgroundFit,
    fit_background,
    LEAST_CHANGE,
    undo_fit,
)
from keypoint_perception.learning.data.common_background import common_background
from keypoint_perception.learning.data.foreground import difference
from keypoint_perception.learning.data.noise import measure_noise, Noise
from keypoint_perception.learning.data.views import relight, same_view
from keypoint_perception.learning.data.windows import as_images, Windows
from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

log = logging.getLogger('keypoint_perception')

# Medians that a view is found from, and frames that noise is measured on.
VIEW_MEDIANS, NOISE_FRAMES = 24, 48
# Things at rest are cut out with this margin, px.
MARGIN = 3
# Frames are fitted if they shake by more than this, px, or the light changes.
LEAST_SHIFT = 0.05
# The camera or the light moves if a frame differs from the background by more than CHANGED_LEVELS
# grey levels in this share of its cells of CELL x CELL pixels; the median over so many frames.
MOVING_SHARE = 0.5
CELL, CHANGED_LEVELS, CHECKED_FRAMES = 8, 12, 16


@dataclass
class View:
    """
    What a camera sees that stands at one place.

    :param background: in the light of one of its medians, (3, H, W)
    :param fitted: whether frames are fitted, since their light or position changes
    :param banded: whether rows of frames are, since their light differs
    """

    background: Tensor
    noise: Noise
    fitted: bool
    banded: bool


class Backgrounds:
    """
    Provides what each frame of a batch of pairs would show without foreground.

    ``background``: of the first frames, then of the second ones, (2B, 3, H, W) in [-1, 1].
    ``noise``: the difference from it that noise explains at each pixel, (2B, 1, H, W).

    :ivar views: view of each frame, (N,) int; -1 where it is not known, or nothing else is of it
    """

    def __init__(self, store: FrameStore, episodes: np.ndarray) -> None:
        """
        Use a recording; views are found now, backgrounds are computed on first use.

        :param store: frames of cameras that stand still within each episode
        :param episodes: of its frames, (N,) int
        """
        self._images = store.images
        self._windows = Windows(store.images, store.stamps_ns, episodes)
        self._views: list[View] = []
        self._of_window: dict[int, tuple[Tensor, Tensor, View]] = {}
        self._fits: dict[int, BackgroundFit] = {}
        self.views = np.full(len(store.images), -1)
        self._find_views()
        share = self._changed_share()
        if share > MOVING_SHARE:
            log.warning(
                'The camera seems to move, or nothing rests: %.0f %% of the image differs from '
                'the background, and its frames are not registered. The default objective needs '
                'a static camera, or one that can be registered: set camera to moving, or '
                'consider --objective temporal_transport or motion_energy with short gaps '
                '(max_gap_s).',
                100 * share,
            )

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the backgrounds of the frames of pairs, (2, B) indices, and their noise."""
        flat = frames.reshape(-1)
        found = [self._of(int(window)) for window in self._windows.of_frame[flat]]
        background = torch.stack([levels for levels, _, _ in found]).to(torch.float32) / 127.5 - 1
        noise = torch.stack([noise for _, noise, _ in found]).to(torch.float32)
        fitted = [i for i, (_, _, view) in enumerate(found) if view.fitted]
        if fitted:
            banded = [found[i][2].banded for i in fitted]
            fit = self._fit(flat[fitted], background[fitted], banded)
            background[fitted] = apply_fit(background[fitted], fit)
        return {'background': background, 'noise': noise}

    def _fit(self, frames: np.ndarray, background: Tensor, banded: list[bool]) -> BackgroundFit:
        for frame, still, bands in zip(frames.tolist(), background, banded, strict=True):
            if frame not in self._fits:
                # one by one: in a batch, rounding would depend on the others
                image = as_images(self._images[[frame]])
                self._fits[frame] = fit_background(image, still[None], bands=bands)
        each = [self._fits[frame] for frame in frames.tolist()]
        return BackgroundFit(*(torch.cat(values) for values in zip(*each, strict=True)))

    def _find_views(self) -> None:
        windows = evenly_spaced(np.arange(self._windows.count), VIEW_MEDIANS)
        left = {int(window): self._windows.median(int(window)) for window in windows}
        while left:
            first = next(iter(left.values()))
            relit = {window: relight(median, first) for window, median in left.items()}
            mine = [window for window in left if same_view(relit[window], first)]
            self._views.append(self._view({window: left.pop(window) for window in mine}))
            if len(mine) > 1:
                self.views[np.isin(self._windows.of_frame, mine)] = len(self._views)

    def _view(self, medians: dict[int, Tensor]) -> View:
        """Return the view of some stretches with their medians."""
        share = max(1, NOISE_FRAMES // len(medians))
        frames = {window: self._windows.frames(window, share) for window in medians}
        still = torch.cat([medians[w][None].expand_as(frames[w]) for w in medians])
        fit = fit_background(torch.cat([*frames.values()]), still, bands=True)
        banded = _has_bands(still, fit)
        fitted = banded or _changes(still, fit)
        if fitted:
            medians = {w: self._fitted_median(w, m, banded) for w, m in medians.items()}
        first = next(iter(medians.values()))
        common = common_background(torch.stack([relight(m, first) for m in medians.values()]))
        still = torch.cat(
            [_compose(medians[w], common)[None].expand_as(frames[w]) for w in medians]
        )
        images = torch.cat([*frames.values()])
        if fitted:
            still = apply_fit(still, fit_background(images, still, bands=banded))
        return View(common, measure_noise(images, still), fitted, banded)

    def _fitted_median(self, window: int, median: Tensor, banded: bool) -> Tensor:
        """Return the median of a stretch without the shake and the flicker of its frames."""
        frames = self._windows.frames(window)
        fit = fit_background(frames, median.expand_as(frames), bands=banded)
        return undo_fit(frames, fit).median(dim=0).values

    def _of(self, window: int) -> tuple[Tensor, Tensor, View]:
        """Return background (3, H, W) uint8, noise (1, H, W) and view of a stretch."""
        if window not in self._of_window:
            median = self._windows.median(window)
            alike = (v for v in self._views if same_view(relight(v.background, median), median))
            view = next(alike, None) or self._view({window: median})
            if view.fitted:
                median = self._fitted_median(window, median, view.banded)
            background = _compose(median, view.background)
            noise = view.noise.explains(background[None])[0].to(torch.float16)
            levels = ((background + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            self._of_window[window] = levels, noise, view
        return self._of_window[window]

    def _changed_share(self) -> float:
        """Return the share of cells that are not background, the median over some frames."""
        chosen = evenly_spaced(np.arange(len(self._images)), CHECKED_FRAMES)
        levels = [self._of(window)[0] for window in self._windows.of_frame[chosen].tolist()]
        background = torch.stack(levels).to(torch.float32) / 127.5 - 1
        found = difference(as_images(self._images[chosen]), background)
        cells = functional.avg_pool2d(found, CELL) > CHANGED_LEVELS / 127.5
        return float(cells.float().mean(dim=(1, 2, 3)).median())


def _changes(background: Tensor, fit: BackgroundFit) -> bool:
    """Return whether the light or the position of frames changes enough to be fitted."""
    lit = apply_fit(background, fit._replace(shift=0 * fit.shift, row=torch.ones_like(fit.row)))
    light = (lit - background).abs().mean(dim=(1, 2, 3)).median()
    return bool(light > LEAST_CHANGE or fit.shift.norm(dim=-1).median() > LEAST_SHIFT)


def _has_bands(background: Tensor, fit: BackgroundFit) -> bool:
    """Return whether most rows of most frames are brighter or darker than the background."""
    change = (fit.row - 1).abs() * (background + 1).mean(dim=(1, 3))  # (B, H)
    return bool(change.median() > LEAST_CHANGE)


def _compose(median: Tensor, background: Tensor) -> Tensor:
    """Return a median (3, H, W) with the background of its view where something rests."""
    relit = relight(background, median)
    found = difference(median[None], relit[None])
    tolerance = max(6 / 127.5, 4 * float(found.median()))
    rests = (found > tolerance).to(torch.float32)
    rests = functional.max_pool2d(rests, 2 * MARGIN + 1, 1, MARGIN)
    return torch.where(rests[0] > 0, relit, median)
