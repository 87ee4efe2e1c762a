"""
The weights that a run begins with: those of the package, of another model, or random ones.

The package's own are features that were learned on simulated scenes alone, by ``pretraining/`` in
the repository; they fit the network ``default`` of the usual width at any input size. The head is
made for the recording (:mod:`.initial_head`).
"""

from __future__ import annotations

from importlib.resources import as_file, files
import logging
from pathlib import Path
from typing import NamedTuple

from keypoint_perception.errors import ModelError
from keypoint_perception.json_files import parse_json
from keypoint_perception.learning.initial.initial_head import PointQueries
from keypoint_perception.model.checkpoint import load_network, read_metadata
from keypoint_perception.model.network import Keypointer
from safetensors.torch import load_file
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Values of the setting `init` that are no model directory.
PACKAGE, NONE = 'package', 'none'
WEIGHTS_NAME = 'initial_weights.safetensors'
HEAD, QUERIES = 'body.head.', 'queries.'


class PackageWeights(NamedTuple):
    """
    What comes with the package.

    :param kind: network, width and norm that the weights are for
    :param features: weights of the network without its head, by name
    """

    kind: tuple[str, int, str]
    features: dict[str, Tensor]
    queries: PointQueries


def is_model(init: str) -> bool:
    """Return whether a value of the setting ``init`` is a model directory."""
    return init not in (PACKAGE, NONE, '')


def initialise(network: Keypointer, init: str) -> PointQueries | None:
    """
    Set the initial weights of a network, which are random before, and log where they are from.

    :param init: a model directory, :data:`PACKAGE` or :data:`NONE`
    :return: what makes a head for the features, if it is still random
    :raises ModelError: if there is no such model, or none of its weights match
    """
    if is_model(init):
        source = load_network(Path(init))
        _copy(network, source.state_dict(), init, _described(_kind(source)))
        return None
    if init == PACKAGE:
        package = package_weights()
        if package.kind == _kind(network):
            _copy(network, package.features, 'the package', _described(package.kind))
            return package.queries
        log.info(
            "Initial weights: random, because the package's are for the %s, not the %s.",
            *(_described(package.kind), _described(_kind(network))),
        )
    return None


def package_weights() -> PackageWeights:
    """Return the weights that come with the package."""
    with as_file(files(__package__).joinpath(WEIGHTS_NAME)) as path:
        tensors, metadata = load_file(path), read_metadata(path)
    config = parse_json(metadata['config'])
    queries = PointQueries(config['width'])
    own = {n.removeprefix(QUERIES): t for n, t in tensors.items() if n.startswith(QUERIES)}
    queries.load_state_dict(own)
    features = {n: t for n, t in tensors.items() if not n.startswith(QUERIES)}
    return PackageWeights((config['network'], config['width'], config['norm']), features, queries)


def _kind(network: Keypointer) -> tuple[str, int, str]:
    config = network.config
    return config.network, config.width, config.norm


def _described(kind: tuple[str, int, str]) -> str:
    network, width, norm = kind
    return f'network {network} of width {width} with {norm} norm'


def _copy(network: Keypointer, theirs: dict[str, Tensor], origin: str, kind: str) -> None:
    mine = network.state_dict()
    for weights in (theirs, mine):
        weights.pop('calibration', None)  # of the confidence; it is not learned
    matching = {n: t for n, t in theirs.items() if n in mine and mine[n].shape == t.shape}
    if not matching:
        msg = (
            f'init: none of the weights of {origin!r} ({kind}) match the '
            f'{_described(_kind(network))}; omit network and width to use those of the model.'
        )
        raise ModelError(msg)
    network.load_state_dict(mine | matching, strict=False)
    before, now = (
        {n: 'x'.join(map(str, t.shape)) for n, t in weights.items()} for weights in (theirs, mine)
    )
    others = [f'{n} {before.get(n, "none")} -> {now[n]}' for n in mine if n not in matching]
    random = f'; initialised at random: {", ".join(others)}' if others else ''
    log.info(
        'Initial weights: %d of %d copied from %s%s.', len(matching), len(mine), origin, random
    )
