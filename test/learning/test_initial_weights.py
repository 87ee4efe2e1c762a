"""SeedCandidate with another model's weights: what fits is taken, what does not is said."""

import logging

from keypoint_perception.errors import ModelError
from keypoint_perception.learning.config import derived_defaults, to_values, TrainConfig
from keypoint_perception.learning.learner import load_initial_weights
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


def test_matching_weights_are_copied_and_the_others_are_logged(model, caplog):
    path, begun = model
    network = Keypointer(NetworkConfig(keypoints=2, input_hw=(48, 64), width=16, norm='instance'))
    head = network.body.head.weight.clone()
    with caplog.at_level(logging.INFO, logger='keypoint_perception'):
        load_initial_weights(network, path)
    for name, tensor in begun.state_dict().items():
        if 'head' not in name:
            torch.testing.assert_close(network.state_dict()[name], tensor, rtol=0, atol=0)
    torch.testing.assert_close(network.body.head.weight, head, rtol=0, atol=0)
    count = len(begun.state_dict()) - 1  # the calibration is not learned
    assert f'Initial weights: {count - 2} of {count} copied from {path}; ' in caplog.text
    assert 'initialised at random: body.head.weight 5x16x1x1 -> 2x16' in caplog.text


def test_no_weights_are_listed_if_all_match(model, caplog):
    path, begun = model
    network = Keypointer(BEGUN)
    with caplog.at_level(logging.INFO, logger='keypoint_perception'):
        load_initial_weights(network, path)
    torch.testing.assert_close(network.state_dict(), begun.state_dict(), rtol=0, atol=0)
    count = len(begun.state_dict()) - 1
    assert caplog.text.rstrip().endswith(f'{count} of {count} copied from {path}.')


def test_another_network_is_refused(model):
    path, _ = model
    network = Keypointer(NetworkConfig('hourglass', 5, (48, 64), width=24))
    with pytest.raises(
        ModelError, match=r'none of the weights of .* \(network default, width 16\) match the netw'
    ):
        load_initial_weights(network, path)


def test_there_must_be_a_model(tmp_path):
    with pytest.raises(ModelError, match='holds no checkpoint'):
        load_initial_weights(Keypointer(BEGUN), tmp_path)


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
