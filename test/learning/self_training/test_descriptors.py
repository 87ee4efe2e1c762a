"""Descriptors are of the place that they are asked for, and of length one."""

from keypoint_perception.learning.self_training.descriptors import Descriptors, sample
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
import torch


def test_maps_are_sampled_at_points_in_longer_sides():
    maps = torch.zeros(1, 1, 2, 4)
    maps[0, 0, 1] = torch.tensor([0.0, 1.0, 2.0, 3.0])
    # the cells of the lower row have their centres at y = 1.5 / 4, x = 0.5 / 4, 1.5 / 4, ...
    xy = torch.tensor([[[0.375, 0.375], [0.75, 0.375], [0.875, 0.25], [torch.nan, torch.nan]]])
    found = sample(maps, xy)[..., 0]
    torch.testing.assert_close(found, torch.tensor([[1.0, 2.5, 1.5, 0.0]]))


@pytest.mark.parametrize('name', ['default', 'hourglass'])
def test_descriptors_of_each_network(name):
    torch.manual_seed(0)
    config = NetworkConfig(network=name, keypoints=3, input_hw=(64, 96), width=8)
    network, descriptors = Keypointer(config), Descriptors(config)
    images = torch.rand(2, 3, 64, 96) * 2 - 1
    logits, features = network.maps_and_features(images)
    torch.testing.assert_close(logits, network.logits(images))
    xy = torch.rand(2, 5, 2) * torch.tensor([1.0, 2 / 3])
    found = descriptors(descriptors.fields(images, features), xy)
    assert found.shape == (2, 5, 64)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 5))
    found[0, 0, 0].backward()
    for module in (network.body, descriptors):
        assert any(p.grad is not None and p.grad.any() for p in module.parameters())
