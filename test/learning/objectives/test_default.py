"""The terms of the default objective are zero where they should be, and as documented."""

from default_equations import default_terms
from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.data.foreground import foreground_map
from keypoint_perception.learning.data.photometric import jitter_colours
from keypoint_perception.learning.data.warps import random_warp
from keypoint_perception.learning.motion_losses import map_divergence, warp_error, warp_foreground
from keypoint_perception.learning.objectives.default import (
    Default,
    DefaultConfig,
)
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.model.heatmaps import gaussian_maps, peak_curvature
import pytest
import torch


@pytest.fixture
def objective(make_objective):
    """Return a function that makes the objective without some of its terms."""

    def objective(*unused, **settings):
        made = make_objective(Default, **settings)
        made.used = set(made.weights) - set(unused)
        return made

    return objective


@pytest.mark.parametrize('swap', [True, False])
def test_the_terms_are_those_of_the_equations(make_objective, foreground_batch, check_terms, swap):
    settings = {'still_weight': 0.4, 'sigma': 0.3, 'angle': 70.0, 'colour': 0.3}
    made = make_objective(Default, change=4.0, swap_backgrounds=swap, **settings)
    torch.nn.init.normal_(made.refine.last.weight, std=0.1)

    def differences(batch):
        features = made.features(batch.images)
        bumps = gaussian_maps(batch.points, 8, 12, 6 * 0.3)
        target = 1 - (1 - bumps).prod(dim=1, keepdim=True)
        other = [3, 4, 5, 0, 1, 2]
        left = (1 - target[other].detach()) * (1 - target) * features[other].detach()
        return made.refine(left + target * features)

    check_terms(
        made, foreground_batch, lambda batch: default_terms(made, batch, differences(batch))
    )
    expected = (differences(foreground_batch) + foreground_batch.extra['background'])[3:]
    torch.testing.assert_close(made.reconstruct(foreground_batch), expected)


def test_terms_without_weight_are_left_out_each_on_its_own(network, objective, images):
    batch = make_batch(network, images(1), images(2), images(3))
    for unused, computed in (('turn', 'agree'), ('agree', 'turn')):
        made = objective(unused, 'flow')
        made.refine.forward = lambda features: batch.images - batch.extra['background']
        terms = made(batch)
        assert (terms[computed] > 0).all() and (terms['flow'] == 0).all()


def make_batch(network, image0, image1, background=None):
    count = len(image0)
    background = torch.zeros_like(image0) if background is None else background
    extra = {
        'background': background.repeat(2, 1, 1, 1),
        'noise': torch.full_like(image0[:, :1], 0.05).repeat(2, 1, 1, 1),
        'flow': torch.zeros(count, 2, 8, 12),
        'forward': torch.arange(count) % 2 == 0,
    }
    return PairBatch(network, image0, image1, extra)


def test_before_the_first_step_the_background_is_the_answer(network, objective, images):
    background = images(3)
    terms = objective()(make_batch(network, background, background, background))
    torch.testing.assert_close(terms['pixel'], torch.zeros(2))
    # the root of 1e-6, where its gradient is finite
    torch.testing.assert_close(terms['focus'], torch.full((2,), 1e-3))


def test_the_error_by_hand(network, objective):
    # background 0 and frames 0.6 throughout: they are alike, so every pixel counts 0.3
    image = torch.full((2, 3, 64, 96), 0.6)
    terms = objective()(make_batch(network, image, image))
    torch.testing.assert_close(terms['pixel'], torch.full((2,), 0.3 * 0.36))
    torch.testing.assert_close(terms['focus'], torch.full((2,), 0.3 * 0.36), rtol=1e-3, atol=0)


def test_focus_weighs_a_local_error_more(network, objective):
    image = torch.zeros(1, 3, 64, 96)
    image[..., 8:16, 16:24] = 1.0  # one cell of 8 x 12
    terms = objective()(make_batch(network, image, image))
    torch.testing.assert_close(terms['pixel'].item(), 0.3 / 96)
    torch.testing.assert_close(terms['focus'].item(), 0.3 / 96**0.5, rtol=1e-2, atol=0)


