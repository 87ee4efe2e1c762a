"""
What can be set about training, and where its values come from.

One frozen dataclass holds everything. A YAML file states what differs from the defaults, the
command line what differs from the file; an unknown key is an error that lists the known ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
import math
from pathlib import Path

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.objectives import OBJECTIVES
from keypoint_perception.model.layers import NORMS
from keypoint_perception.model.network import NetworkConfig, NETWORKS
import yaml

USUAL_STEPS = 6000
PRECISIONS = ('auto', '32', 'bf16', '16')


@dataclass(frozen=True)
class TrainConfig:
    """
    Settings of one training run.

    :param objective: name in ``OBJECTIVES``
    :param objective_settings: settings of that objective, by its ``Config``
    :param weights: weight of each of the objective's terms; terms not named keep their own
    :param network: ``default`` or ``paper``
    :param keypoints: K
    :param size: long side of the network input, px
    :param width: channels at the heatmaps' resolution (default network)
    :param norm: ``group``, ``instance`` or ``batch``
    :param window: cells to each side of the largest one that the robot's read-out uses
    :param steps: optimiser steps of the whole run; 0 = not stated, which is
        :data:`USUAL_STEPS`, or no limit where minutes are given
    :param batch_size: pairs a step, over all processes
    :param learning_rate: at its highest, after the warm-up
    :param warmup_steps: steps over which the rate rises from zero
    :param final_rate: the rate at the end as a share of the highest, reached along a cosine
    :param weight_decay: of AdamW
    :param gradient_clip: largest norm of the gradient; the loss is scaled so that 1 suits all
    :param ema_decay: of the averaged network, which is the one exported
    :param min_gap_s: shortest time between the frames of a pair, s
    :param max_gap_s: longest time between the frames of a pair, s
    :param seed: of weights and pairs
    :param precision: ``auto``, ``32``, ``bf16`` or ``16``
    :param threads: CPU threads; 0 = one or all, whichever is measured to be faster
    :param log_every: steps between entries of the history
    :param picture_every_s: seconds between overlay pictures and checkpoints, s
    """

    objective: str = 'temporal_transport'
    objective_settings: dict = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    network: str = NetworkConfig.network
    keypoints: int = NetworkConfig.keypoints
    size: int = 128
    width: int = NetworkConfig.width
    norm: str = NetworkConfig.norm
    window: int = NetworkConfig.window
    steps: int = 0
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    final_rate: float = 0.02
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema_decay: float = 0.995
    min_gap_s: float = 0.2
    max_gap_s: float = 2.0
    seed: int = 0
    precision: str = 'auto'
    threads: int = 0
    log_every: int = 10
    picture_every_s: float = 30.0

    def __post_init__(self) -> None:
        for name, known in (
            ('objective', tuple(OBJECTIVES)),
            ('network', NETWORKS),
            ('norm', NORMS),
            ('precision', PRECISIONS),
        ):
            if getattr(self, name) not in known:
                msg = f'{name}: {getattr(self, name)!r} is not known; known: {", ".join(known)}.'
                raise ConfigError(msg)
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                msg = f'{name}: must be a number, got {value!r}.'
                raise ConfigError(msg)
            if not low <= value <= high:
                msg = f'{name}: must be between {low:g} and {high:g}, got {value:g}.'
                raise ConfigError(msg)
        if self.size % 8:
            # the network halves its input three times
            msg = f'size: must be a multiple of 8, got {self.size}.'
            raise ConfigError(msg)
        if self.min_gap_s > self.max_gap_s:
            msg = (
                f'min_gap_s: must not be above max_gap_s, got {self.min_gap_s:g} and '
                f'{self.max_gap_s:g}.'
            )
            raise ConfigError(msg)
        self.objective_config()
        self.term_weights()

    def objective_config(self):
        """Return the objective's own checked settings."""
        return _build(
            OBJECTIVES[self.objective].Config, self.objective_settings, 'objective_settings'
        )

    def term_weights(self) -> dict[str, float]:
        """Return the weight of each of the objective's terms."""
        known = OBJECTIVES[self.objective].weights
        _refuse_unknown(self.weights, known, f'weights of {self.objective}')
        for name, value in self.weights.items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value) or value < 0:
                msg = f'weights.{name}: must be a number that is not negative, got {value!r}.'
                raise ConfigError(msg)
        return {name: float(self.weights.get(name, value)) for name, value in known.items()}


