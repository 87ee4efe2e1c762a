"""
What programs say about exceptions that nobody expected: of libraries, the system, or a bug.

Every entrance, the command line as well as a node's executor, ends in :func:`fault_sentence`, so
that no exception leaves a traceback on the screen.
"""

from __future__ import annotations

import errno
from importlib.metadata import metadata, PackageNotFoundError
import os
from pathlib import Path
import re
import sys
import tempfile
import traceback

from keypoint_perception.errors import PerceptionError

PACKAGE = 'keypoint_perception'
FULL = 'make room, then run the same command again'
# In the words of PyTorch, OpenCV and ONNX Runtime.
OUT_OF_MEMORY = re.compile(
    "out of memory|n't allocate memory|insufficient memory|failed to allocate|bad.alloc", re.I
)
UNDECODED = re.compile(r'\S*[\udc80-\udcff]\S*')  # what Python makes of bytes that are not UTF-8
# What the user can do about an error of the system.
REMEDIES = {
    errno.EACCES: 'check its permissions, or choose another path',
    errno.EDQUOT: FULL,
    errno.EEXIST: 'move it away, or choose another path',  # a file where a directory is needed
    errno.EFBIG: 'raise the limit of file sizes (`ulimit -f`), or use another file system',
    errno.EIO: 'check the disk',
    errno.EISDIR: 'choose the path of a file',
    errno.ELOOP: 'remove the link that leads to itself',
    errno.EMFILE: 'raise the limit of open files with `ulimit -n`',
    errno.ENAMETOOLONG: 'choose a shorter name',
    errno.ENOENT: 'check the path',
    errno.ENOSPC: FULL,
    errno.ENOTDIR: 'choose a path in a directory',
    errno.EPERM: 'check its permissions, or choose another path',
    errno.EROFS: 'choose a path on a file system that is writable',
}


def fault_sentence(error: BaseException) -> str:
    """
    Return what is wrong and what to do, for any exception.

    The traceback of a bug is kept in a file, which the sentence names.
    """
    if isinstance(error, PerceptionError):
        return str(error)
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        return (
            'Memory is exhausted; close other programs, give smaller input, or to train, set a '
            'smaller batch_size.'
        )
    if isinstance(error, UnicodeEncodeError) and (name := UNDECODED.search(error.object)):
        return f'The name {name[0]!r} is not UTF-8, which some libraries require; rename it.'
    if type(error).__name__ == 'RCLError':
        return (
            f'ROS refuses this ({str(error).partition(", at /")[0]}); check the remappings, as a '
            'topic can have only one type, and the ROS_ and RMW_ variables.'
        )
    number = system_error(error)
    if number in REMEDIES:
        name = getattr(error, 'filename', None)
        path = '' if name is None else f': {os.fspath(name)!r}'
        what = getattr(error, 'strerror', None) or os.strerror(number)
        return f'{what}{path}; {REMEDIES[number]}.'
    reason = ' '.join(str(error).split())[:200] or 'no reason given'
    return (
        f'This is a bug of {PACKAGE} ({type(error).__name__}: {reason}); please report it to '
        f'{_maintainers()} with {_keep_traceback(error)!r}.'
    )


def system_error(error: BaseException | None) -> int:
    """
    Return the number of the system's error behind an exception, 0 if there is none.

    Some libraries wrap it in exceptions of their own, which repeat its text alone.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if not isinstance(error, OSError):
            text = str(error)
            if text.startswith('Symlink loop'):  # of pathlib, before Python 3.13
                return errno.ELOOP
            for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                if os.strerror(number) in text:
                    return number
        error = error.__cause__
    return 0


def _maintainers() -> str:
    try:
        return metadata(PACKAGE)['Maintainer-email'] or 'its maintainers'
    except (PackageNotFoundError, KeyError):
        return 'its maintainers'


def _keep_traceback(error: BaseException) -> str:
    """Write the traceback to a file and return its path, or the last line where none can be."""
    lines = [f'{" ".join(sys.argv)}\n', *traceback.format_exception(error)]
    try:
        handle, name = tempfile.mkstemp(prefix=f'{PACKAGE}_', suffix='.log')
        with os.fdopen(handle, 'w', errors='backslashreplace') as file:
            file.writelines(lines)
    except OSError:
        return lines[-1].strip()
    return str(Path(name))
