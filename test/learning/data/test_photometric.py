"""Colours change as asked, and nothing else does."""

import math

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.data.photometric import (
    apply_colours,
    colour_matrix,
    ColourConfig,
    jitter_colours,
)
import pytest
import torch

RED = torch.tensor([0.5, -0.25, -0.5])


def changed(colour, *, contrast=1.0, saturation=1.0, hue=0.0, offset=0.0):
    """Return one colour after a change."""
    values = [torch.tensor([value]) for value in (contrast, saturation, hue, offset)]
    image = colour[None, :, None, None].expand(1, 3, 2, 3)
    return apply_colours(image, colour_matrix(*values[:3]), values[3])[0, :, 1, 2]


@pytest.mark.parametrize('strength', [-0.1, 1.1])
def test_the_strength_is_a_share(strength):
    assert (ColourConfig().colour, ColourConfig(colour=0.0).colour) == (0.2, 0.0)
    assert ColourConfig(colour=1.0).colour == 1.0
    with pytest.raises(ConfigError, match=f'colour: must be a number from 0 to 1, got {strength}'):
        ColourConfig(colour=strength)


def test_nothing_asked_nothing_changed():
    torch.testing.assert_close(changed(RED), RED)
    images = torch.rand(2, 3, 4, 5)
    assert jitter_colours(images, 0.0) is images


def test_each_change_by_hand():
    torch.testing.assert_close(changed(RED, contrast=1.5), 1.5 * RED)
    torch.testing.assert_close(changed(RED, offset=0.25), RED + 0.25)
    # the luma of RED is 0.299 * 0.5 - 0.587 * 0.25 - 0.114 * 0.5 = -0.05425
    torch.testing.assert_close(changed(RED, saturation=0.0), torch.full((3,), -0.05425))
    # a third of a turn takes red to green, green to blue and blue to red
    torch.testing.assert_close(changed(RED, hue=2 * math.pi / 3), RED[[2, 0, 1]])
    torch.testing.assert_close(changed(torch.full((3,), 0.3), hue=1.0), torch.full((3,), 0.3))


def test_the_hue_is_changed_first_then_saturation_then_contrast():
    found = changed(RED, contrast=1.2, saturation=0.5, hue=2 * math.pi / 3, offset=0.1)
    turned = RED[[2, 0, 1]]
    luma = 0.299 * turned[0] + 0.587 * turned[1] + 0.114 * turned[2]
    torch.testing.assert_close(found, 1.2 * (luma + 0.5 * (turned - luma)) + 0.1)


def test_changes_are_drawn_uniformly_up_to_the_strength():
    images = 0.4 * torch.rand(6, 3, 2, 4) - 0.2
    torch.manual_seed(0)
    found = jitter_colours(images, 0.3)
    torch.manual_seed(0)
    brightness, contrast, saturation, hue = (2 * torch.rand(6, 4) - 1).unbind(dim=1)
    matrix = colour_matrix(1.3**contrast, 1.3**saturation, 0.3 * math.pi / 2 * hue)
    expected = apply_colours(images, matrix, 0.3 * brightness)
    torch.testing.assert_close(found, expected)


def test_colours_stay_in_range():
    assert changed(RED, contrast=3.0).tolist() == pytest.approx([1.0, -0.75, -1.0])


def test_each_image_has_its_own_colours_and_stays_in_place():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 4, 6, generator=generator) - 0.5
    images = image.expand(5, 3, 4, 6)
    found = jitter_colours(images, 0.3, generator=generator)
    assert found.shape == images.shape and not torch.equal(found[0], found[1])
    # colours that are alike stay alike: the map of each image is the same at every place
    alone = jitter_colours(
        image[:, 2:3, 5:6].expand(5, 3, 1, 1), 0.3, generator=torch.Generator().manual_seed(7)
    )
    whole = jitter_colours(images, 0.3, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(whole[:, :, 2:3, 5:6], alone)


def test_strength_bounds_the_change():
    images = torch.zeros(200, 3, 1, 1)
    found = jitter_colours(images, 0.2, generator=torch.Generator().manual_seed(1))
    # mid-grey is moved by the brightness alone
    assert 0.15 < found.abs().max() <= 0.2


def test_colours_are_exact_under_mixed_precision():
    images = torch.rand(2, 3, 4, 5) - 0.5
    expected = jitter_colours(images, 0.3, generator=torch.Generator().manual_seed(1))
    with torch.autocast('cpu', torch.bfloat16):
        found = jitter_colours(images, 0.3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(found, expected)
