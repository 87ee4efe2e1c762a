"""Initial weights from another model."""

from __future__ import annotations

import logging
from pathlib import Path

from keypoint_perception.errors import ModelError
from keypoint_perception.model.checkpoint import load_network
from keypoint_perception.model.network import Keypointer
import torch

log = logging.getLogger('keypoint_perception')


def load_initial_weights(network: Keypointer, model_dir: Path) -> None:
    """
    Copy those weights of a model whose names and shapes match, and log the others.

    :raises ModelError: if there is no such model, or none of its weights match
    """
    model_dir = Path(model_dir)
    source = load_network(model_dir)
    theirs, mine = source.state_dict(), network.state_dict()
    for weights in (theirs, mine):
        del weights['calibration']  # of the confidence; it is not learned
    matching = {n: t for n, t in theirs.items() if n in mine and mine[n].shape == t.shape}
    if not matching:
        msg = (
            f'init: none of the weights of {str(model_dir)!r} (network {source.config.network}, '
            f'width {source.config.width}) match the network {network.config.network} of width '
            f'{network.config.width}; omit network and width to use those of the model.'
        )
        raise ModelError(msg)
    network.load_state_dict(mine | matching, strict=False)
    others = [
        f'{n} {_shape(theirs[n]) if n in theirs else "none"} -> {_shape(t)}'
        for n, t in mine.items()
        if n not in matching
    ]
    log.info(
        'Initial weights: %d of %d copied from %s%s.',
        len(matching),
        len(mine),
        model_dir,
        f'; initialised at random: {", ".join(others)}' if others else '',
    )


def _shape(tensor: torch.Tensor) -> str:
    return 'x'.join(str(n) for n in tensor.shape)
