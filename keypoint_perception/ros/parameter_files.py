"""For which nodes the parameter files of a command line are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
import re
from typing import Any, TYPE_CHECKING

from keypoint_perception.errors import ConfigError

if TYPE_CHECKING:
    from rclpy.node import Node

KEY = 'ros__parameters'
MAX_LISTED = 6


def check_parameter_files(arguments: Sequence[str], node: Node, lacking: str) -> None:
    """
    Warn of parameter files without parameters of a node, which ROS ignores without a word.

    :param arguments: the command line, which ROS has accepted
    :param lacking: a parameter that the node needs and was not given; empty if there is none
    :raises ConfigError: if one is lacking, and a file may be meant to have it
    """
    from keypoint_perception.yaml_files import read_yaml_file

    name = node.get_fully_qualified_name()
    files = [a for option, a in pairwise(arguments) if option == '--params-file']
    for file in files:
        names: list[str] = []
        with suppress(OSError, ValueError):  # too large, or gone since ROS has read it
            names = list(_names(read_yaml_file(Path(file))))
        if names and not any(_matches(pattern, name) for pattern in names):
            sentence = (
                f'{file!r} has parameters of {", ".join(names[:MAX_LISTED])}, but none of this '
                f'node, which is {name}: name it there, or /** for all nodes.'
            )
            if lacking:
                raise ConfigError(f'Parameter {lacking} is not set: {sentence}')
            node.get_logger().warning(sentence)


def _names(values: Any, above: str = '') -> Iterator[str]:
    """Yield the full names of the nodes in a parameter file, which may be in nested namespaces."""
    for name, below in values.items() if isinstance(values, dict) else ():
        if name == KEY:
            yield above
        else:
            yield from _names(below, f'{above}/{str(name).strip("/")}')


def _matches(pattern: str, node: str) -> bool:
    """Return whether a name with the wildcards ``*`` and ``**`` is a node's."""
    parts = {'**': r'(/\w+)*', '*': r'/\w+'}
    names = pattern.split('/')[1:]
    return bool(re.fullmatch(''.join(parts.get(n, f'/{re.escape(n)}') for n in names), node))
