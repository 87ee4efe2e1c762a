"""
Files and directories that take their name only once they are complete.

Each is written beside its destination, as ``.STEM.part.SUFFIX``, and then renamed: readers find
the old content or the new, never a partial one. The suffix is kept because some libraries choose
the format by it.
"""

from __future__ import annotations

import os
from pathlib import Path
import shutil


class PendingFile:
    """
    A file that is being written; it replaces one of the same name.

    As a context manager it is committed at the end of the block, or removed if the block raises.

    :param path: the destination
    :param durable: whether the committed file must survive a power failure
    :param part: where to write
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
        :func:`backup_path` between its two renames
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        super().__init__(path)
        self._replace = replace
        self._parent, self.part = self.part, self.part / path.name
        self.discard()
        self._parent.mkdir(parents=True)

    def commit(self) -> None:
        backup = backup_path(self.path)
        if self._replace:
            shutil.rmtree(backup, ignore_errors=True)
            if self.path.exists():
                self.path.rename(backup)
        self.part.rename(self.path)
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
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
