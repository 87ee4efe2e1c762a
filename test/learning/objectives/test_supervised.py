"""Learning from labels: the divergence and the distance, by hand, where they are labelled."""

import math

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.data.photometric import jitter_colours
from keypoint_perception.learning.data.warps import random_warp
from keypoint_perception.learning.objectives.supervised import Supervised, SupervisedConfig
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
import torch

NAMES = ('hand', 'elbow', 'ball')
NETWORK = NetworkConfig('hourglass', 3, (32, 48), width=16, stacks=2)
NAN = math.nan
STILL = {'angle': 0.0, 'scale': 0.0, 'shift': 0.0, 'colour': 0.0}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Keypointer(NETWORK)


def objective(**settings):
    return Supervised(SupervisedConfig(**STILL | settings), NETWORK, DatasetStatistics(1.0, NAMES))


def labels(*points):
    """Return the labels of one frame, (1, 3, 2) network px; what is not given is not labelled."""
    return torch.tensor([[*points, *[(NAN, NAN)] * (3 - len(points))]])


def labelled_batch(network, labels0, labels1):
    generator = torch.Generator().manual_seed(1)
    image0, image1 = torch.rand(2, len(labels0), 3, 32, 48, generator=generator) * 2 - 1
    return PairBatch(network, image0, image1, {'labels0': labels0, 'labels1': labels1})


def with_output(network, *stacks):
    """Return a network whose maps before the softmax are fixed."""
    network.stacks = lambda image: [maps.expand(len(image), -1, -1, -1) for maps in stacks]
    return network


def bump(x, y, sigma=1.0, height=8, width=12):
    """Return the logarithm of a bump, (height, width)."""
    square = (torch.arange(width) - x) ** 2 + (torch.arange(height)[:, None] - y) ** 2
    return -square / (2 * sigma**2)


@pytest.mark.parametrize(
    ('warps', 'colour'), [(True, 0.4), (True, 0.0), (False, 0.4), (False, 0.0)]
)
def test_the_terms_are_those_of_the_equations(network, check_terms, warps, colour):
    changes = {'angle': 30.0, 'scale': 0.2, 'shift': 0.3, 'bend': 0.02} if warps else {}
    terms = objective(sigma=1.3, colour=colour, **changes)
    generator = torch.Generator().manual_seed(1)
    image0, image1 = torch.rand(2, 3, 3, 32, 48, generator=generator) * 2 - 1
    uv = torch.rand(6, 3, 2, generator=generator) * torch.tensor([47.0, 31.0])
    uv[1, 2] = uv[3, 0] = uv[5, 1, 1] = NAN
    batch = PairBatch(network, image0, image1, {'labels0': uv[:3], 'labels1': uv[3:]})

    def equations(batch):
        images, where = jitter_colours(batch.images, colour), uv
        if warps:
            warp = random_warp(6, (32, 48), terms.config)
            images = warp.images(images)
            where = torch.where(
                warp.inside(uv, (32, 48))[..., None], warp.points(uv, (32, 48)), NAN
            )
        labelled = where.isfinite().all(dim=-1)
        assert 6 < labelled.sum() < 18
        xy = ((where - 1.5) / 4).nan_to_num()
        total = torch.zeros(2, 6, 3)
        for logits in network.stacks(images):
            p = logits.flatten(2).softmax(dim=-1)
            y, x = torch.arange(8.0)[:, None], torch.arange(12.0)
            square = (x - xy[..., 0, None, None]) ** 2 + (y - xy[..., 1, None, None]) ** 2
            t = (-square / (2 * 1.3**2)).flatten(2).softmax(dim=-1)
            mean = torch.stack([(p * a.expand(8, 12).flatten()).sum(-1) for a in (x, y)], dim=-1)
            apart = (t * (t.log() - p.log())).sum(dim=-1)
            total = total + torch.stack([apart, (mean - xy).norm(dim=-1) / 6]) / 2
        total = (total * labelled).sum(dim=-1).view(2, 2, 3).sum(dim=1)
        count = labelled.sum(dim=-1).view(2, 3).sum(dim=0)
        return dict(zip(('map', 'point'), total / count, strict=True))

    check_terms(terms, batch, equations)


