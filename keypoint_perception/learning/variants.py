"""Variants of a configuration, given on a command line, for runs that are compared."""

from __future__ import annotations

import copy
from pathlib import Path
import shlex
from typing import Any

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.composite_objective import learns_from_labels
from keypoint_perception.learning.config import read_config, read_yaml, to_values, TrainConfig
from keypoint_perception.settings import current_names, from_yaml
from keypoint_perception.yaml_files import parse_yaml


def variants_of(
    objectives: list[str], configs: list[Path], changes: list[str], common: list[str]
) -> dict[str, dict[str, Any]]:
    """
    Return the settings of each variant by its name.

    Objectives and files are variants; each change adds a variant of each of them, or of the
    defaults if there are none.

    :param configs: YAML files, whose stems are their names
    :param changes: ``[NAME:] KEY=VALUE ...``, with dotted keys for nested settings
    :param common: ``KEY=VALUE`` for all
    :raises ConfigError: if a text cannot be read or two variants have one name
    """
    bases = [(name, {'objective': name}) for name in objectives]
    bases += [(path.stem, read_yaml(path)) for path in configs]
    bases = bases or [('defaults', {})]
    shared = read_assignments(common)
    found: list[tuple[str, dict[str, Any]]] = []
    for base_name, base in bases:
        found.append((base_name, changed(base, shared)))
        for text in changes:
            name, values = read_change(text)
            full = name if len(bases) == 1 else f'{base_name}, {name}'
            found.append((full, changed(base, shared | values)))
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            msg = f'Two variants are called {name!r}; give each a name of its own.'
            raise ConfigError(msg)
    return dict(found)


def read_change(text: str) -> tuple[str, dict[str, Any]]:
    """Return name and values of ``[NAME:] KEY=VALUE ...``; the default name is the text."""
    name, colon, rest = text.partition(':')
    named = bool(colon) and '=' not in name
    try:
        words = shlex.split(rest if named else text)
    except ValueError as error:
        msg = f'--vary {text!r} cannot be read ({error}); write NAME: KEY=VALUE KEY=VALUE.'
        raise ConfigError(msg) from error
    if not words:
        msg = f'--vary {text!r} changes nothing; write NAME: KEY=VALUE KEY=VALUE.'
        raise ConfigError(msg)
    return (name.strip() if named else text.strip()), read_assignments(words)


def read_assignments(texts: list[str]) -> dict[str, Any]:
    """
    Return the values of ``KEY=VALUE`` by their keys.

    :raises ConfigError: if one is of another form, or its value is not YAML
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition('=')
        if not equals or not key.strip():
            msg = f'{text!r} is not of the form KEY=VALUE.'
            raise ConfigError(msg)
        try:
            values[key.strip()] = parse_yaml(value)
        except ValueError as error:
            msg = f'{text!r}: the value is not YAML: {error}.'
            raise ConfigError(msg) from error
    return current_names(TrainConfig, values, 'The command line')


def changed(settings: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """
    Return settings with some values replaced.

    :param values: by key; ``a.b`` is ``b`` in the mapping ``a``
    :raises ConfigError: if a dotted key leads into a setting that is not a mapping
    """
    result = copy.deepcopy(settings)
    for key, value in values.items():
        *path, last = key.split('.')
        place = result
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                msg = f'{key}: {part} is {place!r} here, not a mapping.'
                raise ConfigError(msg)
        place[last] = value
    return result


def resolve(
    settings: dict[str, Any], *, seed: int, annotations: Path | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Return the settings to train with, and the values of all settings.

    :param annotations: labels of the recording, for objectives that learn from them
    :raises ConfigError: if a setting is unknown or out of range, or labels are needed and missing
    """
    stated = dict(settings)
    parts = from_yaml(TrainConfig, settings, 'the configuration').parts
    if annotations is not None and learns_from_labels(parts):
        stated.setdefault('annotations', str(annotations))
    return stated, to_values(read_config(None, stated | {'seed': seed}))
