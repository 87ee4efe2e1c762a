"""The decoder of maps keeps places and sees far."""

from keypoint_perception.model.decoder import MapDecoder
import pytest
import torch


@pytest.mark.parametrize(('hw', 'stride'), [((8, 12), 4), ((5, 7), 8)])
def test_a_cell_becomes_a_block_of_pixels(hw, stride):
    decoder = MapDecoder(6, 3, stride=stride, width=8, norm='group')
    assert decoder(torch.rand(2, 6, *hw)).shape == (2, 3, stride * hw[0], stride * hw[1])


def test_a_pixel_depends_most_on_its_own_cell_and_on_cells_far_away_too():
    torch.manual_seed(0)
    # batch norm at rest is the only norm through which nothing spreads
    decoder = MapDecoder(2, 1, stride=4, width=8, norm='batch').eval()
    maps = torch.rand(1, 2, 16, 32, requires_grad=True)
    picture = decoder(maps)[0, 0, 20:24, 40:44]  # column 10, row 5 of the maps
    strength = torch.autograd.grad(picture.sum(), maps)[0].abs().sum(dim=(0, 1))
    near, far = strength[4:7, 9:12].mean(), strength[4:7, 14:18].mean()
    assert near > 3 * far > 0
    assert not strength[:, 28:].any()
