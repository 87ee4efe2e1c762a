"""Defaults derived from other settings: the labels' keypoints, the initial model's network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keypoint_perception.frames.annotations import read_annotations
from keypoint_perception.model.checkpoint import load_network


def derived_defaults(stated: dict[str, Any]) -> dict[str, Any]:
    """
    Return defaults derived from the stated settings, which take precedence over them.

    :raises ModelError: if the initial model cannot be read
    :raises SourceError: if the annotations cannot be read
    """
    derived: dict[str, Any] = {}
    if stated.get('init'):
        config = load_network(Path(str(stated['init']))).config
        derived = {
            name: getattr(config, name)
            for name in ('network', 'keypoints', 'width', 'norm', 'window', 'stacks')
        }
        derived['size'] = max(config.input_hw)
    if stated.get('annotations'):
        derived['keypoints'] = len(read_annotations(Path(str(stated['annotations']))).names)
    return derived
