"""Settings that follow from others: as many keypoints as labels, the network of a first model."""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.frames.annotations import read_annotations
from keypoint_perception.model.checkpoint import load_network


def derived_defaults(named: dict) -> dict:
    """
    Return the settings that what a user named goes with; what the user named goes before them.

    :param named: settings by name
    :raises ModelError: if the model to begin with cannot be read
    :raises SourceError: if the annotations cannot be read
    """
    implied = {}
    if named.get('init'):
        config = load_network(Path(str(named['init']))).config
        implied = {
            name: getattr(config, name)
            for name in ('network', 'keypoints', 'width', 'norm', 'window', 'stacks')
        }
        implied['size'] = max(config.input_hw)
    if named.get('annotations'):
        implied['keypoints'] = len(read_annotations(Path(str(named['annotations']))).names)
    return implied
