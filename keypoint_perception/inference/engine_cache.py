"""
Compiled engines on disk, keyed by everything they depend on.

A compiled engine fits one network, one version of TensorRT and one type of GPU, and loading it
executes code that it contains. Its name therefore contains a digest of all dependencies, and it is
loaded only if it is unchanged, from a folder that only its user can write
(:mod:`keypoint_perception.inference.trusted_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack, suppress
from dataclasses import asdict, dataclass, field
import hashlib
import json
import logging
import os
from pathlib import Path
import re
import shutil
from typing import Any

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.trusted_cache import (
    LOCK,
    LockTimeoutError,
    PART,
    SIDECAR,
    TamperedFileError,
    TrustedFolder,
)

# Incremented whenever a change to the build code changes the engines.
BUILD_VERSION = 1
CACHE_VARIABLE = 'KEYPOINT_PERCEPTION_ENGINE_CACHE'
MAX_CACHE_BYTES = 1 << 30
# Longer than any build of such a small network; a builder that ends releases its lock at once.
LOCK_TIMEOUT_S = 1800.0
# Compiled engines and the builder's timing caches.
PLAN_SUFFIX, TIMING_SUFFIX = '.plan', '.timings'
# Subfolder of ONNX Runtime's TensorRT provider.
PROVIDER_CACHE = 'onnxruntime'
# Earlier revisions also cached graphs that ONNX Runtime had optimised.
CACHE_FILE = re.compile(
    rf'.+({PLAN_SUFFIX}|{TIMING_SUFFIX}|\.graph\.onnx)'
    rf'({SIDECAR}|{LOCK}|(?:{SIDECAR})?\.\d+{PART})?'
)

log = logging.getLogger('keypoint_perception')


@dataclass(frozen=True)
class EngineKey:
    """
    Everything that a compiled engine depends on.

    :param tensorrt: version
    :param gpu: name
    :param capability: compute capability of the GPU, as 8.7
    :param multiprocessors: of the GPU; boards of the same name differ in it
    :param platform: operating system and processor
    :param max_batch: images per pass, from 1 to this
    :param options: further options of the builder
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
    options: dict[str, Any] = field(default_factory=dict)

    def components(self) -> dict[str, Any]:
        """Return the parts of the key as they are after a round trip through JSON."""
        return asdict(self) | {'input_hw': [*self.input_hw], 'build_version': BUILD_VERSION}

    @property
    def name(self) -> str:
        """Return the engine's file name: readable first, then a unique digest."""
        height, width = self.input_hw
        size = f'{self.precision}-{width}x{height}-b{self.max_batch}'
        return f'{self._prefix}-{size}-{_digest(self.components())}{PLAN_SUFFIX}'

    @property
    def timings_name(self) -> str:
        """Return the name of the timing cache, which all engines of a machine share."""
        shared = {'tensorrt', 'gpu', 'capability', 'multiprocessors', 'platform'}
        parts = {name: value for name, value in self.components().items() if name in shared}
        return f'{self._prefix}-{_digest(parts)}{TIMING_SUFFIX}'

    @property
    def _prefix(self) -> str:
        return f'trt{_slug(self.tensorrt)}-{_slug(self.gpu)}-sm{_slug(self.capability)}'


