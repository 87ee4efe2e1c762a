"""JSON files whose size and depth are bounded before and while they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keypoint_perception.limits import check_file_size

MAX_DEPTH = 64


def read_json(path: Path) -> Any:
    """
    Return the value of a JSON file.

    :raises OSError: if it cannot be read
    :raises ValueError: if it is no JSON, too large or nested too deeply; the message is a reason
    """
    check_file_size(path, 'max_json_mb')
    return parse_json(path.read_bytes())


def parse_json(text: str | bytes) -> Any:
    """
    Return the value of JSON.

    :raises ValueError: as :func:`read_json`
    """
    try:
        value = json.loads(text)
        deep = _is_deep(value)
    except RecursionError:
        deep = True
    if deep:
        raise ValueError(f'it is nested more than {MAX_DEPTH} deep')
    return value


def _is_deep(value: Any) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        groups = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for group in groups for item in group if isinstance(item, (dict, list))]
        if not level:
            return False
    return True
