"""A run that begins with what another one learned."""

from __future__ import annotations

import logging
from pathlib import Path

from keypoint_perception.errors import ModelError
from keypoint_perception.model.checkpoint import load_network
from keypoint_perception.model.network import Keypointer
import torch

log = logging.getLogger('keypoint_perception')


def take_weights(network: Keypointer, model_dir: Path) -> None:
    """
    Put a model's weights into a network where both have the same, and say what was not taken.

    :raises ModelError: if there is no such model, or none of its weights fits
    """
    model_dir = Path(model_dir)
    source = load_network(model_dir)
    theirs, mine = source.state_dict(), network.state_dict()
    for weights in (theirs, mine):
        del weights['calibration']  # of the first model's confidence, and nothing that is learned
    fitting = {n: t for n, t in theirs.items() if n in mine and mine[n].shape == t.shape}
    if not fitting:
        msg = (
            f'init: none of the weights of {str(model_dir)!r} (network {source.config.network}, '
            f'width {source.config.width}) fits the network {network.config.network} of width '
            f'{network.config.width}; leave network and width out, so that they are taken from it.'
        )
        raise ModelError(msg)
    network.load_state_dict(mine | fitting, strict=False)
    others = [
        f'{n} {_shape(theirs[n]) if n in theirs else "none"} -> {_shape(t)}'
        for n, t in mine.items()
        if n not in fitting
    ]
    log.info(
        'Starting from %s: %d of %d weights taken%s.',
        model_dir,
        len(fitting),
        len(mine),
        f'; begun anew: {", ".join(others)}' if others else '',
    )


def _shape(tensor: torch.Tensor) -> str:
    return 'x'.join(str(n) for n in tensor.shape)
