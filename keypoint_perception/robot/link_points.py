"""
Which points of a robot are labelled: origins of links, and points fixed to links from a YAML file.

The file has a point a key: ``finger_tip: {link: panda_leftfinger, offset: [0, 0.007, 0.0535]}``,
the offset from the link's origin in m.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from keypoint_perception.errors import ConfigError
from keypoint_perception.robot.camera_pose import numbers
from keypoint_perception.robot.robot_description import quoted, RobotDescription
from keypoint_perception.yaml_files import read_yaml_file

MOST_POINTS = 1000


class LinkPoint(NamedTuple):
    """A named point in a link's frame; ``offset`` in m."""

    name: str
    link: str
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def is_origin(self) -> bool:
        """Return whether the point is the link's origin, which lies inside of it."""
        return not any(self.offset)


def choose_points(
    robot: RobotDescription, links: Sequence[str], file: Path | None
) -> list[LinkPoint]:
    """
    Return the points to label.

    :param links: whose origins are labelled; empty: all
    :param file: YAML of further points
    :raises ConfigError: if a link is unknown, or a name is there twice
    """
    for link in links:
        if link not in robot.links:
            msg = f'--links {link!r} is no link of the robot; links: {quoted(robot.links, 40)}.'
            raise ConfigError(msg)
    points = [LinkPoint(link, link) for link in dict.fromkeys(links or robot.links)]
    if file is not None:
        taken = {point.name for point in points}
        for point in _read_points(file, robot):
            if point.name in taken:
                msg = f'Points {str(file)!r}: {point.name!r} is a labelled link; rename the point.'
                raise ConfigError(msg)
            points.append(point)
    return points


def _read_points(file: Path, robot: RobotDescription) -> list[LinkPoint]:
    points = []
    try:
        values = read_yaml_file(file)
        if not isinstance(values, dict) or not values:
            raise ValueError('it has no points')
        if len(values) > MOST_POINTS:
            raise ValueError(f'it has more than {MOST_POINTS} points')
        for name, value in values.items():
            if not isinstance(value, dict) or not isinstance(value.get('link'), str):
                raise ValueError(f'point {str(name)!r} has no link')
            if value['link'] not in robot.links:
                raise ValueError(
                    f'point {str(name)!r} is on {value["link"]!r}, which is no link of the robot'
                )
            offset = numbers(value.get('offset'), 3, f'offset of {str(name)!r}')
            points.append(LinkPoint(str(name), value['link'], tuple(offset)))
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        msg = (
            f'Points {str(file)!r} cannot be used ({reason}); expected NAME: {{link: LINK, '
            'offset: [x, y, z]}} with offsets in m.'
        )
        raise ConfigError(msg.replace('}}', '}')) from error
    return points
