"""
Files that show the progress of a run.

``history.csv`` has one row per interval, ``tensorboard/`` the same values, and ``overlays/`` the
keypoints of the averaged network on frames of the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
from keypoint_perception.atomic_files import replace_file
from keypoint_perception.drawing import draw_keypoints, Edge, tile_images
from keypoint_perception.learning.learner import Learner
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.model.layers import normalise
from keypoint_perception.model.network import Keypointer
from keypoint_perception.model_directory import (
    HISTORY_NAME,
    OVERLAYS_NAME,
    read_history,
    step_name,
    TENSORBOARD_NAME,
)
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

OVERLAY_FRAMES = 12
log = logging.getLogger('keypoint_perception')


class RunLog:
    """Writes the history of a run; rows after the step that it resumes from are dropped."""

    def __init__(self, out: Path, terms: tuple[str, ...], *, from_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._out = out
        self._columns = ('step', 'elapsed_s', 'rate', 'pairs_per_s', 'loss', *terms)
        out.mkdir(parents=True, exist_ok=True)
        self._path = out / HISTORY_NAME
        rows = [row for row in read_history(out) if tuple(row) == self._columns]
        held = self._path.read_bytes().strip().count(b'\n') if self._path.is_file() else 0
        if held > len(rows):
            unread = 'lines of %r cannot be read, as after a crash, and are removed.'
            log.warning(f'%d {unread}', held - len(rows), str(self._path))
        kept = [row.values() for row in rows if float(row['step']) <= from_step]
        lines = [','.join(line) + '\n' for line in (self._columns, *kept)]
        replace_file(self._path, ''.join(lines))
        board = SummaryWriter(str(out / TENSORBOARD_NAME), purge_step=from_step + 1)
        self._board: SummaryWriter | None = board

    def _to_board(self, write: Callable[[SummaryWriter], None]) -> None:
        """Write for TensorBoard; a run goes on without it where that is no longer possible."""
        try:
            if self._board is not None:
                write(self._board)
        except OSError as error:
            self._board = None
            log.warning('The files of TensorBoard are no longer written (%s).', error)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append a row: the values of all columns but the step, by name."""
        row = {'step': step} | values
        with self._path.open('a') as stream:
            stream.write(','.join(str(row[name]) for name in self._columns) + '\n')

        def add(board: SummaryWriter) -> None:
            for name, value in values.items():
                board.add_scalar(name, value, step)

        self._to_board(add)

    def write_overlay(
        self, step: int, network: Keypointer, frames: Tensor, skeleton: Sequence[Edge] = ()
    ) -> Path:
        """Write an image of keypoints and learned edges on some of the frames (N, H, W, 3)."""
        chosen = frames[:: max(1, len(frames) // OVERLAY_FRAMES)][:OVERLAY_FRAMES]
        with torch.no_grad():
            found = network(chosen).cpu().numpy()
        scale = max(1, 256 // max(chosen.shape[1:3]))
        pairs = zip(chosen.cpu().numpy(), found, strict=True)
        images = [draw_keypoints(i, uv, scale=scale, skeleton=skeleton) for i, uv in pairs]
        sheet = tile_images(images, 4)
        path = self._out / OVERLAYS_NAME / step_name(step, '.png')
        path.parent.mkdir(exist_ok=True)
        self._write_image(path, 'keypoints', sheet, step)
        return path

    def write_image(self, name: str, rgb: np.ndarray, step: int) -> None:
        """Write an image of the whole run, (H, W, 3) uint8."""
        self._write_image(self._out / name, Path(name).stem, rgb, step)

    def _write_image(self, path: Path, tag: str, rgb: np.ndarray, step: int) -> None:
        # OpenCV's own writing reports a full disk to nobody
        png = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
        replace_file(path, png.tobytes())
        self._to_board(lambda board: board.add_image(tag, rgb, step, dataformats='HWC'))

    def close(self) -> None:
        """Write what is still buffered."""
        self._to_board(lambda board: board.close())


@torch.no_grad()
def reconstruction_sheet(
    learner: Learner, images0: Tensor, images1: Tensor, extra: dict[str, Tensor]
) -> np.ndarray | None:
    """
    Return an image with a column per pair: source, target, reconstructed target.

    :param images0: the sources, RGB uint8, (B, H, W, 3)
    :param images1: the targets
    :return: (H, W, 3) uint8, or None if no objective has a method ``reconstruct(batch)``, which
        returns reconstructed second frames or other images in [-1, 1], (B, 3, H, W)
    """
    for objective in learner.objective.objectives.values():
        reconstruct: Callable[[PairBatch], Tensor] | None = getattr(objective, 'reconstruct', None)
        if reconstruct is not None:
            batch = PairBatch(learner.network, normalise(images0), normalise(images1), extra)
            reconstructed = reconstruct(batch).float().clamp(-1, 1)
            levels = ((reconstructed + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
            rows = [images.cpu().numpy() for images in (images0, images1, levels)]
            return tile_images([image for row in rows for image in row], len(images0))
    return None
