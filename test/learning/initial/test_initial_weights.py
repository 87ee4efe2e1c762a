"""Runs begin with the package's weights, another model's or random ones; what fits is taken."""

import logging

from keypoint_perception.errors import ModelError
from keypoint_perception.learning.config import derived_defaults, to_values, TrainConfig
from keypoint_perception.learning.initial.initial_weights import (
    initialise,
    is_model,
    package_weights,
)
from keypoint_perception.model.checkpoint import Checkpoint, save_checkpoint
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
import torch

BEGUN = NetworkConfig(keypoints=5, input_hw=(48, 64), width=16, norm='instance', window=2)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    network = Keypointer(BEGUN).eval()
    state = {'step': 1, 'config': to_values(TrainConfig())}
    frames = torch.zeros(1, 48, 64, 3, dtype=torch.uint8)
    save_checkpoint(tmp_path, Checkpoint(network, {'x': torch.zeros(1)}, state, frames))
    return tmp_path, network


@pytest.fixture(autouse=True)
def log(caplog):
    caplog.set_level(logging.INFO, logger='keypoint_perception')
    return caplog


def test_matching_weights_are_copied_and_the_others_are_logged(model, log):
    path, begun = model
    network = Keypointer(NetworkConfig(keypoints=2, input_hw=(48, 64), width=16, norm='instance'))
    head = network.body.head.weight.clone()
    assert initialise(network, str(path)) is None
    for name, tensor in begun.state_dict().items():
        if 'head' not in name:
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=0, atol=0)
    torch.testing.assert_close(network.body.head.weight, head, rtol=0, atol=0)
    count = len(begun.state_dict()) - 1  # the calibration is not learned
    assert f'Initial weights: {count - 2} of {count} copied from {path}; ' in log.text
    assert 'initialised at random: body.head.weight 5x16x1x1 -> 2x16' in log.text


def test_no_weights_are_listed_if_all_match(model, log):
    path, begun = model
    network = Keypointer(BEGUN)
    initialise(network, str(path))
    torch.testing.assert_close(network.state_dict(), begun.state_dict(), rtol=0, atol=0)
    count = len(begun.state_dict()) - 1
    assert log.text.rstrip().endswith(f'{count} of {count} copied from {path}.')


def test_another_network_is_refused(model):
    path, _ = model
    network = Keypointer(NetworkConfig('hourglass', 5, (48, 64), width=24))
    with pytest.raises(
        ModelError,
        match=r'none of the weights of .* \(network default of width 16 with instance norm\) '
        'match the network hourglass of width 24',
    ):
        initialise(network, str(path))


def test_there_must_be_a_model(tmp_path):
    with pytest.raises(ModelError, match='holds no checkpoint'):
        initialise(Keypointer(BEGUN), str(tmp_path))


@pytest.mark.parametrize('hw', [(128, 128), (96, 160)])
def test_the_package_has_features_for_the_default_network_of_any_size(hw, log):
    network = Keypointer(NetworkConfig(input_hw=hw))
    head = network.body.head.weight.clone()
    assert initialise(network, 'package') is not None
    features = package_weights().features
    own = network.state_dict()
    assert set(own) - set(features) == {'calibration', 'body.head.weight', 'body.head.bias'}
    for name, tensor in features.items():
        torch.testing.assert_close(own[name], tensor, rtol=0, atol=0)
    torch.testing.assert_close(network.body.head.weight, head, rtol=0, atol=0)
    assert 'copied from the package' in log.text


@pytest.mark.parametrize(
    'config',
    [
        NetworkConfig(width=16),
        NetworkConfig(norm='batch'),
        NetworkConfig('paper', 4, (64, 64)),
        NetworkConfig('hourglass', 4, (64, 64)),
    ],
    ids=['width', 'norm', 'paper', 'hourglass'],
)
def test_other_networks_begin_with_random_weights_and_that_is_said(config, log):
    network = Keypointer(config)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert initialise(network, 'package') is None
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert "Initial weights: random, because the package's are for the network default" in log.text


def test_random_weights_can_be_asked_for(log):
    network = Keypointer(NetworkConfig())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert initialise(network, 'none') is None
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert not is_model('none') and not is_model('package') and is_model('./none')


def test_the_network_follows_from_the_model_that_it_begins_with(model, tmp_path):
    path, _ = model
    found = derived_defaults({'init': str(path)})
    assert found == {
        'network': 'default',
        'keypoints': 5,
        'width': 16,
        'norm': 'instance',
        'window': 2,
        'stacks': 2,
        'size': 64,
    }
    labels = tmp_path / 'labels.csv'
    labels.write_text('stamp_ns,keypoint,u,v\n1,hand,2,3\n')
    named = {'init': str(path), 'annotations': str(labels)}
    assert derived_defaults(named)['keypoints'] == 1
    assert derived_defaults({'init': 'none'}) == derived_defaults({'init': 'package'}) == {}