def test_all_parts_are_trained(network, objective, images):
    made = objective()
    torch.nn.init.normal_(made.refine.last.weight)
    terms = made(make_batch(network, images(1, 4), images(2, 4)))
    assert set(terms) == set(made.weights)
    assert all(term.shape == (4,) and term.isfinite().all() for term in terms.values())
    sum(term.sum() for term in terms.values()).backward()
    for part in (network, made.features, made.refine):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_keypoints_must_be_where_the_flow_says(network, objective, images):
    made = objective()
    later = 3  # cells along x, of the second frame if the first is the earlier one
    columns = torch.tensor([7, 7 + later, 7 + later, 7])  # two pairs: forward, backward
    spots = torch.nn.functional.one_hot(2 * 12 + columns, 96).unflatten(-1, (8, 12))
    maps = spots[:, None].expand(-1, 3, -1, -1)
    network.logits = lambda image: 50.0 * maps[: len(image)]
    network.stacks = lambda image: [50.0 * maps[: len(image)]]
    network.points = lambda logits: (
        torch.stack([columns, torch.full((4,), 2)], dim=-1)[: len(logits), None]
        .expand(-1, 3, 2)
        .float()
    )
    batch = make_batch(network, images(1, 2), images(1, 2))
    batch.extra['background'] = batch.images - 0.5  # everything is foreground
    batch.extra['flow'][:, 0, 2, 7] = 8.0 * later  # px, where both are earlier
    torch.testing.assert_close(made(batch)['flow'], torch.zeros(2))
    batch.extra['forward'] = ~batch.extra['forward']
    assert (made(batch)['flow'] > 0.5).all()


@pytest.mark.parametrize(
    ('swap', 'colour'), [(True, 0.2), (False, 0.2), (True, 0.0)], ids=['both', 'colour', 'swap']
)
def test_keypoints_are_looked_for_where_the_foreground_is_turned_to(
    network, swap, colour, objective
):
    gradient = torch.linspace(-0.5, 0.5, 96).expand(1, 3, 64, 96)
    backgrounds = torch.cat([gradient, gradient.flip(-1)])
    frames = backgrounds.clone()
    frames[..., 8:56, 8:88] = 0.9
    batch = make_batch(network, frames, frames, backgrounds)
    made = objective('flow', swap_backgrounds=swap, colour=colour)
    # all is explained
    made.refine.forward = lambda features: (frames - backgrounds).repeat(2, 1, 1, 1)
    torch.manual_seed(5)
    terms = made(batch)
    torch.manual_seed(5)
    warp = random_warp(2, (64, 96), made.warps)
    # each on the other's background, or on its own
    noise = torch.full_like(frames[:, :1], 0.05)
    onto = backgrounds.flip(0) if swap else backgrounds
    turned = warp_foreground(frames, backgrounds, noise, warp, onto=onto)
    logits = network.logits(jitter_colours(turned, colour))
    points = batch.points[:2]
    foreground = foreground_map(frames, backgrounds, noise, (8, 12))
    settled = torch.einsum('bkhw,bhw->bk', batch.maps[:2], foreground)
    turn = warp_error(points, network.points(logits), warp, (8, 12))
    agree = map_divergence(points, logits, warp, 0.6)
    assert settled.min() > 0.01
    torch.testing.assert_close(terms['turn'], (settled * turn).mean(dim=1))
    torch.testing.assert_close(terms['agree'], (settled * agree).mean(dim=1))


def test_the_foreground_is_turned_about_the_middle_of_the_image(objective):
    middle, beside = torch.tensor([[[5.5, 3.5]]]), torch.tensor([[[8.5, 3.5]]])
    warp = random_warp(64, (8, 12), objective().warps)
    torch.testing.assert_close(
        warp.points(middle.expand(64, -1, -1), (8, 12)), middle.expand(64, -1, -1)
    )
    turned = warp.points(beside.expand(64, -1, -1), (8, 12)) - middle
    away = turned.norm(dim=-1)
    assert 2.5 <= away.min() < 2.7  # 3 cells, and up to 1.2 times smaller or larger
    assert 3.3 < away.max() <= 3.6
    assert {(x > 0, y > 0) for x, y in turned[:, 0].tolist()} == {
        (x, y) for x in (False, True) for y in (False, True)
    }


