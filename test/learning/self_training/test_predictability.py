"""What a patch's surroundings do not foretell stands out."""

from keypoint_perception.learning.self_training.detectors import peaks
from keypoint_perception.learning.self_training.predictability import (
    _neighbourhoods,
    _split,
    fit_predictor,
    PATCH,
)
import numpy as np
import pytest


def stripes(*spots):
    """Vertical stripes of eight columns, and bright spots of 4 x 4 px at (x, y)."""
    image = np.full((64, 96, 3), 60, np.uint8)
    image[:, np.arange(96) // 4 % 2 == 0] = 110
    for x, y in spots:
        image[y - 2 : y + 2, x - 2 : x + 2] = (230, 200, 40)
    return image


@pytest.fixture(scope='module')
def detect():
    rng = np.random.default_rng(0)
    spots = [rng.integers((10, 10), (86, 54)) for _ in range(20)]
    return fit_predictor(np.stack([stripes(spot) for spot in spots]))


def test_a_spot_on_stripes_is_unpredictable_and_the_stripes_are_not(detect):
    response = detect(stripes((60, 30)))
    assert response.shape == (64, 96) and response.dtype == np.float32
    strongest = peaks(response, count=1, spacing=4)[0]
    assert np.abs(strongest[:2] - (59.5, 29.5)).max() < 3
    elsewhere = response.copy()
    elsewhere[18:42, 48:72] = 0
    assert elsewhere.max() < 0.5 * strongest[2]


def test_it_is_the_same_in_every_run(detect):
    again = fit_predictor(np.stack([stripes((60, 30))] * 2))
    image = stripes((30, 40))
    np.testing.assert_array_equal(
        again(image), fit_predictor(np.stack([stripes((60, 30))] * 2))(image)
    )
    assert (detect(image) != again(image)).any()  # fitted to other images


def test_a_dark_plain_area_does_not_light_up(detect):
    image = stripes((60, 30))
    image[:, :30] = 0
    assert detect(image)[8:56, 8:20].max() < 0.2


def test_patches_and_their_neighbours():
    image = np.zeros((3 * PATCH + 1, 3 * PATCH, 3), np.uint8)
    image[PATCH : 2 * PATCH, PATCH : 2 * PATCH] = 255
    around = _neighbourhoods(image)
    assert around.shape == (2, 1, 9, 3 * PATCH**2)
    np.testing.assert_array_equal(around[0, 0].mean(axis=-1), [0, 0, 0, 0, 1, 0, 0, 0, 0])
    patch, neighbours = _split(around)
    assert (patch[0, 0] == 1).all() and not neighbours[0, 0].any()
    # one row further down, a quarter of the patch is in the neighbour above
    np.testing.assert_allclose(around[1, 0, 1].mean(), 1 / PATCH)
