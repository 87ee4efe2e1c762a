"""What objectives that reconstruct frames share, by hand."""

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.partner_views import swap
from keypoint_perception.learning.reconstruction import (
    explained_motion,
    motion_weight,
    pixel_error,
    ReconstructionConfig,
)
import pytest
import torch


def test_pixels_that_differ_count_more():
    # the right half differs by 0.2 in all colours, the left half is the same
    image0 = torch.full((1, 3, 32, 48), 0.7)
    image1 = image0.clone()
    image1[..., :20, 24:] -= 0.2
    image1[..., 20:, 24:] += 0.2
    weight = motion_weight(image0, image1, 0.4)[0, 0]
    assert weight.shape == (32, 48)
    # far from the edge the blur changes nothing: 0.4 + 0.6 * 0.2 / (0.2 + 0.05)
    torch.testing.assert_close(weight[[16, 29], 40], torch.full((2,), 0.88))
    torch.testing.assert_close(weight[16, 5], torch.tensor(0.4))
    # three of the five columns around the edge differ: a mean of 0.12
    torch.testing.assert_close(weight[16, 24], torch.tensor(0.4 + 0.6 * 0.12 / 0.17))
    assert (motion_weight(image0, image1, 1.0) == 1).all()


def test_the_error_is_weighted_and_in_units_of_the_change():
    image = torch.full((2, 3, 2, 2), -0.5)
    reconstructed = image + torch.tensor([0.6, 0.2])[:, None, None, None]
    weight = torch.tensor([[1.0, 0.5], [0.0, 0.5]]).expand(2, 1, 2, 2)
    # half of 0.36 and of 0.04, over 0.09
    found = pixel_error(reconstructed.bfloat16().float(), image, weight, 0.09)
    torch.testing.assert_close(found, torch.tensor([2.0, 0.04 / 0.18]), rtol=1e-2, atol=0)
    assert pixel_error(reconstructed.bfloat16(), image, weight, 0.09).dtype == torch.float32


def test_an_error_of_one_half_explains_nothing():
    pixel = torch.tensor([0.0, 0.25, 0.5, 3.0], requires_grad=True)
    explained = explained_motion(pixel)
    assert explained.tolist() == [1.0, 0.5, 0.0, 0.0]
    assert not explained.requires_grad


def test_swapping_twice_changes_nothing():
    both = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert swap(both).tolist() == [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]
    assert swap(swap(both)).tolist() == both.tolist()


@pytest.mark.parametrize('sigma', [0.0, -0.1, 1.5])
def test_sigma_must_make_sense(sigma):
    with pytest.raises(ConfigError, match=rf'sigma: must be a number above 0 .*, got {sigma}'):
        ReconstructionConfig(sigma=sigma)


@pytest.mark.parametrize('weight', [-0.1, 1.5])
def test_still_weight_must_make_sense(weight):
    sentence = f'still_weight: must be a number from 0 to 1, got {weight}'
    with pytest.raises(ConfigError, match=sentence):
        ReconstructionConfig(still_weight=weight)


def test_the_defaults_are_those_of_the_documents():
    expected = ReconstructionConfig(sigma=0.1, still_weight=0.3, both_ways=True)
    assert ReconstructionConfig() == expected
