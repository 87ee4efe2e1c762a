"""
YAML files whose size and depth are bounded before and while they are read.

Aliases and tags are refused, as ROS refuses them in parameter files: a few lines of aliases can
stand for gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keypoint_perception.limits import check_file_size
import yaml

MAX_DEPTH = 32
MAX_VALUES = 200_000  # with keys; a bag of 10,000 files has 130,000
MAX_NUMBER_CHARACTERS = 1000
Loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


def read_yaml_file(path: Path) -> Any:
    """
    Return the value of a YAML file.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is too large or no YAML, or has what is refused; the message is a
        reason
    """
    check_file_size(path, 'max_yaml_mb')
    return parse_yaml(path.read_bytes().decode('utf-8-sig'))


def parse_yaml(text: str) -> Any:
    """
    Return the value of YAML.

    :raises ValueError: as :func:`read_yaml_file`
    """
    try:
        for line, reason in _refusals(text):
            raise ValueError(f'line {line} {reason}')
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        place = f'line {mark.line + 1}: ' if mark else ''
        reason = ' '.join(str(getattr(error, 'problem', None) or error).split())
        raise ValueError(f'{place}{reason}') from error


def _refusals(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of what is refused, each with a clause."""
    # the keys of each open mapping, None for a sequence, and whether a key is next
    groups: list[tuple[set[str] | None, bool]] = []
    values = 0
    for event in yaml.parse(text, Loader):
        mark: Any = event.start_mark
        line = mark.line + 1
        if isinstance(event, yaml.CollectionEndEvent):
            groups.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        values += 1
        if values > MAX_VALUES:
            yield line, f'exceeds the {MAX_VALUES} values that are read'
        if isinstance(event, yaml.AliasEvent):
            yield line, f'has the alias *{event.anchor}; write the value itself'
        if tag := getattr(event, 'tag', None):
            yield line, f'has the tag {tag}; write a plain value'
        scalar = event.value if isinstance(event, yaml.ScalarEvent) else ''
        plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        if plain and len(scalar) > MAX_NUMBER_CHARACTERS and scalar[0] in '+-.0123456789':
            yield line, f'has a number of {len(scalar)} characters'
        keys, is_key = groups[-1] if groups else (None, False)
        if keys is not None and scalar and is_key:
            if scalar in keys:
                yield line, f'has the key {scalar!r} again; keep one'
            keys.add(scalar)
        if groups:
            groups[-1] = keys, not is_key
        if isinstance(event, yaml.CollectionStartEvent):
            groups.append((set() if isinstance(event, yaml.MappingStartEvent) else None, True))
        if len(groups) > MAX_DEPTH:
            yield line, f'is nested more than {MAX_DEPTH} deep'
