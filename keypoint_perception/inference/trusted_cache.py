"""
A folder that only its user can write, whose files are used only if unchanged.

Each file has a sidecar ``NAME.json`` with its SHA-256 and metadata. This protects contents that
are executed when loaded, such as a compiled engine: the returned bytes were read once from an open
file, and the digest was checked on these bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
import errno
import fcntl
import hashlib
import json
import os
from pathlib import Path
import stat
import time
from typing import Any, NamedTuple

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
SIDECAR = '.json'
LOCK = '.lock'
PART = '.part'
POLL_S = 0.1


class TamperedFileError(Exception):
    """A file must not be used; the message is the reason, as the end of a sentence."""


class LockTimeoutError(Exception):
    """Another process held a lock for too long; the message is its process number."""


class TrustedFile(NamedTuple):
    """A file that is unchanged since it was written, and the other entries of its sidecar."""

    content: bytes
    metadata: dict[str, Any]


@dataclass(frozen=True)
class TrustedFolder:
    """A folder that only its user can write; it need not exist."""

    path: Path

    def create(self) -> None:
        """Create the folder with mode 0700 if it does not exist."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.path.mkdir(mode=0o700)

    def fault(self) -> str:
        """Return why the folder cannot be trusted, or an empty string."""
        try:
            with self._opened() as handle:
                return _fault_of(os.fstat(handle))
        except FileNotFoundError:
            return ''
        except OSError as error:
            return f'it cannot be opened ({error.strerror})'

    def read(self, name: str) -> TrustedFile | None:
        """
        Return a file and its metadata, None if it does not exist.

        :raises TamperedFileError: if it or its sidecar is missing, changed, or writable by others
        """
        try:
            with self._opened() as handle:
                if fault := _fault_of(os.fstat(handle)):
                    raise TamperedFileError(f'its folder is not safe: {fault}')
                content, sidecar = _read_own(handle, name), _read_own(handle, name + SIDECAR)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TamperedFileError(f'it cannot be read ({error.strerror})') from error
        if content is None and sidecar is None:
            return None
        if content is None or sidecar is None:
            raise TamperedFileError('it or its sidecar is missing')
        return TrustedFile(content, _check_sidecar(content, sidecar))

    def write(self, name: str, content: bytes, metadata: dict[str, Any]) -> None:
        """Write a file atomically, then its sidecar."""
        self.create()
        digest = hashlib.sha256(content).hexdigest()
        sidecar = json.dumps(metadata | {'sha256': digest, 'bytes': len(content)}, indent=1)
        with self._opened() as handle:
            _remove(handle, name + SIDECAR)
            _replace(handle, name, content)
            _replace(handle, name + SIDECAR, sidecar.encode())
            os.fsync(handle)

    def remove(self, *names: str) -> None:
        """Remove files if they exist."""
        with suppress(FileNotFoundError), self._opened() as handle:
            for name in names:
                _remove(handle, name)

    def sizes(self) -> dict[str, tuple[int, float]]:
        """Return the size in bytes and the time of last use (epoch, s) of each regular file."""
        found = {}
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found[entry.name] = (status.st_size, status.st_mtime)
        return found

    def touch(self, name: str) -> None:
        """Set the time of last use of a file to now."""
        with suppress(OSError), self._opened() as handle:
            os.utime(name, dir_fd=handle, follow_symlinks=False)

    @contextmanager
    def lock(
        self, name: str, *, timeout_s: float, waiting: Callable[[str, float], None]
    ) -> Iterator[None]:
        """
        Hold an exclusive lock between processes, which the kernel releases if the holder ends.

        :param waiting: called ten times a second with the holder's process number, if known, and
            the seconds waited
        :raises LockTimeoutError: if another process holds the lock for too long
        :raises OSError: if the folder cannot be created or written
        """
        self.create()
        with self._opened() as folder:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(name + LOCK, flags, 0o600, dir_fd=folder)
        try:
            _acquire(handle, timeout_s, waiting)
            os.truncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield handle
        finally:
            os.close(handle)


def _fault_of(status: os.stat_result) -> str:
    """Return why other users could have written a file or folder, or an empty string."""
    if status.st_uid != os.geteuid():
        return f'it belongs to user {status.st_uid} and this process runs as {os.geteuid()}'
    if status.st_mode & WRITABLE_BY_OTHERS:
        return f'others can write it (mode {stat.S_IMODE(status.st_mode):04o})'
    return ''


def _read_own(folder: int, name: str) -> bytes | None:
    """Return a file that only this user could have written, None if there is none."""
    # O_NONBLOCK: a pipe would wait for its writer
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise TamperedFileError(f'{name} is a link') from error
        raise
    with os.fdopen(handle, 'rb') as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise TamperedFileError(f'{name} is no regular file')
        if fault := _fault_of(status):
            raise TamperedFileError(f'{name}: {fault}')
        return stream.read()


def _check_sidecar(content: bytes, sidecar: bytes) -> dict[str, Any]:
    """Return the metadata of a sidecar whose digest matches."""
    try:
        metadata: dict[str, Any] = json.loads(sidecar)
        size, sha256 = metadata.pop('bytes'), metadata.pop('sha256')
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise TamperedFileError('its sidecar cannot be read') from error
    if size != len(content):
        reason = f'it has {len(content)} bytes, and {size} according to its sidecar'
        raise TamperedFileError(reason)
    if sha256 != hashlib.sha256(content).hexdigest():
        raise TamperedFileError('its SHA-256 is not the one in its sidecar')
    return metadata


def _replace(folder: int, name: str, content: bytes) -> None:
    part = f'{name}.{os.getpid()}{PART}'
    _remove(folder, part)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(part, flags, 0o600, dir_fd=folder), 'wb') as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        _remove(folder, part)
        raise


def _remove(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _acquire(handle: int, timeout_s: float, waiting: Callable[[str, float], None]) -> None:
    started = time.monotonic()
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            waited = time.monotonic() - started
            holder = os.pread(handle, 32, 0).decode(errors='replace')
            if waited >= timeout_s:
                raise LockTimeoutError(holder) from error
            waiting(holder, waited)
            time.sleep(POLL_S)
        except OSError:
            return None  # some network file systems have no locks
