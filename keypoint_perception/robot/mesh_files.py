"""
The corners of mesh files: OBJ and STL.

Only corners are read, as a link's shape is their convex hull. A file is looked for where
``package://`` leads in this environment, beside the URDF, and in folders that were given.
"""

from __future__ import annotations

from collections.abc import Sequence
import os
from pathlib import Path
import struct

from keypoint_perception.limits import check_file_size
import numpy as np

STL_HEADER_BYTES, STL_TRIANGLE_BYTES = 84, 50


def find_mesh(file: str, folders: Sequence[Path]) -> Path | None:
    """
    Return the path of a mesh, None if there is no such file.

    :param file: as in the URDF: ``package://name/path``, ``file://path`` or a path
    :param folders: where to look besides, each holding packages or their contents
    """
    scheme, separator, rest = file.partition('://')
    if not separator:
        scheme, rest = '', file
    places: list[Path] = []
    if scheme in ('package', 'model'):
        package, _, inside = rest.partition('/')
        for prefix in filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)):
            places.append(Path(prefix) / 'share' / package / inside)
        for prefix in filter(None, os.environ.get('ROS_PACKAGE_PATH', '').split(os.pathsep)):
            places += [Path(prefix) / package / inside, Path(prefix).parent / package / inside]
        for folder in folders:
            places += [folder / package / inside, folder / inside]
    elif scheme in ('', 'file'):
        places = [Path(rest), *(folder / rest for folder in folders)]
    for place in places:
        try:
            if place.is_file():
                return place
        except (OSError, ValueError):  # a name that no file can have
            continue
    return None


def read_corners(path: Path) -> np.ndarray:
    """
    Return the corners (N, 3) of a mesh, in its own units.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is too large, of an unknown format, or has no corner; the message is
        a reason
    """
    check_file_size(path, 'max_mesh_mb')
    content = path.read_bytes()
    readers = {'.obj': _obj, '.stl': _stl}
    if path.suffix.lower() not in readers:
        raise ValueError(f'its format {path.suffix!r} is not one of {", ".join(readers)}')
    try:
        corners = readers[path.suffix.lower()](content)
    except struct.error as error:
        raise ValueError(f'it is damaged: {error}') from error
    finite: np.ndarray = corners[np.isfinite(corners).all(axis=1)]
    if not len(finite):
        raise ValueError('it has no corner')
    return finite


def _obj(content: bytes) -> np.ndarray:
    rows = [line.split()[1:4] for line in content.splitlines() if line.startswith(b'v ')]
    return np.array([row for row in rows if len(row) == 3], np.float64).reshape(-1, 3)


def _stl(content: bytes) -> np.ndarray:
    count = 0
    if len(content) >= STL_HEADER_BYTES:
        (count,) = struct.unpack_from('<I', content, STL_HEADER_BYTES - 4)
    if len(content) == STL_HEADER_BYTES + count * STL_TRIANGLE_BYTES:
        row = np.dtype([('normal', '<f4', 3), ('corners', '<f4', (3, 3)), ('rest', '<u2')])
        triangles = np.frombuffer(content, row, count, STL_HEADER_BYTES)
        corners: np.ndarray = np.concatenate(triangles['corners'].astype(np.float64))
        return corners
    rows = [line.split()[1:4] for line in content.splitlines() if b'vertex' in line]
    return np.array([row for row in rows if len(row) == 3], np.float64).reshape(-1, 3)
