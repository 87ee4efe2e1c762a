"""Message types by name: the class to subscribe with, and the definition that a bag stores."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
import re
from typing import Any

from keypoint_perception.errors import ConfigError

SEPARATOR = '=' * 80
FIELD_TYPE = re.compile(r'^[ \t]*(\w[\w/]*)', re.MULTILINE)  # of a line that is no comment
PRIMITIVES = frozenset(
    ['bool', 'byte', 'char', 'float32', 'float64', 'string', 'wstring']
    + [f'{sign}int{bits}' for sign in ('', 'u') for bits in (8, 16, 32, 64)]
)


def message_class(msgtype: str) -> Any:
    """
    Return the class of a message type.

    :param msgtype: as ``sensor_msgs/msg/Image``
    :raises ConfigError: if its package is not installed
    """
    package, _, name = msgtype.partition('/msg/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        msg = (
            f'The message type {msgtype} is not installed on this machine; install the package '
            f'{package} (`apt install ros-$ROS_DISTRO-{package.replace("_", "-")}`), or source '
            'the workspace that builds it.'
        )
        raise ConfigError(msg) from error


def message_definition(msgtype: str) -> str:
    """
    Return the definition of a message type and of all types it contains, as rosbag2 stores it.

    The type's own definition comes first; each of the others follows a line of 80 ``=`` and a line
    ``MSG: package/Name``.

    :param msgtype: as ``sensor_msgs/msg/Image``
    :return: empty if a definition is not installed, as for types written in IDL
    """
    package, _, name = msgtype.partition('/msg/')
    texts: dict[str, str] = {}
    pending = [f'{package}/{name}']
    while pending:
        short = pending.pop(0)
        if short in texts:
            continue
        text = _definition_of(short)
        if text is None:
            return ''
        texts[short] = text
        pending += _types_in(text, short.split('/')[0])
    first, *others = texts
    parts = [texts[first], *(f'{SEPARATOR}\nMSG: {short}\n{texts[short]}' for short in others)]
    return '\n'.join(parts)


def _definition_of(short: str) -> str | None:
    package, _, name = short.partition('/')
    for prefix in filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)):
        path = Path(prefix) / 'share' / package / 'msg' / f'{name}.msg'
        if path.is_file():
            return path.read_text(encoding='utf-8')
    return None


def _types_in(text: str, package: str) -> list[str]:
    """Return the message types that a definition contains, as ``package/Name``."""
    kinds = [kind for kind in FIELD_TYPE.findall(text) if kind not in PRIMITIVES]
    return [kind.replace('/msg/', '/') if '/' in kind else f'{package}/{kind}' for kind in kinds]
