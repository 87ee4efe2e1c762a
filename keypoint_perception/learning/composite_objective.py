"""
The objectives of a run: one or several trained together, each with its weight and settings.

``objective`` in the configuration is a name, names joined by ``+``, or a list::

    objective:
      - temporal_transport
      - {name: equivariance, weight: 0.5, settings: {angle: 20}, weights: {diversity: 0}}

The loss terms of a single objective keep their names; those of several are ``NAME.term``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.objectives import OBJECTIVES
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.network import Keypointer, NetworkConfig
from keypoint_perception.settings import from_yaml, refuse_unknown, Setting, Settings
from torch import nn, Tensor


@dataclass(frozen=True)
class ObjectiveSpec:
    """One objective of a run: ``weight`` multiplies all its terms, ``weights`` each of them."""

    name: str
    weight: float
    settings: Settings
    weights: dict[str, float]


def read_parts(
    objective: str | list[Any], settings: dict[str, Any], weights: dict[str, float]
) -> tuple[ObjectiveSpec, ...]:
    """
    Return the objectives of a configuration.

    :param settings: ``objective_settings``, for a single objective, like ``weights``
    :raises ConfigError: if a name is unknown or a value is not accepted
    """
    entries = split_objective(objective)
    if len(entries) == 1:
        entries = [{'settings': settings, 'weights': weights} | entries[0]]
    elif settings or weights:
        msg = (
            'objective_settings and weights are for a single objective; with several, give each '
            'its own: "- {name: ..., settings: {...}, weights: {...}}".'
        )
        raise ConfigError(msg)
    parts = tuple(_read_part(entry) for entry in entries)
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        msg = f'objective: lists the same name twice ({", ".join(names)}); list each once.'
        raise ConfigError(msg)
    return parts


def split_objective(objective: str | list[Any]) -> list[dict[str, Any]]:
    """
    Return the entries of ``objective`` as new mappings, otherwise unchecked.

    :raises ConfigError: if it is neither a name nor a list of names and mappings
    """
    entries = objective.split('+') if isinstance(objective, str) else objective
    known = isinstance(entries, list) and all(isinstance(e, (str, dict)) for e in entries)
    if not entries or not known:
        msg = f'objective: must be a name or a list of names and mappings, got {objective!r:.100}.'
        raise ConfigError(msg)
    return [{'name': e.strip()} if isinstance(e, str) else dict(e) for e in entries]


def _read_part(entry: dict[str, Any]) -> ObjectiveSpec:
    refuse_unknown(entry, ('name', 'weight', 'settings', 'weights'), 'an entry of objective')
    name: str = Setting('objective', str, choices=tuple(OBJECTIVES)).check(entry.get('name'))
    kind: Any = OBJECTIVES[name]
    own = entry.get('weights', {})
    refuse_unknown(own, kind.weights, f'weights of {name}')
    weights = {term: _weight(own.get(term, value), term) for term, value in kind.weights.items()}
    settings = from_yaml(kind.Config, entry.get('settings', {}), 'objective_settings')
    return ObjectiveSpec(name, _weight(entry.get('weight', 1.0), name), settings, weights)


def _weight(value: object, name: str) -> float:
    weight: float = Setting(f'weights.{name}', float, low=0).check(value)
    return weight


def total_weights(parts: tuple[ObjectiveSpec, ...]) -> dict[str, float]:
    """Return the weight of each term by its name in the history."""
    return {
        _term(parts, part, term): part.weight * weight
        for part in parts
        for term, weight in part.weights.items()
    }


def needs(parts: tuple[ObjectiveSpec, ...]) -> tuple[str, ...]:
    """
    Return the names of the batch extras that the objectives need.

    An objective's ``needs`` are names, or a mapping from names to the terms that need them: a
    term whose weight is zero needs nothing.
    """
    found: set[str] = set()
    for part in parts:
        extras = getattr(OBJECTIVES[part.name], 'needs', ())
        terms = extras if isinstance(extras, dict) else dict.fromkeys(extras)
        found |= {n for n, term in terms.items() if term is None or part.weights.get(term, 1.0)}
    return tuple(sorted(found))


def assuming_still_camera(parts: tuple[ObjectiveSpec, ...]) -> list[str]:
    """Return the objectives that take a camera's motion for that of things."""
    return [p.name for p in parts if getattr(OBJECTIVES[p.name], 'assumes_still_camera', False)]


def learns_from_labels(parts: tuple[ObjectiveSpec, ...]) -> bool:
    """Return whether an objective learns from labels."""
    return bool({'labels', 'carried_labels'} & {*needs(parts)})


def learns_from_labels_alone(parts: tuple[ObjectiveSpec, ...]) -> bool:
    """Return whether every objective learns from labels, so that no pairs are needed."""
    return all('labels' in getattr(OBJECTIVES[p.name], 'needs', ()) for p in parts)


class CompositeObjective(nn.Module):
    """The objectives of a run as one module, evaluated on the same batch."""

    def __init__(
        self,
        parts: tuple[ObjectiveSpec, ...],
        network: NetworkConfig,
        statistics: DatasetStatistics,
    ) -> None:
        super().__init__()
        self._parts = parts
        self.objectives = nn.ModuleDict()
        for part in parts:
            objective: Any = OBJECTIVES[part.name](part.settings, network, statistics)
            # so that an objective can skip terms without weight
            objective.used = {term for term, weight in part.weights.items() if weight > 0}
            self.objectives[part.name] = objective

    @property
    def one_way(self) -> bool:
        """Return whether no objective has a gradient through the first frames' keypoints."""
        return all(getattr(o, 'one_way', False) for o in self.objectives.values())

    def advance(self, done: float) -> None:
        """Tell the objectives that have phases which share of the budget is used up."""
        for objective in self.objectives.values():
            advance: Callable[[float], None] | None = getattr(objective, 'advance', None)
            if advance is not None:
                advance(done)

    def learn_from(self, average: Keypointer) -> None:
        """Give the averaged network to the objectives that learn from it."""
        for objective in self.objectives.values():
            learn_from: Callable[[Keypointer], None] | None
            learn_from = getattr(objective, 'learn_from', None)
            if learn_from is not None:
                learn_from(average)

    def learned_keypoints(self) -> list[int] | None:
        """Return the keypoints that the objectives have found; None if they learn all of them."""
        for objective in self.objectives.values():
            learned: Callable[[], list[int]] | None = getattr(objective, 'learned_keypoints', None)
            if learned is not None:
                return learned()
        return None

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms of all objectives, each (B,)."""
        return {
            _term(self._parts, part, term): value
            for part in self._parts
            for term, value in self.objectives[part.name](batch).items()
        }

    @property
    def links(self) -> bool:
        """Whether an objective learns which keypoints belong together."""
        return any(hasattr(kind, 'skeleton') for kind in self.objectives.values())

    def skeleton(self) -> list[tuple[int, int, float]]:
        """Return the learned edges between keypoints, of the first objective that has any."""
        for objective in self.objectives.values():
            edges: list[tuple[int, int, float]] = getattr(objective, 'skeleton', list)()
            if edges:
                return edges
        return []


def _term(parts: tuple[ObjectiveSpec, ...], part: ObjectiveSpec, term: str) -> str:
    return term if len(parts) == 1 else f'{part.name}.{term}'
