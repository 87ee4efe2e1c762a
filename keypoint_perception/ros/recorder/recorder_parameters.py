"""The parameters of ``recorder_node``: the node's own ones and the recorder's settings."""

from __future__ import annotations

from dataclasses import fields

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.recorder.recorder_settings import (
    DESCRIPTIONS,
    RANGES,
    RecorderSettings,
)

OWN_PARAMETERS = {
    'topics': ('a list of texts', 'Topics to record, each from the moment it is published.'),
    'out': ('a text', 'Bag to make; empty: one in `directory` that is named after the time.'),
    'directory': ('a text', 'Where bags are made that are named after the time.'),
    'autostart': ('true or false', 'Record at once; otherwise wait for `~/start_recording`.'),
    'exit_at_end': ('true or false', 'End the node when a recording has ended by itself.'),
}
OWN_DEFAULTS = {
    'topics': [''],
    'out': '',
    'directory': '.',
    'autostart': True,
    'exit_at_end': False,
}


def check(values: dict[str, object]) -> tuple[dict[str, object], RecorderSettings]:
    """
    Return the node's own parameters and the recorder's settings.

    :param values: of all parameters that are set, by name
    :raises ConfigError: if one is of a wrong type or out of range
    """
    own = {name: values.get(name, default) for name, default in OWN_DEFAULTS.items()}
    topics = own['topics']
    if not isinstance(topics, (list, tuple)) or not all(isinstance(t, str) for t in topics):
        msg = f'Parameter topics: must be a list of texts, as [/camera/image_raw], got {topics!r}.'
        raise ConfigError(msg)
    own['topics'] = [topic for topic in topics if topic]
    for name in ('out', 'directory'):
        own[name] = str(own[name])  # a directory may be named 7
    settings = {}
    for setting in fields(RecorderSettings):
        value = values.get(setting.name, setting.default)
        kind = type(setting.default)
        good = (int, float) if kind is float else kind
        if not isinstance(value, good) or (kind is not bool and isinstance(value, bool)):
            msg = f'Parameter {setting.name}: must be {expected(setting.name)}, got {value!r}.'
            raise ConfigError(msg)
        settings[setting.name] = kind(value)
    for name in ('autostart', 'exit_at_end'):
        if not isinstance(own[name], bool):
            msg = f'Parameter {name}: must be true or false, got {own[name]!r}.'
            raise ConfigError(msg)
    return own, RecorderSettings(**settings)


def expected(name: str) -> str:
    """Return in words what a parameter may be."""
    if name in OWN_PARAMETERS:
        return OWN_PARAMETERS[name][0]
    if name in RANGES:
        low, high = RANGES[name]
        return f'a number from {low:g} to {high:g}'
    return 'true or false' if name == 'only_motion' else 'none or zstd'


def table() -> str:
    """Return the README's table of parameters."""
    lines = ['| parameter | default | values | |', '| --- | --- | --- | --- |']
    rows = [(n, OWN_DEFAULTS[n], text) for n, (_, text) in OWN_PARAMETERS.items()]
    rows += [(s.name, s.default, DESCRIPTIONS[s.name]) for s in fields(RecorderSettings)]
    for name, default, text in rows:
        default = str(default).lower() if isinstance(default, bool) else default
        shown = '' if default in ('', ['']) else f'`{default}`'
        lines.append(f'| `{name}` | {shown} | {expected(name)} | {text} |')
    return '\n'.join(lines)
