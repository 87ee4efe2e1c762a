"""Fast means over pixels are those of the general operators."""

from keypoint_perception.learning.pixel_means import as_rows, box_blur, colour_mean
import pytest
import torch
from torch.nn import functional


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_the_mean_over_colours(layout):
    images = torch.randn(2, 3, 8, 12).to(memory_format=layout)
    found = colour_mean(images)
    torch.testing.assert_close(found, images.mean(dim=1, keepdim=True))
    assert found.stride() == (96, 96, 12, 1)


@pytest.mark.parametrize('size', [1, 3, 5])
@pytest.mark.parametrize('inside', [False, True])
def test_a_box_blur_is_a_pool(size, inside):
    maps = torch.randn(2, 3, 8, 12).to(memory_format=torch.channels_last)
    before = maps.clone()
    pooled = functional.avg_pool2d(
        maps, size, stride=1, padding=size // 2, count_include_pad=not inside
    )
    torch.testing.assert_close(box_blur(maps, size, inside=inside), pooled)
    assert torch.equal(maps, before)


def test_maps_of_one_channel_keep_their_values():
    maps = torch.randn(2, 1, 8, 12).to(memory_format=torch.channels_last)
    maps = maps.as_strided(maps.shape, (96, 1, 12, 1))
    assert as_rows(maps).stride() == (96, 96, 12, 1)
    assert torch.equal(as_rows(maps), maps)