def test_maps_that_are_the_bumps_have_no_error(network):
    # network px 21.5 and 13.5 are column 5 and row 3 at stride 4
    found = objective()(
        labelled_batch(
            with_output(network, bump(5, 3)[None, None].expand(1, 3, 8, 12)),
            labels((21.5, 13.5)),
            labels((21.5, 13.5)),
        )
    )
    torch.testing.assert_close(found['map'], torch.zeros(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found['point'], torch.zeros(1), atol=1e-3, rtol=0)


def test_flat_maps_by_hand(network):
    """log(96 cells) minus the bump's entropy, and the way from the map's middle to the label."""
    flat = torch.zeros(1, 3, 8, 12)
    found = objective()(labelled_batch(with_output(network, flat), labels((21.5, 13.5)), labels()))
    bump_map = bump(5, 3).flatten().softmax(0)
    entropy = -(bump_map * bump_map.log()).sum()
    torch.testing.assert_close(found['map'], (math.log(96) - entropy)[None])
    # the middle of 12 x 8 cells is (5.5, 3.5), half the longer side is 6 cells
    torch.testing.assert_close(found['point'], torch.tensor([math.sqrt(0.5) / 6]))


@pytest.mark.parametrize(
    ('shift', 'sigma', 'expected'),
    [
        # the divergence of two Gaussians of one width is d^2 / (2 sigma^2)
        ((2.0, 0.0), 1.0, 2.0),
        ((0.0, -1.0), 1.0, 0.5),
        ((1.0, 1.0), 1.0, 1.0),
        ((2.0, 0.0), 2.0, 0.5),
    ],
)
def test_divergence_of_two_bumps_is_the_formulas(shift, sigma, expected):
    # far from the border, where the cut-off tails weigh nothing
    config = SupervisedConfig(sigma=sigma, **STILL)
    terms = Supervised(config, NETWORK, DatasetStatistics(1.0, NAMES))
    maps = bump(20 + shift[0], 15 + shift[1], sigma, 32, 48)[None, None]
    found = terms._terms(maps, torch.tensor([[[20.0, 15.0]]]))
    torch.testing.assert_close(found['map'].item(), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found['point'].item(), math.hypot(*shift) / 24, rtol=1e-3, atol=0)


def test_columns_are_not_rows(network):
    # the map's peak is at column 10, row 2; a label there is right, its mirror image is not
    maps = bump(10, 2)[None, None].expand(1, 3, 8, 12)
    terms = objective()
    right = terms(labelled_batch(with_output(network, maps), labels((41.5, 9.5)), labels()))
    wrong = terms(labelled_batch(with_output(network, maps), labels((9.5, 41.5)), labels()))
    assert right['point'] < 0.1 < wrong['point']
    assert right['map'] < 0.1 < wrong['map']


def test_what_is_not_labelled_contributes_nothing(network):
    terms = objective()
    alone = terms(labelled_batch(network, labels((21.5, 13.5)), labels()))
    # the same label in a pair whose other frame is labelled too: the mean of both
    other = terms(labelled_batch(network, labels(), labels((5.5, 9.5))))
    both = terms(labelled_batch(network, labels((21.5, 13.5)), labels((5.5, 9.5))))
    for name in terms.weights:
        torch.testing.assert_close(both[name], (alone[name] + other[name]) / 2)


def test_a_pair_without_labels_teaches_nothing(network):
    found = objective()(labelled_batch(network, labels(), labels()))
    assert found['map'].tolist() == found['point'].tolist() == [0.0]
    (found['map'] + found['point']).sum().backward()
    assert not any(p.grad is not None and p.grad.any() for p in network.parameters())


def test_each_pair_has_its_own_terms(network):
    maps = bump(5, 3)[None, None].expand(1, 3, 8, 12)
    right, wrong = labels((21.5, 13.5)), labels((37.5, 13.5))
    found = objective()(
        labelled_batch(
            with_output(network, maps), torch.cat([right, wrong]), torch.cat([right, wrong])
        )
    )
    assert found['point'][0] < 1e-3
    torch.testing.assert_close(found['point'][1].item(), 4 / 6, rtol=1e-2, atol=0)


def test_every_stack_is_held_against_the_labels(network):
    right = bump(5, 3)[None, None].expand(1, 3, 8, 12)
    wrong = bump(8, 3)[None, None].expand(1, 3, 8, 12)
    terms = objective()
    where = labels((21.5, 13.5)), labels()
    once = terms(labelled_batch(with_output(network, wrong), *where))['point']
    either = terms(labelled_batch(with_output(network, wrong, right), *where))['point']
    torch.testing.assert_close(either, once / 2, rtol=1e-3, atol=1e-3)


def test_every_weight_of_the_network_learns(network):
    found = objective()(labelled_batch(network, labels((21.5, 13.5), (4, 5), (9, 30)), labels()))
    (found['map'] + found['point']).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_labels_go_along_when_images_are_warped(network):
    """A network that finds the brightest place finds the label, however the image is warped."""

    def brightest(image):
        seen = torch.nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 4)
        return [(40 * seen).expand(-1, 3, -1, -1)]

    network.stacks = brightest
    u, v = 25.0, 13.0
    x, y = torch.meshgrid(torch.arange(48.0), torch.arange(32.0), indexing='xy')
    spot = 2 * torch.exp(-((x - u) ** 2 + (y - v) ** 2) / 20) - 1
    image = spot.expand(8, 3, 32, 48)
    where = torch.full((8, 3, 2), NAN)
    where[:, 0] = torch.tensor([u, v])
    torch.manual_seed(0)
    terms = objective(angle=40.0, scale=0.2, shift=0.3)
    seen = PairBatch(network, image, image, {'labels0': where, 'labels1': where})
    # half a cell is 0.08; without the labels' warp a shift of 0.3 is seen
    assert terms(seen)['point'].max() < 0.08
    assert terms(seen)['point'].max() > 0


