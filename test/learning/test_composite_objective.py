"""Objectives together: named once, weighted, under their own names, on the same passes."""

from dataclasses import dataclass

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning import composite_objective
from keypoint_perception.learning.composite_objective import (
    CompositeObjective,
    learns_from_labels_alone,
    needs,
    read_parts,
    total_weights,
)
from keypoint_perception.learning.config import read_config, TrainConfig
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.network import Keypointer, NetworkConfig
from keypoint_perception.settings import setting, Settings
import pytest
import torch
from torch import nn

NETWORK = NetworkConfig(keypoints=2, input_hw=(32, 48), width=8)


@dataclass(frozen=True)
class Strength(Settings):
    """Settings of an objective that is made up."""

    strength: float = setting(1.0, low=0, help='Strength.')


class Nearness(nn.Module):
    """Looks at the points; needs nothing."""

    Config = Strength
    weights = {'near': 2.0, 'far': 0.5}  # noqa: RUF012

    def __init__(self, config, network, statistics):
        super().__init__()
        self.config, self.statistics = config, statistics
        self.scale = nn.Parameter(torch.tensor(config.strength))

    def forward(self, batch):
        points = batch.points.flatten(1).mean(dim=1).chunk(2)
        return {'near': self.scale * points[0], 'far': self.scale * points[1]}


class Peaks(nn.Module):
    """Looks at the maps, and needs labels and colours."""

    Config = Strength
    weights = {'near': 1.0}  # noqa: RUF012
    needs = ('labels', 'colours')

    def __init__(self, config, network, statistics):
        super().__init__()

    def forward(self, batch):
        return {'near': batch.maps.amax(dim=(1, 2, 3)).chunk(2)[0]}


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    known = {'nearness': Nearness, 'peaks': Peaks}
    monkeypatch.setattr(composite_objective, 'OBJECTIVES', known)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Keypointer(NETWORK)


def images(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, 3, 32, 48, generator=generator) * 2 - 1


def test_one_objective_keeps_its_terms_names():
    parts = read_parts('nearness', {'strength': 3}, {'far': 0})
    assert [(part.name, part.weight, part.settings.strength) for part in parts] == [
        ('nearness', 1.0, 3.0)
    ]
    assert total_weights(parts) == {'near': 2.0, 'far': 0.0}


@pytest.mark.parametrize(
    'objective', ['nearness+peaks', 'nearness + peaks', ['nearness', 'peaks']]
)
def test_several_are_written_in_one_word_or_as_a_list(objective):
    assert total_weights(read_parts(objective, {}, {})) == {
        'nearness.near': 2.0,
        'nearness.far': 0.5,
        'peaks.near': 1.0,
    }


def test_an_objectives_weight_multiplies_those_of_its_terms():
    objective = [
        {'name': 'nearness', 'weight': 0.5, 'settings': {'strength': 4}, 'weights': {'far': 3}},
        {'name': 'peaks', 'weight': 2},
    ]
    parts = read_parts(objective, {}, {})
    assert parts[0].settings.strength == 4.0
    assert total_weights(parts) == {
        'nearness.near': 1.0,
        'nearness.far': 1.5,
        'peaks.near': 2.0,
    }


def test_a_list_of_one_is_an_objective_alone():
    parts = read_parts([{'name': 'nearness', 'weight': 3}], {'strength': 2}, {'near': 1})
    assert total_weights(parts) == {'near': 3.0, 'far': 1.5}
    assert parts[0].settings.strength == 2.0
    # what stands in the entry goes before what stands beside it
    parts = read_parts([{'name': 'nearness', 'weights': {'near': 7}}], {}, {'near': 1})
    assert total_weights(parts)['near'] == 7.0


