"""
Robots that come with Python packages: a description of the same robot, whose meshes are there.

A bag holds the URDF but not its meshes. ``pybullet_data`` and ``example_robot_data`` have those of
common robots. The same robot is one with the same names of links.
"""

from __future__ import annotations

from collections.abc import Iterator
import importlib.util
from pathlib import Path

from keypoint_perception.errors import SourceError
from keypoint_perception.robot.robot_description import RobotDescription
from keypoint_perception.robot.urdf import read_urdf

PACKAGES = ('pybullet_data', 'example_robot_data')
MOST_FILES = 2000


def installed_twin(robot: RobotDescription) -> tuple[RobotDescription, Path] | None:
    """Return an installed description of the same robot and the folder of its file, or None."""
    first = f'"{next(iter(robot.links))}"'.encode()
    for path in _descriptions():
        try:
            if first not in path.read_bytes():
                continue
            other = read_urdf(path)
        except (OSError, SourceError):
            continue
        if set(other.links) == set(robot.links):
            return other, path.parent
    return None


def _descriptions() -> Iterator[Path]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for count, path in enumerate(sorted(Path(folder).rglob('*.urdf'))):
                if count < MOST_FILES:
                    yield path