def test_labels_that_a_warp_moves_out_of_the_image_are_left_out(network):
    where = labels((0.0, 0.0)).expand(32, 3, 2)
    terms = objective(angle=30.0, shift=0.3)
    torch.manual_seed(0)
    found = terms(labelled_batch(network, where, labels().expand(32, 3, 2)))['point']
    assert (found == 0).any() and (found > 0).any()


def test_unchanged_images_share_the_pass_of_other_objectives(network):
    seen = labelled_batch(network, labels((21.5, 13.5)), labels())
    passes = []
    stacks = network.stacks
    network.stacks = lambda image: passes.append(len(image)) or stacks(image)
    objective()(seen)
    assert seen.logits.shape == (2, 3, 8, 12)
    assert passes == [2]
    objective(colour=0.2)(seen)
    assert passes == [2, 2]


@pytest.mark.parametrize('count', [2, 4])
def test_there_must_be_a_keypoint_for_each_label(count):
    network = NetworkConfig(keypoints=count, input_hw=(32, 48), width=8)
    sentence = rf'name 3 points \(hand, elbow, ball\), but the network has {count} keypoints'
    with pytest.raises(ConfigError, match=sentence):
        Supervised(SupervisedConfig(), network, DatasetStatistics(1.0, NAMES))


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'sigma': 0.1}, r'sigma: must be a number from 0\.3 to 10, got 0\.1'),
        ({'fraction': 0.0}, r'fraction: must be a number above 0 and at most 1, got 0\.0'),
        ({'fraction': 1.1}, r'fraction: must be a number above 0 and at most 1, got 1\.1'),
        ({'colour': -1.0}, r'colour: must be a number from 0 to 1, got -1\.0'),
        ({'angle': 200.0}, r'angle: must be a number from 0 to 180, got 200\.0'),
    ],
)
def test_settings_must_make_sense(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SupervisedConfig(**settings)


def test_a_point_that_is_met_exactly_has_a_finite_gradient(network):
    maps = torch.zeros(1, 3, 8, 12)
    maps[..., 3, 5] = 1000.0
    maps.requires_grad_()
    found = objective()(
        labelled_batch(with_output(network, maps), labels((21.5, 13.5)), labels())
    )['point']
    assert found.item() == pytest.approx(1e-6 / 6, rel=1e-3)
    found.sum().backward()
    assert maps.grad.isfinite().all()


def test_the_unit_is_half_a_side_however_many_points_there_are():
    logits = torch.zeros(1, 20, 8, 12)
    found = objective()._terms(logits, torch.tensor([2.5, 3.5]).expand(1, 20, 2))['point']
    torch.testing.assert_close(found, torch.full((1, 20), 3 / 6))


@pytest.mark.parametrize('name', ['angle', 'scale', 'shift', 'bend'])
def test_any_limit_above_zero_is_a_warp(name):
    assert not SupervisedConfig(**STILL).warps
    assert SupervisedConfig(**STILL | {name: 0.05}).warps
