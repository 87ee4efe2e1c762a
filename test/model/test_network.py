"""The one network: shapes, conventions, and what may be asked of it."""

from keypoint_perception.errors import ConfigError
from keypoint_perception.model.layers import normalise, SpaceToDepth
from keypoint_perception.model.network import (
    Keypointer,
    make_features,
    make_refiner,
    NetworkConfig,
    NETWORKS,
)
import pytest
import torch

SIZES = [(64, 64), (48, 64), (96, 128), (128, 104), (40, 72)]


@pytest.mark.parametrize('network', NETWORKS)
# 28 channels do not go into groups of 8
@pytest.mark.parametrize(('input_hw', 'width'), [*((hw, 8) for hw in SIZES), ((32, 32), 28)])
def test_shapes(network, input_hw, width):
    config = NetworkConfig(network=network, keypoints=5, input_hw=input_hw, width=width)
    keypointer = Keypointer(config).eval()
    images = torch.zeros(2, *input_hw, 3, dtype=torch.uint8)
    with torch.no_grad():
        logits = keypointer.logits(normalise(images))
        features = make_features(config).eval()(normalise(images))
        rebuilt = make_refiner(config).eval()(features)
        found = keypointer(images)
    assert logits.shape == (2, 5, *(n // keypointer.stride for n in input_hw))
    assert features.shape[-2:] == logits.shape[-2:]
    assert rebuilt.shape == (2, 3, *input_hw)
    assert found.shape == (2, 5, 3)
    assert found.dtype == torch.float32
    assert found[..., 2].min() >= 0 and found[..., 2].max() <= 1


def peak_at(keypointer, row, column):
    """Return a network whose map has one peak, wherever it looks."""

    def logits(image):
        maps = torch.zeros(len(image), keypointer.config.keypoints, 6, 8)
        maps[..., row, column] = 50.0
        return maps

    keypointer.logits = logits
    return keypointer


def test_a_peak_is_read_out_in_pixels_of_the_input():
    keypointer = peak_at(Keypointer(NetworkConfig(keypoints=1, input_hw=(48, 64), width=8)), 3, 5)
    found = keypointer(torch.zeros(1, 48, 64, 3, dtype=torch.uint8))
    # column 5 of stride 8 is centred at 5 * 8 + 3.5, row 3 at 3 * 8 + 3.5
    torch.testing.assert_close(found, torch.tensor([[[43.5, 27.5, 0.999]]]))


def test_a_flat_map_has_the_confidence_of_its_window():
    keypointer = Keypointer(NetworkConfig(keypoints=1, input_hw=(64, 64), width=8, window=1))
    keypointer.logits = lambda image: torch.zeros(1, 1, 16, 16)
    found = keypointer(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    # the largest cell of equal ones is the first, whose window is cut to 2 x 2
    torch.testing.assert_close(found[0, 0, 2].item(), 4 / 256)


def test_the_paper_reads_out_as_it_learns():
    config = NetworkConfig(network='paper', keypoints=2, input_hw=(32, 48))
    keypointer = Keypointer(config).eval()
    images = torch.randint(0, 255, (1, 32, 48, 3), dtype=torch.uint8)
    with torch.no_grad():
        xy = keypointer.points(keypointer.logits(normalise(images)))
        torch.testing.assert_close(keypointer(images)[..., :2], (xy + 0.5) * 4 - 0.5)


def test_paper_network_has_the_ports_size():
    # weights of the six convolutions and the 1 x 1 with its bias, two norm parameters a channel
    convolutions = 3 * 32 * 49 + 9 * (32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    norms = 2 * (32 + 32 + 64 + 64 + 128 + 128)
    count = sum(p.numel() for p in Keypointer(NetworkConfig('paper', 4)).parameters())
    assert count == convolutions + norms + 128 * 4 + 4


def test_fold_keeps_every_pixel_of_a_block_in_its_cell():
    image = torch.arange(2 * 3 * 8 * 12, dtype=torch.float32).reshape(2, 3, 8, 12)
    folded = SpaceToDepth(4)(image)
    assert folded.shape == (2, 48, 2, 3)
    # cell (row 1, column 2) of the second image holds rows 4..7 and columns 8..11
    block = image[1, :, 4:8, 8:12]
    assert sorted(folded[1, :, 1, 2].tolist()) == sorted(block.flatten().tolist())


def test_normalise_puts_black_at_minus_one_and_channels_first():
    image = torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)
    torch.testing.assert_close(normalise(image).flatten(), torch.tensor([-1.0, 1.0, -0.6]))


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'network': 'resnet'}, "network: 'resnet' is not known; known: default, paper, h"),
        ({'norm': 'layer'}, "norm: 'layer' is not known; known: group, instance, batch"),
        ({'keypoints': 0}, 'keypoints: must be an integer from 1 to 512, got 0'),
        ({'input_hw': (100, 128)}, 'multiples of 8 and at least 16, got 100 x 128'),
        ({'input_hw': (8, 128)}, 'multiples of 8 and at least 16, got 8 x 128'),
    ],
)
def test_impossible_networks_are_refused(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        NetworkConfig(**values)


def test_more_keypoints_than_cells_have_no_room():
    NetworkConfig(keypoints=48, input_hw=(48, 64))
    with pytest.raises(ConfigError, match=r'49 do not fit on maps of 8 x 6 cells \(at most one'):
        NetworkConfig(keypoints=49, input_hw=(48, 64))
