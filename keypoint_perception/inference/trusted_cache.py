"""
A folder that only its user can write, and files in it that are used only as they were written.

Each file has a sidecar ``NAME.json`` with its SHA-256 and with what its writer knew of it. For
contents that run as code when they are loaded, as a compiled engine does: what is returned was
read once from an open file, and these very bytes have the digest.
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
from typing import NamedTuple

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
SIDECAR = '.json'
LOCK = '.lock'
PART = '.part'
POLL_S = 0.1


class TamperedFileError(Exception):
    """A file must not be used; the message says why, as the end of a sentence."""


class LockTimeoutError(Exception):
    """Another process has held a lock for longer than the caller waits; carries its number."""


class TrustedFile(NamedTuple):
    """
    A file that is as it was written.

    :param facts: what the sidecar says besides
    """

    content: bytes
    facts: dict


@dataclass(frozen=True)
class TrustedFolder:
    """
    The folder.

    :param path: need not exist
    """

    path: Path

    def create(self) -> None:
        """
        Make the folder where it does not exist, for its user alone.

        :raises OSError: if that cannot be
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.path.mkdir(mode=0o700)

    def fault(self) -> str:
        """Return why files of the folder must not be used; empty if they may be, or if none is."""
        try:
            with self._opened() as handle:
                return _fault_of(os.fstat(handle))
        except FileNotFoundError:
            return ''
        except OSError as error:
            return f'it cannot be opened ({error.strerror})'

    def read(self, name: str) -> TrustedFile | None:
        """
        Return a file with its sidecar, None if there is neither.

        :raises TamperedFileError: if either is missing, changed, or writable by others
        """
        try:
            with self._opened() as handle:
                fault = _fault_of(os.fstat(handle))
                if fault:
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
        return TrustedFile(content, _checked_facts(content, sidecar))

    def write(self, name: str, content: bytes, facts: dict) -> None:
        """
        Write a file and its sidecar, each at once and none in half; the sidecar is the last.

        :raises OSError: if they cannot be written
        """
        self.create()
        digest = hashlib.sha256(content).hexdigest()
        sidecar = json.dumps(facts | {'sha256': digest, 'bytes': len(content)}, indent=1)
        with self._opened() as handle:
            _remove(handle, name + SIDECAR)
            _write_at_once(handle, name, content)
            _write_at_once(handle, name + SIDECAR, sidecar.encode())
            os.fsync(handle)

    def remove(self, *names: str) -> None:
        """Remove files where they exist."""
        with suppress(FileNotFoundError), self._opened() as handle:
            for name in names:
                _remove(handle, name)

    def sizes(self) -> dict[str, tuple[int, float]]:
        """Return the bytes and the time of last use of each regular file, s since the epoch."""
        found = {}
        with suppress(FileNotFoundError), os.scandir(self.path) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found[entry.name] = (status.st_size, status.st_mtime)
        return found

    def touch(self, name: str) -> None:
        """Remember that a file was used just now."""
        with suppress(OSError), self._opened() as handle:
            os.utime(name, dir_fd=handle, follow_symlinks=False)

    @contextmanager
    def lock(
        self,
        name: str,
        *,
        patience_s: float,
        waiting: Callable[[str, float], None] = lambda holder, seconds: None,
    ) -> Iterator[None]:
        """
        Let one process at a time past; the kernel frees the lock of a process that ends.

        :param waiting: called ten times a second with the holder's process number, if that is
            known, and the seconds waited
        :raises LockTimeoutError: if another process keeps the lock for too long
        :raises OSError: if the folder cannot be made or written
        """
        self.create()
        with self._opened() as folder:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(name + LOCK, flags, 0o600, dir_fd=folder)
        try:
            _acquire(handle, patience_s, waiting)
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
    """Return why others could have written a file or folder."""
    if status.st_uid != os.geteuid():
        return f'it belongs to user {status.st_uid} and this process runs as {os.geteuid()}'
    if status.st_mode & WRITABLE_BY_OTHERS:
        return f'others can write it (mode {stat.S_IMODE(status.st_mode):04o})'
    return ''


def _read_own(folder: int, name: str) -> bytes | None:
    """Return a file that nobody else could have written, None if there is none."""
    # without waiting for a writer, should it be a pipe
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
        fault = _fault_of(status)
        if fault:
            raise TamperedFileError(f'{name}: {fault}')
        return stream.read()


def _checked_facts(content: bytes, sidecar: bytes) -> dict:
    try:
        facts = json.loads(sidecar)
        wanted = (facts.pop('bytes'), facts.pop('sha256'))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise TamperedFileError('its sidecar cannot be read') from error
    if wanted[0] != len(content):
        raise TamperedFileError(f'it has {len(content)} bytes and its sidecar says {wanted[0]}')
    if wanted[1] != hashlib.sha256(content).hexdigest():
        raise TamperedFileError('its SHA-256 is not the one in its sidecar')
    return facts


def _write_at_once(folder: int, name: str, content: bytes) -> None:
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


def _acquire(handle: int, patience_s: float, waiting: Callable[[str, float], None]) -> None:
    started = time.monotonic()
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            waited = time.monotonic() - started
            holder = os.pread(handle, 32, 0).decode(errors='replace')
            if waited >= patience_s:
                raise LockTimeoutError(holder) from error
            waiting(holder, waited)
            time.sleep(POLL_S)
        except OSError:
            return  # some network file systems have no locks; there two may build at once
        else:
            return