RANGES = {
    'keypoints': (1, 256),
    'size': (32, 1024),
    'width': (8, 256),
    'window': (1, 32),
    'steps': (0, 100_000_000),
    'batch_size': (1, 4096),
    'learning_rate': (1e-7, 1.0),
    'warmup_steps': (0, 1_000_000),
    'final_rate': (0.0, 1.0),
    'weight_decay': (0.0, 1.0),
    'gradient_clip': (1e-6, 1e6),
    'ema_decay': (0.0, 0.999999),
    'min_gap_s': (0.0, 3600.0),
    'max_gap_s': (0.001, 3600.0),
    'seed': (0, 2**31 - 1),
    'threads': (0, 1024),
    'log_every': (1, 100_000),
    'picture_every_s': (0.1, 86_400.0),
}


def read_config(path: Path | None, overrides: dict, defaults: dict | None = None) -> TrainConfig:
    """
    Return the settings of a YAML file, changed by what the command line states.

    :param path: YAML file, or None
    :param overrides: values by name; None means not stated
    :param defaults: values for what neither states, where the package's own do not suit
    :raises ConfigError: naming the key and the known ones
    """
    from_file = {} if path is None else _read_yaml(Path(path))
    if path is not None:
        try:  # alone, so that mistakes in the file are told from those on the command line
            _build(TrainConfig, from_file, 'the file')
        except ConfigError as error:
            msg = f'{path}: {error}'
            raise ConfigError(msg) from error
    stated = {name: value for name, value in overrides.items() if value is not None}
    values = (defaults or {}) | from_file | stated
    return _build(TrainConfig, values, 'the configuration')


def to_values(config: TrainConfig) -> dict:
    """Return the settings as plain values for a checkpoint."""
    return asdict(config)


def from_values(values: dict, **changes) -> TrainConfig:
    """Return the settings that a checkpoint holds, with some of them changed."""
    return replace(_build(TrainConfig, values, 'the checkpoint'), **changes)


def _build(kind: type, values: dict, where: str):
    _refuse_unknown(values, [f.name for f in fields(kind)], where)
    defaults = {f.name: f.type for f in fields(kind)}
    # YAML reads 2 where 2.0 is meant, 1e-3 as text and the precision 16 as a number
    return kind(**{name: _number(value, defaults[name], name) for name, value in values.items()})


def _number(value, kind: str, name: str):
    if kind == 'float' and not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            msg = f'{name}: must be a number, got {value!r}.'
            raise ConfigError(msg) from error
    if kind == 'str' and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if kind == 'int' and (isinstance(value, bool) or not isinstance(value, int)):
        msg = f'{name}: must be a whole number, got {value!r}.'
        raise ConfigError(msg)
    if kind == 'bool' and not isinstance(value, bool):
        msg = f'{name}: must be true or false, got {value!r}.'
        raise ConfigError(msg)
    if kind.startswith('dict') and not isinstance(value, dict):
        msg = f'{name}: must be a mapping of names to values, got {value!r}.'
        raise ConfigError(msg)
    return value


def _refuse_unknown(values: dict, known, where: str) -> None:
    unknown = sorted(str(name) for name in values if name not in known)
    if unknown:
        msg = f'{where} has no {", ".join(map(repr, unknown))}; known: {", ".join(sorted(known))}.'
        raise ConfigError(msg)


def _read_yaml(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        msg = f'Configuration {str(path)!r} cannot be read ({error.strerror}).'
        raise ConfigError(msg) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f'Configuration {str(path)!r} is not YAML: {" ".join(str(error).split())}.'
        raise ConfigError(msg) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        msg = f'Configuration {str(path)!r} must hold "name: value" lines, found {values!r}.'
        raise ConfigError(msg)
    return values
