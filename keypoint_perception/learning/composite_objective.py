"""
Objectives by name, one or several learned together, each with its weight and settings.

``objective`` in the configuration is a name, names joined by ``+``, or a list::

    objective:
      - temporal_transport
      - {name: equivariance, weight: 0.5, settings: {angle: 20}, weights: {diversity: 0}}

Alone an objective's terms have their own names, together they are ``NAME.term``.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.objectives import OBJECTIVES
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.network import NetworkConfig
from keypoint_perception.settings import build, refuse_unknown
from torch import nn, Tensor


@dataclass(frozen=True)
class ObjectiveSpec:
    """
    One objective of a run.

    :param weight: of all its terms together
    :param settings: its checked settings, an instance of its ``Config``
    :param weights: weight of each of its terms
    """

    name: str
    weight: float
    settings: object
    weights: dict[str, float]


def read_parts(objective: str | list, settings: dict, weights: dict) -> tuple[ObjectiveSpec, ...]:
    """
    Return the objectives that a configuration names.

    :param objective: a name, names joined by ``+``, or a list of names and mappings
    :param settings: ``objective_settings``, for an objective that is alone
    :param weights: ``weights``, for an objective that is alone
    :raises ConfigError: naming what is not known
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
        msg = f'objective: names one twice, {", ".join(names)}; name each once.'
        raise ConfigError(msg)
    return parts


def split_objective(objective: str | list) -> list[dict]:
    """
    Return the entries of ``objective`` as mappings of their own, unchecked but for that.

    :raises ConfigError: if it is neither a name nor a list of names and mappings
    """
    entries = objective.split('+') if isinstance(objective, str) else objective
    known = isinstance(entries, list) and all(isinstance(e, (str, dict)) for e in entries)
    if not entries or not known:
        msg = f'objective: must be a name or a list of names and mappings, got {objective!r}.'
        raise ConfigError(msg)
    return [{'name': e.strip()} if isinstance(e, str) else dict(e) for e in entries]


def _read_part(entry: dict) -> ObjectiveSpec:
    refuse_unknown(entry, ('name', 'weight', 'settings', 'weights'), 'an entry of objective')
    name = entry.get('name')
    if name not in OBJECTIVES:
        msg = f'objective: {name!r} is not known; known: {", ".join(OBJECTIVES)}.'
        raise ConfigError(msg)
    kind = OBJECTIVES[name]
    own = entry.get('weights', {})
    refuse_unknown(own, kind.weights, f'weights of {name}')
    weights = {term: _weight(own.get(term, value), term) for term, value in kind.weights.items()}
    settings = build(kind.Config, entry.get('settings', {}), 'objective_settings')
    return ObjectiveSpec(name, _weight(entry.get('weight', 1.0), name), settings, weights)


def _weight(value, name: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        msg = f'weights.{name}: must be a number that is not negative, got {value!r}.'
        raise ConfigError(msg)
    return float(value)


def total_weights(parts: tuple[ObjectiveSpec, ...]) -> dict[str, float]:
    """Return the weight of each term by the name it has in the history."""
    return {
        _term(parts, part, term): part.weight * weight
        for part in parts
        for term, weight in part.weights.items()
    }


def needs(parts: tuple[ObjectiveSpec, ...]) -> tuple[str, ...]:
    """
    Return the names of the batch_extras that the objectives ask for.

    An objective's ``needs`` are names, or names with the term that needs each: a term whose
    weight is zero needs nothing.
    """
    found = set()
    for part in parts:
        named = getattr(OBJECTIVES[part.name], 'needs', ())
        terms = named if isinstance(named, dict) else dict.fromkeys(named)
        found |= {name for name, term in terms.items() if part.weights.get(term, 1.0)}
    return tuple(sorted(found))


def learns_from_labels(name: str) -> bool:
    """Say whether an objective learns from labels."""
    return 'labels' in getattr(OBJECTIVES[name], 'needs', ())


def learns_from_labels_alone(parts: tuple[ObjectiveSpec, ...]) -> bool:
    """Say whether every objective learns from labels, so that frames need not go in pairs."""
    return all(learns_from_labels(part.name) for part in parts)


class CompositeObjective(nn.Module):
    """The objectives of a run as one: they see the same batch."""

    def __init__(
        self,
        parts: tuple[ObjectiveSpec, ...],
        network: NetworkConfig,
        statistics: DatasetStatistics,
    ) -> None:
        super().__init__()
        self._parts = parts
        self.objectives = nn.ModuleDict(
            {
                part.name: OBJECTIVES[part.name](part.settings, network, statistics)
                for part in parts
            }
        )
        for part in parts:  # so that an objective can leave out what would not count
            self.objectives[part.name].used = {t for t, w in part.weights.items() if w > 0}

    @property
    def one_way(self) -> bool:
        """Say whether no objective sends a gradient through the first frames' keypoints."""
        return all(getattr(o, 'one_way', False) for o in self.objectives.values())

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
        """Return the edges between keypoints that an objective learned; the first that has any."""
        found = (getattr(kind, 'skeleton', list)() for kind in self.objectives.values())
        return next((edges for edges in found if edges), [])


def _term(parts: tuple[ObjectiveSpec, ...], part: ObjectiveSpec, term: str) -> str:
    return term if len(parts) == 1 else f'{part.name}.{term}'
