"""Warps move images and points alike."""

import math

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.data.warps import (
    CONTROLS,
    make_warp,
    MAX_BEND,
    random_warp,
    Warp,
    WarpConfig,
)
import pytest
import torch

HW = (24, 36)
STRONGEST = WarpConfig(angle=180, scale=0.5, shift=0.3, bend=MAX_BEND)


def still(count=1):
    return torch.zeros(count), torch.ones(count), torch.zeros(count, 2)


def blob(xy, hw=HW, sigma=1.2):
    """Return an image (1, 1, H, W) that is brightest at a point."""
    y, x = torch.meshgrid(torch.arange(hw[0]), torch.arange(hw[1]), indexing='ij')
    square = (x - xy[0]).square() + (y - xy[1]).square()
    return torch.exp(-square / (2 * sigma**2))[None, None]


def centre(image):
    """Return the centre of mass of an image (1, 1, H, W)."""
    y, x = torch.meshgrid(*(torch.arange(n) for n in image.shape[-2:]), indexing='ij')
    mass = image[0, 0] / image.sum()
    return torch.stack([(mass * x).sum(), (mass * y).sum()])


def test_no_warp_changes_nothing():
    image = torch.rand(1, 3, *HW)
    xy = torch.tensor([[[3.0, 5.0], [35.0, 0.0]]])
    for bend in (None, torch.zeros(1, CONTROLS**2, 2)):
        warp = make_warp(*still(), bend)
        torch.testing.assert_close(warp.images(image), image, atol=1e-5, rtol=0)
        torch.testing.assert_close(warp.points(xy, HW), xy, atol=1e-5, rtol=0)
        torch.testing.assert_close(warp.back(xy, HW), xy, atol=1e-5, rtol=0)
        assert warp.seen(HW).all()


def test_a_shift_by_hand():
    # the longer side is 36 px: what lies 18 * 0.5 = 9 px to the right and 3 px below comes to
    # the middle, so everything moves 9 px left and 3 px up
    angle, scale, _ = still()
    warp = make_warp(angle, scale, torch.tensor([[0.5, 3 / 18]]))
    xy = torch.tensor([[[20.0, 10.0], [4.0, 10.0]]])
    torch.testing.assert_close(warp.points(xy, HW), xy - torch.tensor([9.0, 3.0]))
    assert warp.inside(xy, HW).tolist() == [[True, False]]
    image = torch.rand(1, 3, *HW)
    torch.testing.assert_close(warp.images(image)[..., :-3, :-9], image[..., 3:, 9:])
    # the nine columns at the right and the three rows below show nothing of the image
    seen = warp.seen(HW)[0, 0]
    assert seen[:-3, :-9].all() and not seen[-3:].any() and not seen[:, -9:].any()


def test_a_quarter_turn_and_twice_the_size_by_hand():
    # the middle is (17.5, 11.5); clockwise on the screen, right becomes down
    _, _, shift = still()
    warp = make_warp(torch.tensor([math.pi / 2]), torch.tensor([2.0]), shift)
    xy = torch.tensor([[[19.5, 11.5], [17.5, 12.5]]])
    expected = torch.tensor([[[17.5, 15.5], [15.5, 11.5]]])
    torch.testing.assert_close(warp.points(xy, HW), expected)
    torch.testing.assert_close(warp.back(expected, HW), xy)


