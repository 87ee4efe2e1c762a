"""A lock that lets one process at a time write a directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import fcntl
import os
from pathlib import Path

from keypoint_perception.errors import PerceptionError


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
