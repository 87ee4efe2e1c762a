"""
Graphs that ONNX Runtime optimised once, kept for the next start.

What it makes of a network depends on its version, on the processor (blocks of eight or sixteen
channels) and on the provider; a graph is found by all of that, and by the network's digest. It is
used only as it was written, from a folder that nobody else can write
(:mod:`keypoint_perception.inference.trusted_cache`), not from the model directory, which may be
shared or read-only. Nothing fails because of it: what cannot be used is made anew, what cannot be
kept is made again next time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
import hashlib
import json
import logging
from pathlib import Path
import platform
import re
import tempfile

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.engine_cache import cache_folder, GRAPH
from keypoint_perception.inference.trusted_cache import SIDECAR, TamperedFileError, TrustedFolder

# Counted up when the options that a graph is made with change.
VERSION = 1
MOST_GRAPHS = 32

log = logging.getLogger('keypoint_perception')


@dataclass(frozen=True)
class GraphKey:
    """
    All that an optimised graph depends on.

    :param onnx_sha256: of the network's file
    :param onnxruntime: its version
    :param processor: name and instruction sets
    :param provider: ONNX Runtime's name of it
    :param left_out: optimisers that were not used
    """

    onnx_sha256: str
    onnxruntime: str
    processor: str
    provider: str
    left_out: tuple[str, ...] = ()

    def components(self) -> dict:
        """Return everything the key is made of, as JSON would give it back."""
        return json.loads(json.dumps(asdict(self) | {'version': VERSION}))

    @property
    def name(self) -> str:
        """Return the graph's file name."""
        text = json.dumps(self.components(), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f'ort{self.onnxruntime}-{self.provider.lower()}-{digest}{GRAPH}'


def open_optimised(key: GraphKey, optimise: Callable[[Path], object], load: Callable):
    """
    Return a session of an optimised graph, made now if there is none.

    :param optimise: returns a session of the network, and writes its optimised graph to a path
    :param load: returns a session of an optimised graph, given as bytes
    """
    try:
        folder = TrustedFolder(cache_folder())
    except EngineError as error:
        log.info('Optimised graphs are not kept: %s', error)
        return optimise(None)
    graph = _find(folder, key)
    if graph is not None:
        return load(graph)
    try:
        directory = tempfile.TemporaryDirectory(prefix='keypoint_perception_')
    except OSError as error:
        log.info('Optimised graphs are not kept: %s.', error.strerror or error)
        return optimise(None)
    with directory as name:
        path = Path(name) / 'graph.onnx'
        try:
            session = optimise(path)
        except EngineError:
            return optimise(None)  # there may be no room for the graph; else this says what it is
        _keep(folder, key, path)
    return session


def _find(folder: TrustedFolder, key: GraphKey) -> bytes | None:
    try:
        sealed = folder.read(key.name)
        if sealed is None:
            return None
        if sealed.facts.get('key') != key.components():
            raise TamperedFileError('its sidecar is that of another graph')
    except TamperedFileError as error:
        path = folder.path / key.name
        log.warning('The optimised graph %s is not used and made anew: %s.', path, error)
        return None
    folder.touch(key.name)
    return sealed.content


def _keep(folder: TrustedFolder, key: GraphKey, path: Path) -> None:
    fault = folder.fault()
    try:
        if fault:
            raise OSError(fault)
        folder.write(key.name, path.read_bytes(), {'key': key.components()})
        used = {name: at for name, (_, at) in folder.sizes().items() if name.endswith(GRAPH)}
        for name in sorted(used, key=used.get)[:-MOST_GRAPHS]:
            folder.remove(name, name + SIDECAR)
    except OSError as error:
        reason = error.strerror or error
        log.info('The optimised graph is not kept in %s (%s).', folder.path, reason)


def processor() -> str:
    """Return the processor's name and a digest of its instruction sets."""
    try:
        text = Path('/proc/cpuinfo').read_text()
    except OSError:
        return f'{platform.machine()} {platform.processor()}'
    name = re.search(r'^(?:model name|Model)\s*: (.*)$', text, re.MULTILINE)
    sets = re.search(r'^(?:flags|Features)\s*: (.*)$', text, re.MULTILINE)
    digest = hashlib.sha256(sets.group(1).encode() if sets else b'').hexdigest()[:16]
    return f'{platform.machine()} {name.group(1) if name else ""} {digest}'