@pytest.mark.parametrize(
    ('objective', 'settings', 'weights', 'sentence'),
    [
        ('nearness+nearness', {}, {}, r'lists the same name twice \(nearness, nearness\); list'),
        (['nearness', {'name': 'nearness', 'weight': 2}], {}, {}, 'lists the same name twice'),
        ('magic', {}, {}, "objective: must be one of nearness, peaks, got 'magic'"),
        ('nearness+magic', {}, {}, "objective: must be one of .*, got 'magic'"),
        ('nearness+', {}, {}, "objective: must be one of .*, got ''"),
        ([], {}, {}, r'must be a name or a list of names and mappings, got \[\]'),
        ([3], {}, {}, r'must be a name or a list of names and mappings, got \[3\]'),
        (None, {}, {}, 'must be a name or a list of names and mappings, got None'),
        (5, {}, {}, 'must be a name or a list of names and mappings, got 5'),
        ([{'weight': 2}], {}, {}, 'objective: must be one of .*, got None'),
        (
            [{'name': 'nearness', 'wieght': 2}],
            {},
            {},
            "an entry of objective has no 'wieght'; known: name, settings, weight, weights",
        ),
        ('nearness+peaks', {'strength': 2}, {}, 'are for a single objective; with several, give'),
        ('nearness+peaks', {}, {'near': 2}, 'are for a single objective; with several, give'),
        ('nearness', {'stregth': 2}, {}, "objective_settings has no 'stregth'; known: strength"),
        (
            'nearness',
            {'strength': 'much'},
            {},
            "strength: must be a number, .*, got 'much'",
        ),
        ('nearness', {'strength': -1}, {}, 'strength: must be a number, 0 or more, got -1'),
        ('nearness', {}, {'middle': 1}, "weights of nearness has no 'middle'; known: far, near"),
        ('nearness', {}, {'near': 'x'}, r"weights\.near: must be a number, 0 or more, got 'x'"),
        ([{'name': 'nearness', 'weight': -1}], {}, {}, r'weights\.nearness: must be .*, got -1'),
        ([{'name': 'nearness', 'weights': 3}], {}, {}, 'weights of nearness: must be a mapping'),
        ([{'name': 'nearness', 'settings': 3}], {}, {}, 'objective_settings: must be a mapping'),
    ],
)
def test_mistakes_are_named(objective, settings, weights, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_parts(objective, settings, weights)


def test_what_objectives_need_is_asked_for_once():
    assert needs(read_parts('nearness', {}, {})) == ()
    assert needs(read_parts('nearness+peaks', {}, {})) == ('colours', 'labels')


def test_frames_go_in_pairs_if_one_objective_does_without_labels():
    assert learns_from_labels_alone(read_parts('peaks', {}, {}))
    assert not learns_from_labels_alone(read_parts('peaks+nearness', {}, {}))


def test_together_they_give_what_each_gives_alone(network):
    statistics = DatasetStatistics(1.0)
    both = CompositeObjective(read_parts('nearness+peaks', {}, {}), NETWORK, statistics)
    found = both(PairBatch(network, images(1), images(2)))
    assert list(found) == ['nearness.near', 'nearness.far', 'peaks.near']
    for name in ('nearness', 'peaks'):
        alone = CompositeObjective(read_parts(name, {}, {}), NETWORK, statistics)
        for term, value in alone(PairBatch(network, images(1), images(2))).items():
            assert value.shape == (3,)
            torch.testing.assert_close(found[f'{name}.{term}'], value)


def test_each_objective_has_its_settings_the_facts_and_its_own_weights(network):
    statistics = DatasetStatistics(0.25, ('hand',))
    objective = [{'name': 'nearness', 'settings': {'strength': 5}}, 'peaks']
    both = CompositeObjective(read_parts(objective, {}, {}), NETWORK, statistics)
    assert both.objectives['nearness'].statistics is statistics
    assert dict(both.named_parameters()).keys() == {'objectives.nearness.scale'}
    assert both.objectives['nearness'].scale == 5.0


def test_the_network_looks_once_for_all_of_them(network):
    passes = []
    network.body.register_forward_hook(lambda *_: passes.append(1))
    CompositeObjective(read_parts('nearness+peaks', {}, {}), NETWORK, DatasetStatistics(1.0))(
        PairBatch(network, images(1), images(2))
    )
    assert len(passes) == 1


def test_a_configuration_holds_several(tmp_path, monkeypatch):
    path = tmp_path / 'both.yaml'
    path.write_text('objective:\n  - nearness\n  - {name: peaks, weight: 0.25}\n')
    with pytest.raises(ConfigError, match=r'nearness\+peaks learns from labels, but no'):
        read_config(path, {})
    config = TrainConfig(objective=['nearness', {'name': 'peaks', 'weight': 0.25}])
    assert config.title == 'nearness+peaks'
    assert config.term_weights()['peaks.near'] == 0.25


def test_an_objective_may_learn_from_the_averaged_network(network):
    parts = read_parts('nearness+peaks', {}, {})
    both = CompositeObjective(parts, NETWORK, DatasetStatistics(1.0))
    given = []
    both.objectives['peaks'].learn_from = given.append
    both.learn_from(network)
    assert given == [network]
