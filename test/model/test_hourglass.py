"""The stacked hourglass: what it sees, where its cells lie, and that every stack learns."""

from keypoint_perception.model.hourglass import Bottleneck, Hourglass, StackedHourglass
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
import torch


@pytest.fixture
def network():
    torch.manual_seed(0)
    return StackedHourglass(keypoints=3, width=16, norm='group', stacks=3)


def test_every_stack_has_maps_and_the_last_is_the_answer(network):
    image = torch.rand(2, 3, 48, 64)
    maps = network.stacks(image)
    assert [m.shape for m in maps] == [(2, 3, 12, 16)] * 3
    torch.testing.assert_close(network(image), maps[-1])
    assert not torch.allclose(maps[0], maps[1])


def test_the_keypointer_gives_the_stacks_in_full_precision():
    network = Keypointer(NetworkConfig('hourglass', 3, (32, 48), width=16, stacks=2))
    image = torch.rand(1, 3, 32, 48)
    with torch.autocast('cpu', torch.bfloat16):
        stacks, logits = network.stacks(image), network.logits(image)
    assert [maps.dtype for maps in stacks] == [torch.float32] * 2
    torch.testing.assert_close(stacks[-1], logits)
    single = Keypointer(NetworkConfig('default', 3, (32, 48), width=16))
    assert len(single.stacks(image)) == 1


def test_the_last_maps_reach_every_weight_but_the_first_maps_alone_do_not(network):
    image = torch.rand(1, 3, 64, 64)
    network(image).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
    network.zero_grad(set_to_none=True)
    network.stacks(image)[0].square().sum().backward()
    assert all(p.grad is None for p in network.heads[1].parameters())
    assert all(p.grad is not None for p in network.heads[0].parameters())


def test_a_unit_adds_to_what_it_gets():
    unit = Bottleneck(8, 8, 'group')
    torch.nn.init.zeros_(unit.body[-1].weight)
    torch.nn.init.zeros_(unit.body[-1].bias)
    features = torch.rand(1, 8, 4, 6)
    torch.testing.assert_close(unit(features), features)


def test_an_hourglass_sees_the_whole_scene():
    torch.manual_seed(0)
    features = torch.rand(1, 8, 16, 24, requires_grad=True)
    # one cell's answer depends on the opposite corner; statistics of a batch norm at rest do not
    Hourglass(8, 'batch').eval()(features)[0, :, 0, 0].sum().backward()
    assert features.grad[0, :, 15, 23].abs().sum() > 0


def test_a_cell_lies_over_its_block_of_pixels():
    """The convention of keypoints.cells_to_network: what is symmetric stays symmetric."""
    stem = StackedHourglass(keypoints=1, width=16, norm='group', stacks=1).stem
    with torch.no_grad():
        for module in stem.modules():
            if isinstance(module, torch.nn.Conv2d):
                # kernels that are alike from both sides
                module.weight.copy_((module.weight + module.weight.flip(2, 3)) / 2)
        image = torch.rand(1, 3, 32, 48)
        turned = stem(image.flip(2, 3)).flip(2, 3)
        torch.testing.assert_close(turned, stem(image), rtol=1e-4, atol=1e-4)