def test_the_spline_goes_through_its_control_points():
    # half the longer side is 18 px: the control point in the middle shows what lies 0.09 * 18 px
    # to the right, the others show themselves
    bend = torch.zeros(1, CONTROLS**2, 2)
    bend[0, CONTROLS**2 // 2, 0] = 0.09
    warp = make_warp(*still(), bend)
    xy = torch.tensor([[[17.5, 11.5], [17.5 + 9, 11.5], [17.5 - 18, 11.5 - 9]]])
    expected = xy + torch.tensor([[[1.62, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(warp.back(xy, HW), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize('config', [WarpConfig(), STRONGEST, WarpConfig(bend=0)])
def test_points_go_where_the_image_goes(config):
    generator = torch.Generator().manual_seed(3)
    warp = random_warp(6, (96, 144), config, generator=generator)
    # drawn at random, but in the middle, so that the warped image shows all of the blob
    xy = torch.rand(6, 1, 2, generator=generator) * 20 + torch.tensor([61.5, 37.5])
    for i in range(6):
        one = Warp(warp.coefficients[i : i + 1])
        expected = one.points(xy[i : i + 1], (96, 144))[0, 0]
        found = centre(one.images(blob(xy[i, 0], (96, 144))))
        assert (found - expected).norm() < 0.15  # bilinear sampling and the bend of the blob


def test_cells_and_pixels_are_the_same_places():
    # px = 4 cell + 1.5 at stride 4
    warp = random_warp(2, (96, 144), WarpConfig(), generator=torch.Generator().manual_seed(0))
    cells = torch.tensor([[[3.0, 5.0], [30.0, 20.0]]]).expand(2, 2, 2)
    for way in (warp.points, warp.back):
        pixels = way(4 * cells + 1.5, (96, 144))
        torch.testing.assert_close(4 * way(cells, (24, 36)) + 1.5, pixels, atol=1e-4, rtol=1e-4)


def test_there_and_back():
    hw = (96, 144)
    generator = torch.Generator().manual_seed(1)
    warp = random_warp(64, hw, STRONGEST, generator=generator)
    xy = torch.rand(64, 20, 2, generator=generator) * torch.tensor([143.0, 95.0])
    torch.testing.assert_close(warp.points(warp.back(xy, hw), hw), xy, atol=2e-3, rtol=0)


def test_sources_are_the_way_back_of_every_cell():
    warp = random_warp(2, HW, WarpConfig(), generator=torch.Generator().manual_seed(2))
    sources = warp.sources(HW)
    assert sources.shape == (2, *HW, 2)
    back = warp.back(torch.tensor([[[30.0, 7.0]]]).expand(2, 1, 2), HW)
    torch.testing.assert_close(sources[:, 7, 30], back[:, 0])


def test_the_gradient_of_a_point_is_exact():
    warp = random_warp(1, HW, STRONGEST, generator=torch.Generator().manual_seed(4))
    xy = torch.tensor([[[13.0, 9.0]]])
    slopes = torch.autograd.functional.jacobian(lambda p: warp.points(p, HW), xy).view(2, 2)
    for axis in range(2):
        step = torch.zeros(1, 1, 2)
        step[..., axis] = 0.05
        change = (warp.points(xy + step, HW) - warp.points(xy - step, HW))[0, 0] / 0.1
        torch.testing.assert_close(slopes[:, axis], change, atol=5e-3, rtol=5e-3)


def test_warps_come_from_the_generator():
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return random_warp(3, HW, WarpConfig(), generator=generator).coefficients

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    first, second, third = draw(0)
    assert not torch.equal(first, second) and not torch.equal(second, third)


def test_the_strongest_allowed_bend_folds_nothing():
    hw = (64, 64)
    generator = torch.Generator().manual_seed(5)
    sources = random_warp(200, hw, WarpConfig(0, 0, 0, MAX_BEND), generator=generator).sources(hw)
    along_x = sources[:, :-1, 1:] - sources[:, :-1, :-1]
    along_y = sources[:, 1:, :-1] - sources[:, :-1, :-1]
    area = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
    assert area.min() > 0


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'angle': 200}, 'angle: must be a number from 0 to 180, got 200'),
        ({'scale': -0.5}, 'scale: must be a number from 0 to 2, got -0.5'),
        ({'bend': 0.2}, 'bend: must be a number from 0 to 0.09, got 0.2'),
        ({'shift': -0.1}, 'shift: must be a number from 0 to 1, got'),
        ({'shift': 0.8}, r'below 1, or the centre of the image may leave it; got shift 0.8'),
    ],
)
def test_warps_that_cannot_be_used_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        WarpConfig(**settings)


def test_warps_are_exact_under_mixed_precision():
    xy = torch.tensor([[[3.0, 5.0], [30.0, 20.0]]]).expand(2, 2, 2)
    image = torch.rand(2, 3, *HW, generator=torch.Generator().manual_seed(0))

    def results():
        warp = random_warp(2, HW, WarpConfig(), generator=torch.Generator().manual_seed(0))
        return warp.coefficients, warp.points(xy, HW), warp.back(xy, HW), warp.images(image)

    expected = results()
    with torch.autocast('cpu', torch.bfloat16):
        found = results()
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_settings_bound_what_is_drawn():
    def drawn(**settings):
        config = WarpConfig(**({'angle': 0, 'scale': 0, 'shift': 0, 'bend': 0} | settings))
        warp = random_warp(500, HW, config, generator=torch.Generator().manual_seed(0))
        corners = torch.tensor([[17.5, 11.5], [27.5, 11.5]]).expand(500, 2, 2)
        middle, right = (warp.back(corners, HW) - torch.tensor([17.5, 11.5])).unbind(1)
        return middle, right - middle

    # half of half of each side: 9 px along x, 6 px along y
    shift, _ = drawn(shift=0.5)
    assert shift.abs().amax(dim=0).tolist() == pytest.approx([9, 6], abs=0.1)
    assert (shift.abs().amax(dim=0) <= torch.tensor([9.0, 6.0]) + 1e-4).all()
    # 10 px to the right of the middle: turned by up to 30 degrees, 10 / 1.2 to 12 px long
    _, arm = drawn(angle=30)
    angle = torch.rad2deg(torch.atan2(arm[:, 1], arm[:, 0]))
    assert angle.min() == pytest.approx(-30, abs=0.3) and angle.max() == pytest.approx(30, abs=0.3)
    _, arm = drawn(scale=0.2)
    length = arm.norm(dim=-1)
    assert length.min() == pytest.approx(10 / 1.2, abs=0.02)
    assert length.max() == pytest.approx(12, abs=0.02)


def test_the_defaults_are_those_of_the_documents():
    assert WarpConfig() == WarpConfig(angle=20.0, scale=0.2, shift=0.1, bend=0.08)


def test_a_warp_is_made_of_what_is_drawn():
    config = WarpConfig(angle=40.0, scale=0.5, shift=0.3, bend=0.05)
    torch.manual_seed(0)
    found = random_warp(4, HW, config)
    torch.manual_seed(0)
    drawn = 2 * torch.rand(4, 4 + 2 * 25) - 1
    angle, scale = math.radians(40) * drawn[:, 0], 1.5 ** drawn[:, 1]
    shift = 0.3 * drawn[:, 2:4] * torch.tensor([1.0, 24 / 36])
    expected = make_warp(angle, scale, shift, 0.05 * drawn[:, 4:].view(4, 25, 2))
    torch.testing.assert_close(found.coefficients, expected.coefficients)
    assert len(random_warp(1, HW, WarpConfig(bend=0.0)).coefficients[0]) == 3


def test_an_eighth_of_a_turn_and_twice_the_size_by_hand():
    warp = make_warp(torch.tensor([math.pi / 4]), torch.tensor([2.0]), torch.zeros(1, 2))
    # two px to the right come four away, half right and half down
    found = warp.points(torch.tensor([[[19.5, 11.5]]]), HW)
    torch.testing.assert_close(found, torch.tensor([[[17.5 + 8**0.5, 11.5 + 8**0.5]]]))


def test_control_points_are_row_by_row_and_an_affine_bend_is_affine():
    bend = torch.zeros(1, 25, 2)
    bend[0, 1] = torch.tensor([0.05, 0.02])  # in the first row, the second column
    xy = torch.tensor([[[17.5 - 9, 11.5 - 18], [17.5 - 18, 11.5 - 9], [17.5 + 9, 11.5 + 18]]])
    moved = torch.tensor([[[0.9, 0.36], [0.0, 0.0], [0.0, 0.0]]])
    found = make_warp(*still(), bend).back(xy, HW)
    torch.testing.assert_close(found, xy + moved, atol=1e-4, rtol=0)
    side = torch.linspace(-1, 1, 5)
    places = torch.cartesian_prod(side, side).flip(-1)
    matrix, offset = torch.tensor([[0.04, -0.02], [0.01, 0.03]]), torch.tensor([0.02, -0.01])
    warp = make_warp(*still(), (places @ matrix + offset)[None])
    v = torch.tensor([[[0.3, -0.2], [-0.7, 0.45]]])
    xy = 18 * v + torch.tensor([17.5, 11.5])
    torch.testing.assert_close(
        warp.back(xy, HW), xy + 18 * (v @ matrix + offset), atol=1e-4, rtol=0
    )


def test_the_slopes_of_points_are_the_inverse_of_those_of_the_way_back():
    warp = random_warp(1, HW, STRONGEST, generator=torch.Generator().manual_seed(4))
    for place in ((13.0, 9.0), (22.0, 14.0), (17.5, 11.5), (5.0, 20.0)):
        shown = torch.tensor([[place]])
        there = torch.autograd.functional.jacobian(
            lambda p: warp.points(p, HW), warp.back(shown, HW)
        )
        back = torch.autograd.functional.jacobian(lambda p: warp.back(p, HW), shown)
        product = there.view(2, 2) @ back.view(2, 2)
        torch.testing.assert_close(product, torch.eye(2), atol=2e-3, rtol=0)


def test_a_point_on_a_control_point_has_a_place():
    warp = make_warp(*still(), torch.zeros(1, 25, 2))
    middle = torch.tensor([[[17.5, 11.5]]])
    torch.testing.assert_close(warp.points(middle, HW), middle)


def test_the_image_ends_half_a_cell_beyond_its_last_centres():
    xy = torch.tensor([[[-0.4, 5.0], [35.4, 5.0], [5.0, -0.4], [5.0, 23.4]]])
    xy = torch.cat([xy, torch.tensor([[[-0.6, 5.0], [35.6, 5.0], [5.0, -0.6], [5.0, 23.6]]])], 1)
    assert make_warp(*still()).inside(xy, HW)[0].tolist() == [True] * 4 + [False] * 4
