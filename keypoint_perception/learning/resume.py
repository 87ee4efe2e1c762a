"""The settings of a new or a resumed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.config import (
    from_values,
    read_config,
    read_yaml,
    to_values,
    TrainConfig,
    USUAL_STEPS,
)
from keypoint_perception.model.checkpoint import load_checkpoint, valid_checkpoint

# Settings that a resumed run may change.
CHANGEABLE = ('steps',)


def settings_of_run(
    out: Path,
    path: Path | None,
    stated: dict[str, Any],
    *,
    resume: bool,
    defaults: dict[str, Any] | None = None,
) -> TrainConfig:
    """
    Return the settings of a run; a resumed run keeps its own but for the number of steps.

    :param path: YAML file, or None
    :param stated: values of the command line by name; None means not stated
    :param defaults: replace the package's own defaults in a new run
    :raises ConfigError: if a setting is unknown, out of range, or differs from the resumed run's
    :raises ModelError: if there is no run to resume
    """
    if not resume:
        return read_config(path, stated, defaults)
    state = load_checkpoint(out).state
    with valid_checkpoint(out):
        before = to_values(from_values(state['config']))
    wanted = {name: value for name, value in stated.items() if value is not None}
    if path is not None:
        checked = to_values(read_config(path, stated))
        wanted = {name: checked[name] for name in {**read_yaml(path), **wanted}}
    changed = [name for name, value in wanted.items() if value != before[name]]
    # a run with several seeds continues the best one and records its seed
    free = CHANGEABLE if before['seeds'] == 1 else (*CHANGEABLE, 'seed')
    refused = [name for name in changed if name not in free]
    if refused:
        differences = ', '.join(f'{n} {before[n]!r} -> {wanted[n]!r}' for n in refused)
        msg = (
            f'The run in {str(out)!r} was started with other settings ({differences}); resume it '
            'without them, or train into another --out.'
        )
        raise ConfigError(msg)
    return from_values(before, **{name: wanted[name] for name in changed if name in CHANGEABLE})


def step_limit(
    settings: TrainConfig, out: Path, *, minutes: float | None, resume: bool
) -> int | None:
    """
    Return the number of steps after which a run ends; None if only its minutes limit it.

    :param minutes: budget of this process
    :raises ConfigError: if a resumed run has already exceeded the default number of steps, as
        one that was limited by minutes may have
    """
    if settings.steps or minutes is not None:
        return settings.steps or None
    with valid_checkpoint(out):
        done = int(load_checkpoint(out).state['step']) if resume else 0
    if done > USUAL_STEPS:
        msg = (
            f'The run in {str(out)!r} has done {done} steps, more than the default of '
            f'{USUAL_STEPS}; limit the resumed run with --steps or --minutes.'
        )
        raise ConfigError(msg)
    return USUAL_STEPS
