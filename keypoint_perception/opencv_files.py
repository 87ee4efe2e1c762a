"""Names under which OpenCV opens files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import tempfile


@contextmanager
def opencv_name(path: Path) -> Iterator[str]:
    """
    Provide a name of a file, which need not exist yet, for OpenCV's video functions.

    They take what precedes a colon in a relative name for a protocol and crash on names that are
    not UTF-8: the former become absolute, the latter are replaced by a temporary link.
    """
    absolute = str(path.absolute())
    try:
        absolute.encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
            link = Path(directory, f'video{path.suffix}')
            link.symlink_to(absolute)
            yield str(link)
    else:
        yield absolute
