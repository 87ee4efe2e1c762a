"""
What can be set about training, and where its values come from.

One frozen dataclass holds everything. A YAML file states what differs from the defaults, the
command line what differs from the file; an unknown key is an error that lists the known ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.composite_objective import (
    needs,
    ObjectiveSpec,
    read_parts,
    total_weights,
)
from keypoint_perception.learning.data.labels import annotations_of
from keypoint_perception.learning.derived_defaults import derived_defaults
from keypoint_perception.model.layers import NORMS
from keypoint_perception.model.network import NetworkConfig, NETWORKS
from keypoint_perception.settings import build
import yaml

USUAL_STEPS = 6000
# Ten keypoints chosen of twenty explained more than ten learned alone, 0.72 against 0.66.
LEAST_LEARNED = 20
PRECISIONS = ('auto', '32', 'bf16', '16')


@dataclass(frozen=True)
class TrainConfig:
    """
    Settings of one training run.

    :param objective: what to learn by: a name of ``OBJECTIVES``, names joined by ``+``, or a list
        of them with their weights and settings, as :mod:`.composite_objective` reads it
    :param objective_settings: settings of a single objective, by its ``Config``
    :param weights: weights of a single objective's terms; terms not named keep their own
    :param network: ``default``, ``paper`` or ``hourglass``
    :param keypoints: K
    :param spare: keypoints learned beyond K, of which the best K are kept at the end; if a run of
        the default recipe states K but not this, there are as many as make :data:`LEAST_LEARNED`
    :param size: long side of the network input, px
    :param width: channels at the heatmaps' resolution (default network)
    :param norm: ``group``, ``instance`` or ``batch``
    :param window: cells to each side of the largest one that the robot's read-out uses
    :param stacks: hourglasses one behind another (hourglass network)
    :param steps: optimiser steps of the whole run; 0 = not stated, which is
        :data:`USUAL_STEPS`, or no limit where minutes are given
    :param batch_size: pairs a step, over all processes
    :param learning_rate: at its highest, after the warm-up
    :param warmup_steps: steps over which the rate rises from zero
    :param final_rate: the rate at the end as a share of the highest, reached along a cosine
    :param weight_decay: of AdamW
    :param gradient_clip: largest norm of the gradient; the loss is scaled so that 1 suits all
    :param ema_decay: of the averaged network, which is the one exported
    :param prune: leave out keypoints that never move, are where another one is, or whose place
        the others tell, at the end; if a run states neither this nor ``keypoints``, it does
    :param min_gap_s: shortest time between the frames of a pair, s
    :param max_gap_s: longest time between the frames of a pair, s
    :param annotations: CSV file of labels, for objectives that learn from them
    :param init: model directory whose weights to begin with
    :param seed: of weights and pairs
    :param seeds: runs to begin, from ``seed`` on, of which the best goes on
    :param precision: ``auto``, ``32``, ``bf16`` or ``16``
    :param threads: CPU threads; 0 = one or all, whichever is measured to be faster
    :param log_every: steps between entries of the history
    :param picture_every_s: seconds between overlay pictures and checkpoints, s
    :param snapshot_every_s: seconds of learning between two copies of the averaged network, for
        ``benchmark curve``; 0 = none
    """

    objective: str | list = 'default'
    objective_settings: dict = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    network: str = NetworkConfig.network
    keypoints: int = NetworkConfig.keypoints
    spare: int = 0
    size: int = 128
    width: int = NetworkConfig.width
    norm: str = NetworkConfig.norm
    window: int = NetworkConfig.window
    stacks: int = NetworkConfig.stacks
    steps: int = 0
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    final_rate: float = 0.02
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    ema_decay: float = 0.995
    prune: bool = False
    min_gap_s: float = 0.2
    max_gap_s: float = 2.0
    annotations: str = ''
    init: str = ''
    seed: int = 0
    seeds: int = 1
    precision: str = 'auto'
    threads: int = 0
    log_every: int = 10
    picture_every_s: float = 30.0
    snapshot_every_s: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (
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
        self.term_weights()
        if self.annotations and 'labels' not in needs(self.parts):
            msg = (
                f'annotations: {self.title} does not learn from labels; leave them out, or choose '
                'the objective supervised.'
            )
            raise ConfigError(msg)

    @property
    def parts(self) -> tuple[ObjectiveSpec, ...]:
        """Return the objectives with their checked settings and weights."""
        return read_parts(self.objective, self.objective_settings, self.weights)

    @property
    def title(self) -> str:
        """Return the names of the objectives, joined by ``+``."""
        return '+'.join(part.name for part in self.parts)

    def term_weights(self) -> dict[str, float]:
        """Return the weight of each term of the loss."""
        return total_weights(self.parts)


RANGES = {
    'keypoints': (1, 256),
    'spare': (0, 256),
    'size': (32, 1024),
    'width': (8, 256),
    'window': (1, 32),
    'stacks': (1, 8),
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
    'seeds': (1, 64),
    'threads': (0, 1024),
    'log_every': (1, 100_000),
    'picture_every_s': (0.1, 86_400.0),
    'snapshot_every_s': (0.0, 86_400.0),
}


def read_config(path: Path | None, overrides: dict, defaults: dict | None = None) -> TrainConfig:
    """
    Return the settings of a YAML file, changed by what the command line states.

    :param path: YAML file, or None
    :param overrides: values by name; None means not stated
    :param defaults: values for what neither states, where the package's own do not suit
    :raises ConfigError: naming the key and the known ones
    """
    from_file = {} if path is None else read_yaml(Path(path))
    if path is not None:
        try:  # alone, so that mistakes in the file are told from those on the command line
            build(TrainConfig, from_file, 'the file')
        except ConfigError as error:
            msg = f'{path}: {error}'
            raise ConfigError(msg) from error
    stated = {name: value for name, value in overrides.items() if value is not None}
    named = from_file | stated
    values = derived_defaults(named) | (defaults or {}) | named
    values.setdefault('prune', 'keypoints' not in values)
    values.setdefault('spare', _implied_spare(values))
    config = build(TrainConfig, values, 'the configuration')
    if 'labels' in needs(config.parts):
        annotations_of(config)
    return config


def _implied_spare(values: dict) -> int:
    # a paper's objective is learned as the paper has it, a model that goes on as it was
    plain = values.get('objective', 'default') == 'default' and not values.get('init')
    keypoints = values.get('keypoints')
    if not plain or values['prune'] or not isinstance(keypoints, int):
        return 0
    return max(0, LEAST_LEARNED - keypoints)


def to_values(config: TrainConfig) -> dict:
    """Return the settings as plain values for a checkpoint."""
    return asdict(config)


def from_values(values: dict, **changes) -> TrainConfig:
    """Return the settings that a checkpoint holds, with some of them changed."""
    return replace(build(TrainConfig, values, 'the checkpoint'), **changes)


def read_yaml(path: Path) -> dict:
    """
    Return the "name: value" lines of a file, unchecked.

    :raises ConfigError: if it cannot be read
    """
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