class EngineCache:
    """
    The compiled engines of one user.

    The cache never makes a build fail: engines that cannot be used are rebuilt, and those that
    cannot be stored are rebuilt next time, both with a warning.

    :param path: folder; None: :func:`cache_folder`
    """

    def __init__(self, path: Path | None = None) -> None:
        self.folder = TrustedFolder(cache_folder() if path is None else Path(path))

    @property
    def path(self) -> Path:
        return self.folder.path

    def find(self, key: EngineKey) -> bytes | None:
        """Return a compiled engine, None if there is none that may be loaded."""
        try:
            file = self.folder.read(key.name)
            if file is None:
                return None
            if file.metadata.get('key') != key.components():
                raise TamperedFileError('its sidecar belongs to another engine')
        except TamperedFileError as error:
            path = self.path / key.name
            log.warning('The cached engine %s is not loaded and will be rebuilt: %s.', path, error)
            return None
        self.folder.touch(key.name)
        return file.content

    def store(self, key: EngineKey, plan: bytes, metadata: dict[str, Any]) -> bool:
        """
        Store a compiled engine, and evict the least recently used ones if the cache is full.

        :param metadata: further entries of its sidecar, for people
        :return: whether it was stored
        """
        return self._write(key.name, plan, metadata | {'key': key.components()})

    def timings(self, key: EngineKey) -> bytes:
        """Return the timing cache of earlier builds on this machine, or empty."""
        try:
            file = self.folder.read(key.timings_name)
        except TamperedFileError as error:
            log.warning('The timing cache %s is ignored: %s.', self.path / key.timings_name, error)
            return b''
        return b'' if file is None else file.content

    def store_timings(self, key: EngineKey, timings: bytes) -> None:
        """Store the builder's timing cache."""
        self._write(key.timings_name, timings, {})

    def _write(self, name: str, content: bytes, metadata: dict[str, Any]) -> bool:
        try:
            if fault := self.folder.fault():
                raise OSError(fault)
            self.folder.write(name, content, metadata)
            self._evict(name)
        except OSError as error:
            log.warning(
                '%s cannot be stored in %s (%s), so the engine will be rebuilt next time; '
                '`chmod 700` the folder, free disk space, or set another folder in %s.',
                name,
                self.path,
                error.strerror or error,
                CACHE_VARIABLE,
            )
            return False
        return True

    def _evict(self, newest: str) -> None:
        """Remove the least recently used engines while the cache is too large."""
        sizes = self.folder.sizes()
        total = sum(size for name, (size, _) in sizes.items() if CACHE_FILE.fullmatch(name))
        plans = [name for name in sizes if name.endswith(PLAN_SUFFIX) and name != newest]
        for name in sorted(plans, key=lambda plan: sizes[plan][1]):
            if total <= MAX_CACHE_BYTES:
                return
            self.folder.remove(name, name + SIDECAR)
            total -= sum(sizes.get(n, (0, 0.0))[0] for n in (name, name + SIDECAR))
            log.info('removed the least recently used engine %s', self.path / name)

    @contextmanager
    def build_lock(self, key: EngineKey, waiting: Callable[[str, float], None]) -> Iterator[None]:
        """
        Let one process at a time look for an engine and build it.

        :param waiting: as in :meth:`TrustedFolder.lock`
        :raises EngineError: if another process holds the lock for too long
        """
        with ExitStack() as stack:
            # an untrusted folder is not used, so there is nothing to share
            if not self.folder.fault():
                lock = self.folder.lock(key.name, timeout_s=LOCK_TIMEOUT_S, waiting=waiting)
                try:
                    with suppress(OSError):  # reported when the engine cannot be stored
                        stack.enter_context(lock)
                except LockTimeoutError as error:
                    msg = (
                        f'Process {error} has been building the engine '
                        f'{str(self.path / key.name)!r} for more than '
                        f'{LOCK_TIMEOUT_S / 60:.0f} minutes; check it, or end it and start again.'
                    )
                    raise EngineError(msg) from error
            yield

    def clear(self) -> tuple[int, int]:
        """
        Remove all engines, timing caches and files of ONNX Runtime's TensorRT provider.

        :return: number of engines removed, and bytes
        :raises EngineError: if they cannot be removed
        """
        try:
            sizes = self.folder.sizes().items()
            removed = {name: size for name, (size, _) in sizes if CACHE_FILE.fullmatch(name)}
            self.folder.remove(*removed)
            if (self.path / PROVIDER_CACHE).is_dir():
                shutil.rmtree(self.path / PROVIDER_CACHE)
        except OSError as error:
            msg = (
                f'The engines in {str(self.path)!r} cannot be removed '
                f'({error.strerror or error}); remove the folder yourself.'
            )
            raise EngineError(msg) from error
        return sum(name.endswith(PLAN_SUFFIX) for name in removed), sum(removed.values())


def cache_folder() -> Path:
    """
    Return the folder of compiled engines.

    It is :data:`CACHE_VARIABLE` if set, else ``keypoint_perception/engines`` in the XDG cache
    directory, ``XDG_CACHE_HOME`` or ``~/.cache``.

    :raises EngineError: if the user has no home directory
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = Path(os.environ.get('XDG_CACHE_HOME', ''))
    if not base.is_absolute():  # the specification ignores relative paths
        try:
            base = Path.home() / '.cache'
        except RuntimeError as error:
            msg = (
                f'This user has no home directory for compiled engines ({error}); set a folder in '
                f'{CACHE_VARIABLE}.'
            )
            raise EngineError(msg) from error
    return base / 'keypoint_perception' / 'engines'


def _digest(components: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(components, sort_keys=True).encode()).hexdigest()[:16]


def _slug(text: str) -> str:
    return re.sub(r'[^a-z0-9.]+', '-', text.lower()).strip('-')