def test_terms_that_do_not_count_are_not_computed(network, objective, images):
    batch = make_batch(network, images(1), images(2))
    del batch.extra['forward'], batch.extra['flow']
    terms = objective('flow', 'turn', 'agree')(batch)
    assert all((terms[name] == 0).all() for name in ('flow', 'turn', 'agree'))


@pytest.mark.parametrize(
    ('setting', 'expected'),
    [
        ({'angle': -1.0}, 'angle: must be a number from 0 to 180, got -1.0'),
        ({'angle': 181.0}, 'angle: must be a number from 0 to 180, got 181.0'),
        ({'colour': 1.5}, 'colour: must be a number from 0 to 1, got 1.5'),
    ],
)
def test_settings_must_make_sense(setting, expected):
    with pytest.raises(ConfigError, match=expected):
        DefaultConfig(**setting)


def test_maps_narrower_than_a_cell_cost_and_wider_ones_do_not(network, objective, images):
    image = images(1)
    frames = image * 0 + 0.9, image * 0 + 0.9, image * 0  # all of it is foreground
    assert (objective()(make_batch(network, *frames))['peak'] == 0).all()
    with torch.no_grad():
        network.body.head.weight.mul_(200)
    batch = make_batch(network, *frames)
    steep = peak_curvature(batch.logits) - 1 / (2 * 0.6**2)
    expected = steep.clamp(min=0).mean(dim=1).unflatten(0, (2, -1)).mean(dim=0)
    found = objective()(batch)['peak']
    assert (expected > 1).all()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_keypoints_off_the_foreground_are_not_asked_to_settle(network, objective, images):
    image = images(1)
    # nothing is in front of the background, and it is reconstructed without an error
    terms = objective()(make_batch(network, image, image, image))
    assert (terms['pixel'] < 1e-6).all()
    assert all((terms[name] == 0).all() for name in ('spread', 'turn', 'agree', 'flow', 'aside'))
    # everything is
    terms = objective()(make_batch(network, image * 0 + 0.1, image * 0 + 0.1, image * 0))
    assert all((terms[name] > 0).all() for name in ('spread', 'turn', 'agree'))


def moved_by(network, image0, image1, registration):
    batch = make_batch(network, image0, image1)
    return PairBatch(network, image0, image1, {**batch.extra, 'registration': registration})


def test_a_camera_that_did_not_move_changes_nothing(network, objective, images):
    terms = objective('turn', 'agree')
    still = terms(make_batch(network, images(1), images(2)))
    same = terms(moved_by(network, images(1), images(2), torch.eye(3).expand(2, 3, 3)))
    for name, term in still.items():
        torch.testing.assert_close(same[name], term, msg=name)


def test_features_are_brought_into_the_view_of_the_target(network, objective, images):
    """The second frames show everything two cells further right than the first ones."""
    terms = objective()
    terms.features, terms.refine = Cells(), torch.nn.Identity()
    network.points = lambda logits: torch.full((len(logits), 3, 2), -50.0)  # no bump in view
    registration = torch.eye(3).repeat(2, 1, 1)
    registration[:, 0, 2] = 2.0
    made = terms.differences(moved_by(network, images(1), images(2), registration))
    first, second = Cells()(images(1)), Cells()(images(2))
    torch.testing.assert_close(made[:2, :, :, :10], second[:, :, :, 2:])
    torch.testing.assert_close(made[2:, :, :, 2:], first[:, :, :, :10])
    assert (made[:2, :, :, 10:] == 0).all() and (made[2:, :, :, :2] == 0).all()


class Cells(torch.nn.Module):
    """Features that are one pixel of each cell."""

    def forward(self, images):
        return images[:, :, ::8, ::8]
