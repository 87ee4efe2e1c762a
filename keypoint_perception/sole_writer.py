"""One process at a time writes a directory."""

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
    Keep other processes from writing a directory that exists, as long as they ask here too.

    The lock is the kernel's and goes with the process, however that ends: nothing is left behind.

    :raises PerceptionError: if another process writes there
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = (
                f'{str(directory)!r} is being written by another process; wait for its end, or '
                'name another directory.'
            )
            raise PerceptionError(msg) from error
        except OSError:
            pass  # some network file systems have no locks; there two writers are not noticed
        yield
    finally:
        os.close(handle)
