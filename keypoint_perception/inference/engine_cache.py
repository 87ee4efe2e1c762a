"""
Compiled engines on disk, each under all that it depends on.

A compiled engine fits one network, one version of TensorRT and one kind of GPU, and loading it
runs code that it holds. So its name is made of everything that it depends on, and it is loaded
only if it is what was written, in a folder that nobody else can write
(:mod:`keypoint_perception.inference.trusted_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
import hashlib
import json
import logging
import os
from pathlib import Path
import re
import shutil

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.trusted_cache import (
    LOCK,
    LockTimeoutError,
    PART,
    SIDECAR,
    TamperedFileError,
    TrustedFolder,
)

# Counted up when the code that builds changes what comes out.
BUILD_VERSION = 1
CACHE_VARIABLE = 'KEYPOINT_PERCEPTION_ENGINE_CACHE'
LARGEST_CACHE_BYTES = 1 << 30
# Longer than any build of so small a network; a builder that ends frees its lock at once.
LOCK_PATIENCE_S = 1800.0
# Compiled engines, their builder's timings, and the graphs that ONNX Runtime has optimised.
PLAN, TIMINGS, GRAPH = '.plan', '.timings', '.graph.onnx'
# Below the folder: what ONNX Runtime's TensorRT provider keeps.
PROVIDER_CACHE = 'onnxruntime'
OURS = re.compile(rf'.+({PLAN}|{TIMINGS}|{GRAPH})({SIDECAR}|{LOCK}|(?:{SIDECAR})?\.\d+{PART})?')

log = logging.getLogger('keypoint_perception')


@dataclass(frozen=True)
class EngineKey:
    """
    All that a compiled engine depends on.

    :param onnx_sha256: of the network's file
    :param tensorrt: its version
    :param gpu: its name
    :param capability: the GPU's compute capability, as 8.7
    :param multiprocessors: of the GPU; boards of one name are sold with several numbers
    :param platform: operating system and processor
    :param precision: of the network's file
    :param input_hw: px
    :param max_batch: images of one pass, from 1 to this
    :param options: what else the builder is told
    """

    onnx_sha256: str
    tensorrt: str
    gpu: str
    capability: str
    multiprocessors: int
    platform: str
    precision: str
    input_hw: tuple[int, int]
    max_batch: int
    options: dict = field(default_factory=dict)

    def components(self) -> dict:
        """Return everything the key is made of, as JSON would give it back."""
        return json.loads(json.dumps(asdict(self) | {'build_version': BUILD_VERSION}))

    @property
    def name(self) -> str:
        """Return the engine's file name: for people in front, unique at the end."""
        height, width = self.input_hw
        digest = _digest(self.components())[:16]
        return (
            f'trt{_slug(self.tensorrt)}-{_slug(self.gpu)}-sm{_slug(self.capability)}-'
            f'{self.precision}-{width}x{height}-b{self.max_batch}-{digest}{PLAN}'
        )

    @property
    def timings_name(self) -> str:
        """Return the name of the builder's timings, which all engines of a machine share."""
        shared = {'tensorrt', 'gpu', 'capability', 'multiprocessors', 'platform'}
        parts = {name: value for name, value in self.components().items() if name in shared}
        return (
            f'trt{_slug(self.tensorrt)}-{_slug(self.gpu)}-sm{_slug(self.capability)}-'
            f'{_digest(parts)[:16]}{TIMINGS}'
        )


