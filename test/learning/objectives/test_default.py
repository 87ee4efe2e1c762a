"""The default objective's terms are zero where they should be, and ask for what they say."""

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.objectives.default import (
    Default,
    DefaultConfig,
    find_foreground,
    follow_error,
    off_foreground,
    share_on,
    turn_error,
    uncovered,
)
from keypoint_perception.learning.views import Facts, Views
from keypoint_perception.learning.warps import make_warp
from keypoint_perception.model.heatmaps import steepness
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
import torch

NETWORK = NetworkConfig(keypoints=3, input_hw=(64, 96), width=8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Keypointer(NETWORK)


def objective(**weights):
    torch.manual_seed(1)
    made = Default(DefaultConfig(), NETWORK, Facts(1.0))
    made.used = {name for name in made.weights if weights.get(name, 1)}
    return made


def images(seed, count=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 64, 96, generator=generator) * 2 - 1


def views(network, image0, image1, background=None):
    count = len(image0)
    extra = {
        'background': torch.zeros_like(image0) if background is None else background,
        'next': image0[::2],
        'flow': torch.zeros((count + 1) // 2, 2, 8, 12),
    }
    return Views(network, image0, image1, extra)


def peak(column, row, *, height=8, width=12):
    maps = torch.zeros(1, 1, height, width)
    maps[..., row, column] = 1.0
    return maps


def test_before_the_first_step_the_background_is_the_answer(network):
    background = images(3)
    terms = objective()(views(network, background, background, background))
    torch.testing.assert_close(terms['pixel'], torch.zeros(2))


def test_the_error_by_hand(network):
    # background 0 and frames 0.6 throughout: they are alike, so every pixel counts 0.3
    image = torch.full((2, 3, 64, 96), 0.6)
    terms = objective()(views(network, image, image))
    torch.testing.assert_close(terms['pixel'], torch.full((2,), 0.3 * 0.36))
    torch.testing.assert_close(terms['focus'], torch.full((2,), 0.3 * 0.36), rtol=1e-3, atol=0)


def test_focus_weighs_an_error_in_one_place_more():
    network = Keypointer(NETWORK)
    image = torch.zeros(1, 3, 64, 96)
    image[..., 8:16, 16:24] = 1.0  # one cell of 8 x 12
    terms = objective()(views(network, image, image))
    torch.testing.assert_close(terms['pixel'].item(), 0.3 / 96)
    torch.testing.assert_close(terms['focus'].item(), 0.3 / 96**0.5, rtol=1e-2, atol=0)


def test_foreground_is_where_a_frame_differs_from_the_background():
    image = torch.zeros(1, 3, 64, 96)
    image[..., 8:16, 16:24] = 0.5  # row 1, column 2
    image[..., 24:32, 0:8] = 0.05  # 0.05 / 0.1 = 0.5 -> (0.5 - 0.2) / 0.6
    found = find_foreground(image, torch.zeros_like(image), (8, 12))
    assert found.shape == (1, 8, 12)
    assert found[0, 1, 2] == 1.0
    assert found[0, 3, 0].item() == pytest.approx(0.5)
    assert found.sum().item() == pytest.approx(1.5)


def test_keypoints_on_the_foreground_cost_nothing():
    foreground = torch.zeros(1, 8, 12)
    foreground[0, 2, 7] = 1.0
    torch.testing.assert_close(
        off_foreground(share_on(peak(7, 2), foreground), foreground), torch.zeros(1)
    )
    # off it everything, times 1 / (1 + 1) for there being one cell of foreground
    torch.testing.assert_close(
        off_foreground(share_on(peak(2, 7), foreground), foreground), torch.tensor([0.5])
    )
    torch.testing.assert_close(
        off_foreground(share_on(peak(2, 7), foreground), foreground * 0), torch.zeros(1)
    )


def test_uncovered_by_hand():
    foreground = torch.zeros(1, 8, 12)
    foreground[0, 2, 7], foreground[0, 5, 1] = 1.0, 1.0
    covered = torch.zeros(1, 1, 8, 12)
    covered[0, 0, 2, 7] = 0.75
    # (0.25 + 1) / (2 + 1)
    torch.testing.assert_close(uncovered(covered, foreground), torch.tensor([1.25 / 3]))


def test_following_the_flow_costs_nothing():
    flow = torch.zeros(1, 2, 8, 12)
    flow[0, :, 2, 7] = torch.tensor([3.0, -1.0])
    moved = torch.tensor([[[3.0, -1.0]]])
    torch.testing.assert_close(follow_error(peak(7, 2), moved, flow).item(), 0.0)
    # along x is not along y
    assert follow_error(peak(7, 2), moved.flip(-1), flow) > 0.5


def test_not_following_by_hand():
    # flow of 3 cells in one place, where the keypoint is, which does not move:
    # q = 9 / (9 + 0.02), 2 (sqrt(1 + q) - 1)
    flow = torch.zeros(1, 2, 8, 12)
    flow[0, 0, 2, 7] = 3.0
    found = follow_error(peak(7, 2), torch.zeros(1, 1, 2), flow).item()
    assert found == pytest.approx(2 * ((1 + 9 / 9.02) ** 0.5 - 1), rel=1e-5)
    # a keypoint on the still part may stay
    assert follow_error(peak(2, 7), torch.zeros(1, 1, 2), flow).item() == pytest.approx(0.0)


def test_unknown_flow_asks_nothing():
    flow = torch.full((1, 2, 8, 12), torch.nan)
    found = follow_error(peak(7, 2), torch.ones(1, 1, 2), flow)
    assert found.item() == 0.0


def quarter_turn():
    return make_warp(torch.tensor([torch.pi / 2]), torch.ones(1), torch.zeros(1, 2))


def test_keypoints_that_turn_with_the_image_cost_nothing():
    # about the middle (5.5, 3.5) of 8 x 12 cells, clockwise: 2 to the right is 2 below
    points, turned = torch.tensor([[[7.5, 3.5]]]), torch.tensor([[[5.5, 5.5]]])
    found = turn_error(points, turned, quarter_turn(), (8, 12))
    torch.testing.assert_close(found, torch.zeros(1, 1), atol=1e-6, rtol=0)
    # 2 cells and 2 cells off, a half side is 6
    still = turn_error(points, points, quarter_turn(), (8, 12))
    torch.testing.assert_close(still, torch.tensor([[(2**2 + 2**2) / 6**2]]))


def test_a_keypoint_that_is_lost_costs_no_more_than_lost():
    points = torch.tensor([[[7.5, 3.5]]])
    far = turn_error(points, torch.tensor([[[0.0, 0.0]]]), quarter_turn(), (8, 12))
    torch.testing.assert_close(far, torch.tensor([[0.25]]))


def test_a_keypoint_that_is_turned_out_of_view_is_not_asked_for():
    # 5.5 right of the middle turns 5.5 below it, where 8 rows end after 4
    points = torch.tensor([[[11.0, 3.5]]])
    found = turn_error(points, torch.zeros(1, 1, 2), quarter_turn(), (8, 12))
    torch.testing.assert_close(found, torch.zeros(1, 1))


def test_every_part_learns(network):
    made = objective()
    torch.nn.init.normal_(made.refine.last.weight)
    terms = made(views(network, images(1, 4), images(2, 4)))
    assert set(terms) == set(made.weights)
    assert all(term.shape == (4,) and term.isfinite().all() for term in terms.values())
    sum(term.sum() for term in terms.values()).backward()
    for part in (network, made.features, made.refine):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_next_frame_must_be_where_the_flow_says(network):
    made = objective()
    network.points = lambda logits: torch.tensor([[7.0, 2.0]]).expand(len(logits), 3, 2)
    network.logits = lambda image: (
        torch.nn.functional.one_hot(torch.full((len(image), 3), 2 * 12 + 7), 96).unflatten(
            -1, (8, 12)
        )
        * 50.0
    )
    batch = views(network, images(1, 4), images(1, 4))
    batch.extra['background'] = batch.image0 - 0.5  # everything is foreground
    still = made(batch)['flow']
    torch.testing.assert_close(still, torch.zeros(4))
    batch.extra['flow'][:, 0, 2, 7] = 24.0  # px, three cells along x
    assert (made(batch)['flow'] > 0.5).all()


def test_terms_that_do_not_count_are_not_computed(network):
    batch = views(network, images(1), images(2))
    del batch.extra['next'], batch.extra['flow']
    terms = objective(flow=0, turn=0)(batch)
    assert (terms['flow'] == 0).all() and (terms['turn'] == 0).all()


@pytest.mark.parametrize('angle', [-1.0, 181.0])
def test_the_angle_must_make_sense(angle):
    with pytest.raises(
        ConfigError, match=f'angle: must be between 0 and 180 degrees, got {angle}'
    ):
        DefaultConfig(angle=angle)


def test_maps_narrower_than_a_cell_cost_and_wider_ones_do_not(network):
    image = images(1)
    frames = image * 0 + 0.9, image * 0 + 0.9, image * 0  # all of it is foreground
    assert (objective()(views(network, *frames))['peak'] == 0).all()
    with torch.no_grad():
        network.body.head.weight.mul_(200)
    batch = views(network, *frames)
    steep = steepness(batch.logits) - 1 / (2 * 0.6**2)
    expected = steep.clamp(min=0).mean(dim=1).unflatten(0, (2, -1)).mean(dim=0)
    found = objective()(batch)['peak']
    assert (expected > 1).all()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_keypoints_off_the_foreground_are_not_asked_to_settle(network):
    image = images(1)
    # nothing is in front of the background, and it is rebuilt without an error
    terms = objective()(views(network, image, image, image))
    assert (terms['pixel'] < 1e-6).all()
    assert all((terms[name] == 0).all() for name in ('spread', 'turn', 'flow', 'aside'))
    # everything is
    terms = objective()(views(network, image * 0 + 0.1, image * 0 + 0.1, image * 0))
    assert all((terms[name] > 0).all() for name in ('spread', 'turn'))
