"""Message types by name: the class to subscribe with, and the definition that a bag stores."""

from __future__ import annotations

import importlib
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
import os
from pathlib import Path
import re
import sys
from typing import Any

from keypoint_perception.errors import ConfigError

SEPARATOR = '=' * 80
FIELD_TYPE = re.compile(r'^[ \t]*(\w[\w/]*)', re.MULTILINE)  # of a line that is no comment
MESSAGE_TYPE = re.compile(r'([a-z]\w*)/msg/([A-Z]\w*)', re.ASCII)
PRIMITIVES = frozenset(
    ['bool', 'byte', 'char', 'float32', 'float64', 'string', 'wstring']
    + [f'{sign}int{bits}' for sign in ('', 'u') for bits in (8, 16, 32, 64)]
)


def message_class(msgtype: str) -> Any:
    """
    Return the class of a message type.

    Anyone on the network can publish under any type name. Therefore only packages that an ament
    prefix lists as ROS interfaces are imported, and only from that prefix.

    :param msgtype: as ``sensor_msgs/msg/Image``
    :raises ConfigError: if its package is not installed
    """
    parts = MESSAGE_TYPE.fullmatch(msgtype)
    if parts is None:
        msg = (
            f'{msgtype!r} is no message type; only types such as std_msgs/msg/String are recorded.'
        )
        raise ConfigError(msg)
    package, name = parts.groups()
    try:
        _import_interfaces(package)
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        msg = (
            f'The message type {msgtype} is not installed on this machine; install the package '
            f'{package} (`apt install ros-$ROS_DISTRO-{package.replace("_", "-")}`), or source '
            'the workspace that builds it.'
        )
        raise ConfigError(msg) from error


def _import_interfaces(package: str) -> None:
    """Import a package of ROS interfaces from its ament prefix, wherever else its name exists."""
    index = Path('share', 'ament_index', 'resource_index', 'rosidl_interfaces', package)
    prefix = next((p.resolve() for p in _prefixes() if (p / index).is_file()), None)
    if prefix is None:
        raise ModuleNotFoundError(package)
    if package in sys.modules:
        return
    places = [p for p in sys.path if Path(p).name in ('site-packages', 'dist-packages')]
    inside = [p for p in places if prefix in Path(p).resolve().parents]
    spec = PathFinder.find_spec(package, inside)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(package)
    module = sys.modules[package] = module_from_spec(spec)
    spec.loader.exec_module(module)


def _prefixes() -> list[Path]:
    return [Path(p) for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]


def message_definition(msgtype: str) -> str:
    """
    Return the definition of a message type and of all types it contains, as rosbag2 stores it.

    The type's own definition comes first; each of the others follows a line of 80 ``=`` and a line
    ``MSG: package/Name``.

    :param msgtype: as ``sensor_msgs/msg/Image``
    :return: empty if a definition is not installed, as for types written in IDL
    """
    known = MESSAGE_TYPE.fullmatch(msgtype)
    texts: dict[str, str] = {}
    pending = [] if known is None else ['/'.join(known.groups())]
    while pending:
        short = pending.pop(0)
        if short in texts:
            continue
        text = _definition_of(short)
        if text is None:
            return ''
        texts[short] = text
        pending += _types_in(text, short.split('/')[0])
    if not texts:
        return ''
    first, *others = texts
    parts = [texts[first], *(f'{SEPARATOR}\nMSG: {short}\n{texts[short]}' for short in others)]
    return '\n'.join(parts)


def _definition_of(short: str) -> str | None:
    package, _, name = short.partition('/')
    for prefix in _prefixes():
        path = prefix / 'share' / package / 'msg' / f'{name}.msg'
        if path.is_file() and os.access(path, os.R_OK):
            return path.read_text(encoding='utf-8', errors='replace')
    return None


def _types_in(text: str, package: str) -> list[str]:
    """Return the message types that a definition contains, as ``package/Name``."""
    kinds = [kind for kind in FIELD_TYPE.findall(text) if kind not in PRIMITIVES]
    return [kind.replace('/msg/', '/') if '/' in kind else f'{package}/{kind}' for kind in kinds]
