"""The coordinate convention, in the worked numbers of its docstring."""

from keypoint_perception.errors import EncodingError
from keypoint_perception.keypoints import cells_to_network, diagonal_px, Fit, network_to_cells
import numpy as np
import pytest

SIZES = ((480, 640), (240, 320), (210, 160), (128, 128), (127, 93), (1, 1), (1080, 1920))


def test_worked_numbers_of_the_docstring():
    fit = Fit((480, 640), (128, 128))
    assert fit.filled_hw == (96, 128)
    assert fit.offset_uv == (0, 16)
    np.testing.assert_allclose(fit.to_network([0, 0]), [-0.4, 15.6], atol=1e-5)
    np.testing.assert_allclose(fit.to_network([319.5, 239.5]), [63.5, 63.5], atol=1e-5)


def test_u_is_the_column_and_v_the_row():
    fit = Fit((480, 640), (96, 128))
    # four pixels to the right are 0.8 to the right at a scale of 0.2, and nothing down
    moved = fit.to_network([[104, 50], [100, 50]])
    np.testing.assert_allclose(moved[0] - moved[1], [0.8, 0.0], atol=1e-5)


@pytest.mark.parametrize('image_hw', SIZES)
@pytest.mark.parametrize('network_hw', [(128, 128), (96, 128), (128, 104), (33, 65)])
def test_round_trip(image_hw, network_hw):
    fit = Fit(image_hw, network_hw)
    uv = np.array([[0, 0], [image_hw[1] - 1, image_hw[0] - 1], [3.25, 7.5]], np.float32)
    np.testing.assert_allclose(fit.to_image(fit.to_network(uv)), uv, atol=2e-3)


@pytest.mark.parametrize('image_hw', SIZES)
def test_image_border_is_mapped_to_the_border_of_the_filled_area(image_hw):
    fit = Fit(image_hw, (96, 128))
    (left, top), (height, width) = fit.offset_uv, fit.filled_hw
    np.testing.assert_allclose(fit.to_network([-0.5, -0.5]), [left - 0.5, top - 0.5], atol=1e-4)
    corner = fit.to_network([image_hw[1] - 0.5, image_hw[0] - 0.5])
    np.testing.assert_allclose(corner, [left + width - 0.5, top + height - 0.5], atol=1e-4)
    assert left >= 0 and left + width <= 128 and top >= 0 and top + height <= 96


def test_cells_are_centred_on_their_blocks():
    # stride 4: cell 0 covers pixels 0..3, whose centre is 1.5
    assert cells_to_network(0, 4) == 1.5
    assert cells_to_network(1, 4) == 5.5
    assert network_to_cells(1.5, 4) == 0
    assert network_to_cells(cells_to_network(2.75, 4), 4) == 2.75


def test_an_image_without_pixels_cannot_be_fitted():
    with pytest.raises(EncodingError, match='640x0 cannot be fitted into 128x128: expected at'):
        Fit((0, 640), (128, 128))


def test_diagonal():
    assert diagonal_px(3, 4) == 5.0
