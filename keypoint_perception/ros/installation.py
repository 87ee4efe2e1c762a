"""Where ROS and this package are installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
import sys

from keypoint_perception.errors import ConfigError

PACKAGE = 'keypoint_perception'
DDS_PROFILE = 'fastdds_large_images.xml'
# Fast DDS up to Jazzy reads the first, Fast DDS 3 the second.
DDS_PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def find_ros() -> None:
    """
    Check that ROS can be imported, and let it find its own files; call it before ``rclpy.init``.

    ROS from wheels is in a virtual environment, which is an ament prefix that nobody has sourced:
    it is added to AMENT_PREFIX_PATH. A sourced installation is left as it is.

    :raises ConfigError: if there is no ROS
    """
    found = importlib.util.find_spec('rclpy')
    if found is None or found.origin is None:
        msg = (
            f'{sys.executable} cannot find ROS 2 (rclpy); source a ROS 2 installation '
            '(`source /opt/ros/jazzy/setup.bash`), or install its wheels with this package and '
            "its extra: `pip install -e '.[ros]'`."
        )
        raise ConfigError(msg)
    prefix = Path(sys.prefix)
    marker = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'rclpy'
    if not marker.is_file() or prefix not in Path(found.origin).parents:
        return
    prefixes = [p for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    if str(prefix) not in prefixes:
        os.environ['AMENT_PREFIX_PATH'] = os.pathsep.join([*prefixes, str(prefix)])


def shipped_file(folder: str, name: str) -> Path:
    """Return the installed path of a file in this package's ``config`` or ``launch`` folder."""
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    places = [Path(p) / 'share' / PACKAGE for p in [*prefixes, sys.prefix] if p]
    places.append(Path(__file__).parents[2])  # the source tree
    found = (place / folder / name for place in places if (place / folder / name).is_file())
    return next(found, Path(f'share/{PACKAGE}') / folder / name)


def dds_profile_in_use() -> str | None:
    """Return the Fast DDS profile that this process was started with, if any."""
    return next((os.environ[v] for v in DDS_PROFILE_VARIABLES if os.environ.get(v)), None)
