"""
Files and directories that take their name only once they are complete.

Each is written beside its destination, as ``.STEM.part.SUFFIX``, and then renamed: readers find
the old content or the new, never a partial one. The suffix is kept because some libraries choose
the format by it. :func:`sole_writer` keeps other writers out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import fcntl
import os
from pathlib import Path
import shutil

from keypoint_perception.errors import PerceptionError


class PendingFile:
    """
    A file that is being written, at ``part``; it replaces one of the same name.

    As a context manager it is committed at the end of the block, or removed if the block raises.

    :param durable: whether the committed file must survive a power failure
    """

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self.path = path
        self.part = path.with_name(f'.{path.stem}.part{path.suffix}')
        self._durable = durable

    def commit(self) -> None:
        """Rename to the destination."""
        if self._durable:
            _sync(self.part)
        self.part.replace(self.path)
        if self._durable:
            _sync(self.path.parent)

    def discard(self) -> None:
        """Remove what was not committed."""
        self.part.unlink(missing_ok=True)

    def __enter__(self) -> Path:
        return self.part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()


class PendingDirectory(PendingFile):
    """
    A directory that is being written.

    ``part`` has the name of the destination, because bags name their files after it, and does not
    exist yet.

    :param replace: whether :meth:`commit` replaces a directory of the same name, which is at
        :func:`backup_path` until the new one is in its place
    """

    def __init__(self, path: Path, *, replace: bool = False, durable: bool = False) -> None:
        super().__init__(path, durable=durable)
        self._replace = replace
        self._parent, self.part = self.part, self.part / path.name
        self.discard()
        self._parent.mkdir(parents=True)

    def commit(self) -> None:
        backup = backup_path(self.path)
        if self._durable:
            for path in (*self.part.rglob('*'), self.part):
                _sync(path)
        if self._replace and self.path.exists():
            shutil.rmtree(backup, ignore_errors=True)
            self.path.rename(backup)
        self.part.rename(self.path)
        if self._durable:
            _sync(self.path.parent)
        if self._replace:
            shutil.rmtree(backup, ignore_errors=True)

    def discard(self) -> None:
        shutil.rmtree(self._parent, ignore_errors=True)


def backup_path(directory: Path) -> Path:
    """Return where a directory is kept while it is being replaced."""
    return directory.with_name(f'{directory.name}.old')


def replace_file(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file, text as UTF-8, in one step; ``durable`` as in :class:`PendingFile`."""
    with PendingFile(path, durable=durable) as part:
        if isinstance(content, str):
            content = content.encode(errors='backslashreplace')  # names that are not UTF-8
        part.write_bytes(content)


@contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """
    Lock an existing directory against other processes that lock it in the same way.

    The kernel releases the lock when the process ends, and nothing is left on disk.

    :raises PerceptionError: if another process holds the lock
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = (
                f'{str(directory)!r} is being written by another process; wait until it has '
                'finished, or specify another directory.'
            )
            raise PerceptionError(msg) from error
        except OSError:
            pass  # some network file systems have no locks; two writers are not detected there
        yield
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
