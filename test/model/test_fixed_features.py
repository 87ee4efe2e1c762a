"""Nets to compare in: the same every time, and VGG-16 only from a file that holds it."""

from keypoint_perception.errors import ConfigError
from keypoint_perception.model.fixed_features import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    load_vgg16,
    RandomPyramid,
    Vgg16Features,
)
import pytest
from safetensors.torch import save_file
import torch
from torch import nn

# torchvision's `vgg16`, configuration D of the paper: channels of the convolutions, M a pooling
LAYOUT = (64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512, 'M')


def sequence():
    """Return the convolutions of VGG-16 as torchvision stacks them, with small weights."""
    torch.manual_seed(0)
    layers, before = [], 3
    for after in LAYOUT:
        if after == 'M':
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        before = after
    return nn.Sequential(*layers)


@pytest.fixture(scope='module')
def vgg16(tmp_path_factory):
    path = tmp_path_factory.mktemp('vgg16') / 'vgg16.safetensors'
    net = sequence()
    tensors = {f'features.{name}': tensor for name, tensor in net.state_dict().items()}
    save_file(tensors | {'classifier.0.bias': torch.zeros(2)}, path)
    return path, net


def image(height=32, width=48):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, height, width, generator=generator) * 2 - 1


def test_vgg16_gives_the_layers_of_the_stacked_network(vgg16):
    path, net = vgg16
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    seen, expected = ((image() + 1) / 2 - mean) / std, []
    with torch.no_grad():
        for place, layer in enumerate(net):
            seen = layer(seen)
            if place in (3, 8, 13, 20, 27):  # the ReLU behind conv1_2, 2_2, 3_2, 4_2 and 5_2
                expected.append(seen)
        found = load_vgg16(path)(image())
    assert [layer.shape[1:] for layer in found] == [
        (64, 32, 48),
        (128, 16, 24),
        (256, 8, 12),
        (512, 4, 6),
        (512, 2, 3),
    ]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_names_may_stand_without_their_place(vgg16, tmp_path):
    _, net = vgg16
    path = tmp_path / 'plain.safetensors'
    save_file(net.state_dict(), path)
    assert len(load_vgg16(path)(image(16, 16))) == 5


def test_other_files_are_refused(vgg16, tmp_path):
    _, net = vgg16
    sentence = (
        r"'.*vgg16\.pth' is a pickle, which may execute code when loaded; if you trust it, .*"
        r'torch\.load\(".*/vgg16\.pth", weights_only=True\), ".*/vgg16\.safetensors"\)'
    )
    with pytest.raises(ConfigError, match=sentence):
        load_vgg16(tmp_path / 'vgg16.pth')
    with pytest.raises(ConfigError, match=r"'.*none\.safetensors' cannot be read \(.*No such"):
        load_vgg16(tmp_path / 'none.safetensors')
    (tmp_path / 'text.safetensors').write_text('no tensors at all')
    with pytest.raises(ConfigError, match=r"'.*text\.safetensors' cannot be read"):
        load_vgg16(tmp_path / 'text.safetensors')
    batch_norm = dict(net.state_dict())
    batch_norm['2.weight'] = torch.zeros(64)
    save_file(batch_norm, tmp_path / 'bn.safetensors')
    sentence = (
        r'features\.2\.weight has shape \(64,\), expected \(64, 64, 3, 3\); give torchvision'
    )
    with pytest.raises(ConfigError, match=sentence):
        load_vgg16(tmp_path / 'bn.safetensors')
    save_file({'other': torch.zeros(1)}, tmp_path / 'other.safetensors')
    with pytest.raises(ConfigError, match=r'features\.0\.weight is missing'):
        load_vgg16(tmp_path / 'other.safetensors')


def test_the_random_pyramid_is_always_the_same_and_leaves_chance_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = RandomPyramid()(image())
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.manual_seed(6)
    other = RandomPyramid()(image())
    assert [layer.shape[1:] for layer in one] == [(16, 32, 48), (32, 16, 24), (64, 8, 12)]
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize('net', ['random', 'vgg16'])
def test_nothing_of_it_learns_or_is_kept_but_gradients_pass(net, vgg16):
    fixed = RandomPyramid() if net == 'random' else load_vgg16(vgg16[0])
    assert not list(fixed.parameters()) and not fixed.state_dict()
    seen = image().requires_grad_()
    sum(layer.sum() for layer in fixed(seen)).backward()
    assert seen.grad.abs().sum() > 0


def test_columns_are_not_rows():
    # what lies at column 40, row 4 of 48 x 32 is seen at column 10, row 1 a quarter as large
    black = torch.zeros(1, 3, 32, 48)
    dot = black.clone()
    dot[..., 4:8, 40:44] = 1.0
    fixed = RandomPyramid()
    changed = (fixed(dot)[2] - fixed(black)[2]).abs().sum(dim=1)[0]
    rows, columns = changed.sum(dim=1), changed.sum(dim=0)
    assert abs((rows * torch.arange(8)).sum() / rows.sum() - 1) < 0.5
    assert abs((columns * torch.arange(12)).sum() / columns.sum() - 10) < 0.5


def test_weights_are_taken_as_they_are():
    fixed = Vgg16Features({name: t.half() for name, t in sequence().state_dict().items()})
    assert all(layer.dtype == torch.float32 for layer in fixed(image(16, 16)))
