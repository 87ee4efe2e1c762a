"""The settings of a run: of a new one from file and command line, of an old one as they were."""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.config import (
    from_values,
    read_config,
    read_yaml,
    to_values,
    TrainConfig,
    USUAL_STEPS,
)
from keypoint_perception.model.checkpoint import load_checkpoint

# What may be changed when a run goes on.
FREE = ('steps',)


def settings_of_run(
    out: Path,
    path: Path | None,
    stated: dict,
    *,
    resume: bool,
    defaults: dict | None = None,
) -> TrainConfig:
    """
    Return the settings of a run.

    A resumed run has the settings that it began with; only the number of steps may change.

    :param path: YAML file, or None
    :param stated: values of the command line by name; None means not stated
    :param defaults: values of a new run for what neither states
    :raises ConfigError: if a setting is unknown, out of range, or differs from the resumed run's
    :raises ModelError: if there is no run to resume
    """
    if not resume:
        return read_config(path, stated, defaults)
    begun = from_values(load_checkpoint(out).state['config'])
    wanted = {name: value for name, value in stated.items() if value is not None}
    if path is not None:
        named = {**read_yaml(path), **wanted}
        checked = to_values(read_config(path, stated))
        wanted = {name: checked[name] for name in named}
    before = to_values(begun)
    changed = [name for name, value in wanted.items() if value != before[name]]
    # of several seeds the best went on, and its own is what the run now has
    free = FREE if begun.seeds == 1 else (*FREE, 'seed')
    refused = [name for name in changed if name not in free]
    if refused:
        differences = ', '.join(f'{n} {before[n]!r} -> {wanted[n]!r}' for n in refused)
        msg = (
            f'The run in {str(out)!r} was begun with other settings ({differences}); resume it '
            'without them, or train into another --out.'
        )
        raise ConfigError(msg)
    return from_values(before, **{name: wanted[name] for name in changed if name in FREE})


def step_limit(
    settings: TrainConfig, out: Path, *, minutes: float | None, resume: bool
) -> int | None:
    """
    Return after how many steps a run ends, None where its minutes say it alone.

    :param minutes: budget of this process
    :raises ConfigError: if a run that goes on has more steps than it would have without being
        told, as one that began with minutes may have
    """
    if settings.steps or minutes is not None:
        return settings.steps or None
    done = load_checkpoint(out).state['step'] if resume else 0
    if done > USUAL_STEPS:
        msg = (
            f'The run in {str(out)!r} has done {done} steps, more than the usual {USUAL_STEPS}; '
            'say for how long it shall go on, with --steps or --minutes.'
        )
        raise ConfigError(msg)
    return USUAL_STEPS
