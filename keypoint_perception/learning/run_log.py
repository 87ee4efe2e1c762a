"""
What a run leaves for people to look at while it goes on.

``history.csv`` (one row per interval), ``tensorboard/`` and ``overlays/``: pictures of the
averaged network's keypoints on frames of the recording.
"""

from __future__ import annotations

from collections.abc import Sequence
import csv
from pathlib import Path

import cv2
from keypoint_perception.drawing import draw_keypoints, Edge, tile_images
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

OVERLAY_FRAMES = 12


class RunLog:
    """Writes a run's history; rows behind the step from which it is resumed are dropped."""

    def __init__(self, out: Path, terms: tuple[str, ...], *, from_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._out = out
        self._columns = ('step', 'elapsed_s', 'rate', 'pairs_per_s', 'loss', *terms)
        out.mkdir(parents=True, exist_ok=True)
        self._path = out / HISTORY_NAME
        kept = [row for row in read_history(out) if int(row['step']) <= from_step]
        with self._path.open('w', newline='') as stream:
            writer = csv.DictWriter(stream, self._columns)
            writer.writeheader()
            writer.writerows(kept)
        self._board = SummaryWriter(str(out / TENSORBOARD_NAME), purge_step=from_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add a row: every column but the step by its name."""
        with self._path.open('a', newline='') as stream:
            csv.DictWriter(stream, self._columns).writerow({'step': step} | values)
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def picture(
        self,
        step: int,
        network: Keypointer,
        frames: Tensor,
        skeleton: Sequence[Edge] = (),
    ) -> Path:
        """
        Write a picture of the keypoints on some frames.

        :param frames: (N, H, W, 3) uint8
        :param skeleton: edges that the objective has learned so far
        """
        every = max(1, len(frames) // OVERLAY_FRAMES)
        chosen = frames[::every][:OVERLAY_FRAMES]
        with torch.no_grad():
            found = network(chosen).cpu().numpy()
        scale = max(1, 256 // max(chosen.shape[1:3]))
        pictures = [
            draw_keypoints(image, keypoints, scale=scale, skeleton=skeleton)
            for image, keypoints in zip(chosen.cpu().numpy(), found, strict=True)
        ]
        sheet = tile_images(pictures, 4)
        path = self._out / OVERLAYS_NAME / step_name(step, '.png')
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        self._board.add_image('keypoints', sheet, step, dataformats='HWC')
        return path

    def keep_picture(self, name: str, rgb: np.ndarray, step: int) -> None:
        """Write a picture of the whole run, (H, W, 3) uint8, under a name of its own."""
        cv2.imwrite(str(self._out / name), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        self._board.add_image(Path(name).stem, rgb, step, dataformats='HWC')

    def close(self) -> None:
        """Flush what is still to be written."""
        self._board.close()