class EngineCache:
    """
    The engines of one user.

    Nothing here fails because of the cache: what cannot be used is said and built anew, what
    cannot be kept is said and built again next time.

    :param path: its folder; None: :func:`cache_folder`
    """

    def __init__(self, path: Path | None = None) -> None:
        self.folder = TrustedFolder(cache_folder() if path is None else Path(path))

    @property
    def path(self) -> Path:
        """Return the folder."""
        return self.folder.path

    def find(self, key: EngineKey) -> bytes | None:
        """Return a compiled engine if there is one that may be loaded."""
        try:
            sealed = self.folder.read(key.name)
            if sealed is None:
                return None
            if sealed.facts.get('key') != key.components():
                raise TamperedFileError('its sidecar is that of another engine')
        except TamperedFileError as error:
            log.warning(
                'The cached engine %s is not loaded and will be built anew: %s.',
                self.path / key.name,
                error,
            )
            return None
        self.folder.touch(key.name)
        return sealed.content

    def store(self, key: EngineKey, plan: bytes, facts: dict) -> bool:
        """
        Keep a compiled engine, and let go of those unused for longest if there is no room.

        :param facts: what else is known of it, for people
        :return: whether it was kept
        """
        return self._keep(key.name, plan, facts | {'key': key.components()})

    def timings(self, key: EngineKey) -> bytes:
        """Return what the builder measured on this machine before, empty if nothing."""
        try:
            sealed = self.folder.read(key.timings_name)
        except TamperedFileError as error:
            log.warning(
                "The builder's timings %s are not used: %s.", self.path / key.timings_name, error
            )
            return b''
        return b'' if sealed is None else sealed.content

    def store_timings(self, key: EngineKey, timings: bytes) -> None:
        """Keep what the builder measured."""
        self._keep(key.timings_name, timings, {})

    def _keep(self, name: str, content: bytes, facts: dict) -> bool:
        fault = self.folder.fault()
        try:
            if fault:
                raise OSError(fault)
            self.folder.write(name, content, facts)
            self._make_room(name)
        except OSError as error:
            log.warning(
                '%s cannot be kept in %s (%s), so the engine will be built again next time; '
                '`chmod 700` the folder, make room, or name another in %s.',
                name,
                self.path,
                error.strerror or error,
                CACHE_VARIABLE,
            )
            return False
        return True

    def _make_room(self, newest: str) -> None:
        sizes = self.folder.sizes()
        total = sum(size for name, (size, _) in sizes.items() if OURS.fullmatch(name))
        plans = [name for name in sizes if name.endswith(PLAN) and name != newest]
        for name in sorted(plans, key=lambda plan: sizes[plan][1]):
            if total <= LARGEST_CACHE_BYTES:
                return
            self.folder.remove(name, name + SIDECAR)
            total -= sum(sizes.get(n, (0, 0.0))[0] for n in (name, name + SIDECAR))
            log.info('removed %s, the engine unused for longest, to make room', self.path / name)

    @contextmanager
    def sole_builder(
        self, key: EngineKey, waiting: Callable[[str, float], None]
    ) -> Iterator[None]:
        """
        Let one process at a time look for an engine and build it.

        :param waiting: as in :meth:`TrustedFolder.lock`
        :raises EngineError: if another process does not come to an end
        """
        if self.folder.fault():
            yield  # nothing there is used, so that there is nothing to share
            return
        try:
            lock = self.folder.lock(key.name, patience_s=LOCK_PATIENCE_S, waiting=waiting)
            lock.__enter__()
        except LockTimeoutError as error:
            msg = (
                f'Process {error} has been building the engine {str(self.path / key.name)!r} for '
                f'more than {LOCK_PATIENCE_S / 60:.0f} minutes; look at it, or end it and start '
                'again.'
            )
            raise EngineError(msg) from error
        except OSError:
            yield  # it will be said when the engine cannot be kept
            return
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def clear(self) -> tuple[int, int]:
        """
        Remove all engines and timings, optimised graphs and what other libraries keep here.

        :return: engines and graphs removed, and bytes
        :raises EngineError: if they cannot be removed
        """
        try:
            ours = {n: size for n, (size, _) in self.folder.sizes().items() if OURS.fullmatch(n)}
            self.folder.remove(*ours)
            if (self.path / PROVIDER_CACHE).is_dir():
                shutil.rmtree(self.path / PROVIDER_CACHE)
        except OSError as error:
            msg = (
                f'The engines in {str(self.path)!r} cannot be removed '
                f'({error.strerror or error}); remove the folder by hand.'
            )
            raise EngineError(msg) from error
        return sum(name.endswith((PLAN, GRAPH)) for name in ours), sum(ours.values())


def cache_folder() -> Path:
    """
    Return where engines are kept.

    :data:`CACHE_VARIABLE` names it; else it is ``keypoint_perception/engines`` in the cache of the
    XDG base directory specification, ``~/.cache`` unless ``XDG_CACHE_HOME`` says otherwise.

    :raises EngineError: if the user has no home
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    base = Path(os.environ.get('XDG_CACHE_HOME', ''))
    if not base.is_absolute():  # relative ones are to be ignored
        try:
            base = Path.home() / '.cache'
        except RuntimeError as error:
            msg = (
                f'This user has no home to keep compiled engines in ({error}); name a folder in '
                f'{CACHE_VARIABLE}.'
            )
            raise EngineError(msg) from error
    return base / 'keypoint_perception' / 'engines'


def _digest(components: dict) -> str:
    return hashlib.sha256(json.dumps(components, sort_keys=True).encode()).hexdigest()


def _slug(text: str) -> str:
    return re.sub(r'[^a-z0-9.]+', '-', text.lower()).strip('-')
