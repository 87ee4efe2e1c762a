"""
The settings of training, and where their values come from.

A YAML file states what differs from the defaults, the command line what differs from the file.
``python -m keypoint_perception.learning.config`` prints the table of docs/training.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from keypoint_perception.errors import ConfigError
from keypoint_perception.frames.annotations import read_annotations
from keypoint_perception.holdout import LARGEST_HOLDOUT
from keypoint_perception.learning.composite_objective import (
    learns_from_labels,
    needs,
    ObjectiveSpec,
    read_parts,
    total_weights,
)
from keypoint_perception.learning.initial.initial_weights import is_model, PACKAGE
from keypoint_perception.model.checkpoint import load_network
from keypoint_perception.model.layers import NORMS
from keypoint_perception.model.network import NetworkConfig, NETWORKS
from keypoint_perception.settings import current_names, from_yaml, setting, Settings, table
from keypoint_perception.yaml_files import read_yaml_file

USUAL_STEPS = 6000
# The best 10 of 20 keypoints explain more than 10 learned alone: 0.72 against 0.66.
MIN_LEARNED_KEYPOINTS = 20
DEFAULTS = ('default', 'default_without_transport')
PRECISIONS = ('auto', '32', 'bf16', '16')
CAMERAS = ('auto', 'still', 'moving')
DAY_S = 86_400.0
# Settings that the network shares, besides its keypoints and input size.
NETWORK_SETTINGS = ('network', 'width', 'norm', 'window', 'stacks')


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Settings of a training run."""

    objective: str | list[Any] = setting(
        'default',
        help='Objective: a name, names joined by `+`, or a list of names with their weights and '
        'settings.',
    )
    objective_settings: dict[str, Any] = setting({}, help='Settings of a single objective.')
    weights: dict[str, float] = setting(
        {}, help="Weights of a single objective's loss terms; terms not listed keep their own."
    )
    network: str = setting(NetworkConfig.network, choices=NETWORKS, help='Architecture.')
    keypoints: int = setting(NetworkConfig.keypoints, low=1, high=256, help='Keypoints, K.')
    extra_keypoints: int = setting(
        0,
        low=0,
        high=256,
        alias='spare',
        help='Keypoints learned beyond K, of which the best K are kept. If you set `keypoints` '
        'but not `extra_keypoints`, the default objectives learn at least '
        f'{MIN_LEARNED_KEYPOINTS} in total.',
    )
    size: int = setting(
        128, low=32, high=1024, help='Long side of the network input, px; a multiple of 8.'
    )
    width: int = setting(
        NetworkConfig.width, low=8, high=256, help='Channels of the maps (network `default`).'
    )
    norm: str = setting(NetworkConfig.norm, choices=NORMS, help='Normalisation layers.')
    window: int = setting(
        NetworkConfig.window, low=1, high=32, help='Radius of the read-out window, cells.'
    )
    stacks: int = setting(
        NetworkConfig.stacks, low=1, high=8, help='Stacked hourglasses (network `hourglass`).'
    )
    steps: int = setting(
        0,
        low=0,
        high=100_000_000,
        help=f'Optimiser steps of the whole run; 0: {USUAL_STEPS}, or no limit if --minutes is '
        'given.',
    )
    batch_size: int = setting(16, low=1, high=4096, help='Pairs per step, over all processes.')
    learning_rate: float = setting(
        2e-3, low=1e-7, high=1.0, help='Peak learning rate, reached after the warm-up.'
    )
    warmup_steps: int = setting(
        50, low=0, high=1_000_000, help='Steps over which the learning rate rises from zero.'
    )
    final_rate: float = setting(
        0.02,
        low=0.0,
        high=1.0,
        help='Final learning rate of the cosine schedule, as a share of the peak.',
    )
    weight_decay: float = setting(1e-4, low=0.0, high=1.0, help='Weight decay of AdamW.')
    gradient_clip: float = setting(
        1.0, low=1e-6, high=1e6, help='Maximum norm of the gradient of the normalised loss.'
    )
    ema_decay: float = setting(
        0.995,
        low=0.0,
        high=0.999999,
        help='Decay of the moving average of the weights, which is what is exported.',
    )
    prune: bool = setting(
        False,
        help='At the end of the run, remove keypoints that never move, duplicate another or can '
        'be predicted from the rest; by default only if `keypoints` is not set.',
    )
    stop_when_settled: bool = setting(
        False,
        help='End the run once the keypoints have settled, after a quarter more steps.',
    )
    min_gap_s: float = setting(
        0.2, low=0.0, high=3600.0, help='Shortest time between the frames of a pair, s.'
    )
    max_gap_s: float = setting(
        2.0, low=0.001, high=3600.0, help='Longest time between the frames of a pair, s.'
    )
    across_clips: float = setting(
        0.2, low=0, high=1, help='Share of pairs of any two frames of a view (with backgrounds).'
    )
    holdout: float = setting(
        0.0,
        low=0.0,
        high=LARGEST_HOLDOUT,
        help='Share of each recording, its end, that is withheld and that `evaluate` scores.',
    )
    camera: str = setting(
        'auto',
        choices=CAMERAS,
        help='Whether the camera moves, so that frames are registered; auto finds out.',
    )
    annotations: str = setting('', help='CSV file of labels, for objectives that learn from them.')
    tracks: str = setting('', help='CSV file of points tracked over time, as of `detect`.')
    init: str = setting(
        PACKAGE,
        help='Model directory to take the initial weights from; package: those of the package, '
        'learned on simulations; none: random ones.',
    )
    seed: int = setting(0, low=0, high=2**31 - 1, help='Seed of weights and pairs.')
    seeds: int = setting(
        1,
        low=1,
        high=64,
        help='Number of runs to start, with consecutive seeds from `seed`; only the best is '
        'continued.',
    )
    precision: str = setting('auto', choices=PRECISIONS, help='Floating-point precision.')
    threads: int = setting(
        0, low=0, high=1024, help='CPU threads; 0: one or all, whichever measures faster.'
    )
    log_every: int = setting(10, low=1, high=100_000, help='Steps between history entries.')
    picture_every_s: float = setting(
        30.0, low=0.1, high=DAY_S, help='Time between overlay images and checkpoints, s.'
    )
    snapshot_every_s: float = setting(
        0.0,
        low=0.0,
        high=DAY_S,
        help='Training time between snapshots of the averaged network for `benchmark curve`, s; '
        '0: none.',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 8:
            # the network halves its input three times
            low = self.size // 8 * 8
            msg = (
                f'size: must be a multiple of 8, got {self.size}; for example {low} or {low + 8}.'
            )
            raise ConfigError(msg)
        if self.min_gap_s > self.max_gap_s:
            msg = (
                f'min_gap_s: must not exceed max_gap_s, got {self.min_gap_s:g} and '
                f'{self.max_gap_s:g}.'
            )
            raise ConfigError(msg)
        parts = self.parts  # every one of which is checked
        usable = {'annotations': learns_from_labels(parts), 'tracks': 'flow' in needs(parts)}
        for name, what, other in (
            ('annotations', 'labels', 'supervised or semi_supervised'),
            ('tracks', 'tracks', 'default'),
        ):
            if getattr(self, name) and not usable[name]:
                msg = f'{name}: {self.title} does not learn from {what}; omit them, or choose '
                raise ConfigError(f'{msg}the objective {other}.')

    @property
    def parts(self) -> tuple[ObjectiveSpec, ...]:
        """Return the objectives with their checked settings and weights."""
        return read_parts(self.objective, self.objective_settings, self.weights)

    @property
    def title(self) -> str:
        """Return the names of the objectives, joined by ``+``."""
        return '+'.join(part.name for part in self.parts)

    def term_weights(self) -> dict[str, float]:
        """Return the weight of each loss term."""
        return total_weights(self.parts)

    def annotation_file(self) -> Path:
        """Return the file of labels to learn from; raise ConfigError if none is given."""
        if not self.annotations:
            msg = (
                f'annotations: {self.title} learns from labels, but no file is given; add '
                '--annotations FILE.csv (stamp_ns,keypoint,u,v), or choose another objective.'
            )
            raise ConfigError(msg)
        return Path(self.annotations)


def read_config(
    path: Path | None, overrides: dict[str, Any], defaults: dict[str, Any] | None = None
) -> TrainConfig:
    """
    Return the settings of a YAML file with the overrides of the command line.

    :param path: YAML file, or None
    :param overrides: values by name; None means not stated
    :param defaults: replace the package's own defaults
    :raises ConfigError: if a name is unknown or a value is not accepted
    """
    from_file = {} if path is None else read_yaml(Path(path))
    if path is not None:
        try:  # alone, to tell errors of the file from those of the command line
            from_yaml(TrainConfig, from_file, 'the file')
        except ConfigError as error:
            msg = f'{path}: {error}'
            raise ConfigError(msg) from error
    stated = {name: value for name, value in overrides.items() if value is not None}
    stated = from_file | current_names(TrainConfig, stated, 'the configuration')
    values = derived_defaults(stated) | (defaults or {}) | stated
    values.setdefault('prune', 'keypoints' not in values)
    # a paper's objective is trained as published, a given model as it is
    plain = values.get('objective', 'default') in DEFAULTS
    plain &= not is_model(str(values.get('init', '')))
    if plain and not values['prune'] and isinstance(values.get('keypoints'), int):
        extra = max(0, MIN_LEARNED_KEYPOINTS - values['keypoints'])
        values.setdefault('extra_keypoints', extra)
    config = from_yaml(TrainConfig, values, 'the configuration')
    if learns_from_labels(config.parts):
        config.annotation_file()
    return config


def derived_defaults(stated: dict[str, Any]) -> dict[str, Any]:
    """
    Return defaults derived from the initial model and the annotations that are stated.

    :raises ModelError: if the initial model cannot be read
    :raises SourceError: if the annotations cannot be read
    """
    derived: dict[str, Any] = {}
    if is_model(str(stated.get('init', ''))):
        network = load_network(Path(str(stated['init']))).config
        derived = {name: getattr(network, name) for name in (*NETWORK_SETTINGS, 'keypoints')}
        derived['size'] = max(network.input_hw)
    if stated.get('annotations'):
        derived['keypoints'] = len(read_annotations(Path(str(stated['annotations']))).names)
    return derived


def to_values(config: TrainConfig) -> dict[str, Any]:
    """Return the settings as plain values for a checkpoint."""
    return asdict(config)


def from_values(values: dict[str, Any], **changes: Any) -> TrainConfig:
    """Return the settings of a checkpoint, with some of them changed."""
    return replace(from_yaml(TrainConfig, values, 'the checkpoint'), **changes)


def read_yaml(path: Path) -> dict[str, Any]:
    """
    Return the values of a YAML file by the current names of the settings, otherwise unchecked.

    :raises ConfigError: if it cannot be read
    """
    try:
        values = read_yaml_file(path)
    except OSError as error:
        msg = f'Configuration {str(path)!r} cannot be read ({error.strerror}).'
        raise ConfigError(msg) from error
    except ValueError as error:
        msg = f'Configuration {str(path)!r} cannot be used: {error}.'
        raise ConfigError(msg) from error
    return current_names(TrainConfig, {} if values is None else values, f'{str(path)!r}')


if __name__ == '__main__':
    print(table(TrainConfig))
