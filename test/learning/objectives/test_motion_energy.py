"""The motion energy objective says what the paper says."""

from functools import partial

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.objectives.motion_energy import (
    MotionEnergy,
    MotionEnergyConfig,
    structural_change,
    turn_points,
    WIDTHS,
)
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.model.heatmaps import gaussian_maps, variance
import pytest
import torch
from torch.nn import functional

HW = (8, 12)


@pytest.fixture
def objective(make_objective):
    return partial(make_objective, MotionEnergy)


def windowed(maps, sigma):
    """Return maps (B, C, H, W) under a Gaussian window of 11 x 11 px that is inside of them."""
    at = torch.arange(-5.0, 6.0)
    window = torch.exp(-(at**2 + at[:, None] ** 2) / (2 * sigma**2))
    window = (window / window.sum()).expand(maps.shape[1], 1, 11, 11)
    return functional.conv2d(maps, window, groups=maps.shape[1])


def energy_of(image0, image1):
    x, y = ((functional.pad(i, (10,) * 4, mode='replicate') + 1) / 2 for i in (image0, image1))
    mean_x, mean_y = windowed(x, 1.5), windowed(y, 1.5)
    cov = windowed(x * y, 1.5) - mean_x * mean_y
    var = windowed(x * x, 1.5) - mean_x**2 + windowed(y * y, 1.5) - mean_y**2
    c = 0.03**2
    return windowed(1 - ((2 * cov + c) / (var + c)).mean(dim=1, keepdim=True), 1.0)


@pytest.mark.parametrize('turns', [1, 2, 3])
def test_the_terms_are_those_of_the_equations(objective, triple, check_terms, monkeypatch, turns):
    terms = objective(tolerance=0.3, apart=0.4)
    terms.mean_energy.fill_(20.0)
    drawn = {(1, 4, ()): torch.tensor(turns)}  # one, two or three
    monkeypatch.setattr(torch, 'randint', lambda *bounds: drawn[bounds])
    wide = [2**0.5 * width * 6 for width in (0.3, 0.15, 0.075)]

    def predicted(batch):
        bumps = [gaussian_maps(batch.points, 8, 12, width) for width in wide]
        shown = [half for both in bumps for half in (both[:3], both[3:])]
        return terms.decode(torch.cat([terms.features(batch.image0), *shown], dim=1))

    def equations(batch):
        energy = energy_of(batch.image0, batch.image1)
        pixel = (predicted(batch) - energy).square().mean(dim=(1, 2, 3)) / 20.0
        gate = 1 - 4 * pixel.detach()
        image = batch.image1
        x, y = batch.points[3:].detach().unbind(-1)
        for _ in range(turns):
            x, y = y, image.shape[-1] // 8 - 1 - x
            image = image.transpose(2, 3).flip(2)
        turned = batch.network.points(batch.network.logits(image))
        away = (turned - torch.stack([x, y], dim=-1)).square().sum(dim=-1) / 36
        near = []
        for points in (batch.points[:3], batch.points[3:], turned):
            for i, j in ((0, 1), (0, 2), (1, 2)):
                square = (points[:, i] - points[:, j]).square().sum(dim=-1)
                near.append(torch.exp(-square / (2 * (0.4 * 6) ** 2)))
        spread = (variance(batch.maps, batch.points).mean(dim=1) / 36).view(2, 3).mean(dim=0)
        return {
            'pixel': pixel,
            'turn': gate * (1 - torch.exp(-away / (4 * 0.3**2))).mean(dim=1),
            'separation': torch.stack(near).mean(dim=0),
            'spread': gate * spread,
        }

    check_terms(terms, triple, equations)
    shown = terms.reconstruct(triple)
    torch.testing.assert_close(shown, (predicted(triple) - 1).repeat(1, 3, 1, 1))


def test_the_same_structure_has_no_energy():
    image = torch.rand(1, 3, 20, 30) - 0.5
    torch.testing.assert_close(
        structural_change(image, image), torch.zeros(1, 1, 20, 30), atol=1e-5, rtol=0
    )
    # another light changes the mean and not the structure
    brighter = structural_change(image, image + 0.3)
    torch.testing.assert_close(brighter, torch.zeros(1, 1, 20, 30), atol=1e-3, rtol=0)


def test_energy_by_hand():
    # vertical stripes of one period a window against their negative: the covariance is minus the
    # variance v, so the term is (c - 2 v) / (c + 2 v); v far outweighs c = 0.0009
    stripes = torch.cos(torch.arange(40.0) * 1.5)
    image = stripes.expand(1, 3, 30, 40)
    found = structural_change(image, -image)[0, 0, 15, 20]
    assert 1.95 < found <= 2.0
    # without any structure in either: c / c
    flat = torch.full((1, 3, 30, 40), 0.2)
    assert structural_change(flat, -flat).abs().max() < 1e-3


def test_energy_is_that_of_the_authors():
    # compute_ssim of the authors' release, on images that its normalisation leaves as they are
    values = torch.arange(2 * 3 * 16 * 24, dtype=torch.float32)
    images = torch.sin(values * 0.37 + 0.2 * values.sqrt()).view(2, 3, 16, 24)
    found = structural_change(images[:1], images[1:])[0, 0]
    for row, column, energy in ((0, 0, 1.424709), (3, 20, 1.616567), (15, 7, 1.594474)):
        assert found[row, column].item() == pytest.approx(energy, abs=1e-5)
    assert found.mean().item() == pytest.approx(1.620212, abs=1e-5)


def test_energy_lies_where_something_moved():
    image0 = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0)) - 0.5
    image1 = image0.clone()
    image1[..., 4:12, 30:38] = image0[..., 20:28, 2:10]
    energy = structural_change(image0, image1)[0, 0]
    assert energy[8, 34] > 0.5 and energy[24, 10] < 1e-3


@pytest.mark.parametrize('turns', [0, 1, 2, 3])
def test_points_turn_with_the_image(turns):
    # one bright cell at column 10, row 2
    image = torch.zeros(1, 1, *HW)
    image[0, 0, 2, 10] = 1
    turned = torch.rot90(image, turns, (2, 3))
    row, column = divmod(int(turned.argmax()), turned.shape[-1])
    points = turn_points(torch.tensor([[[10.0, 2.0]]]), HW, turns)
    assert points.tolist() == [[[column, row]]]


def test_frames_without_energy_have_a_finite_error(network, objective, images, fixed_output):
    terms = objective()
    terms.decode = fixed_output(torch.full((2, 1, 64, 96), 0.002))
    found = terms(PairBatch(network, images(1), images(1)))['pixel']
    torch.testing.assert_close(found, torch.full((2,), 0.002**2 / 1e-6), rtol=1e-2, atol=0)


def test_pixel_is_in_units_of_the_energy_so_far(batch, objective):
    terms = objective()
    energy = structural_change(batch.image0, batch.image1)
    terms.predict = lambda batch: energy
    torch.testing.assert_close(terms(batch)['pixel'], torch.zeros(2))
    # answering nothing costs the energy itself, in units of its mean over the batch
    fresh = objective()
    fresh.predict = lambda batch: torch.zeros_like(energy)
    squares = energy.square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(fresh(batch)['pixel'], squares / squares.mean())
    # the mean so far moves by a hundredth towards a batch without motion
    still = PairBatch(batch.network, batch.image0, batch.image0)
    fresh(still)
    torch.testing.assert_close(fresh.mean_energy, 0.99 * squares.mean(), atol=1e-5, rtol=1e-4)


def rotated_batch(network, *, away):
    """Return a batch of one point, found ``away`` cells off after any turn, on 8 x 12 cells."""
    image = torch.zeros(1, 3, 64, 96)
    image[0, 0, 0, 0] = 1  # the corner to which this comes tells how far the image was turned
    batch = PairBatch(network, image, image)
    start = torch.tensor([[[3.0, 5.0]]])
    upright, turns = batch.logits, []

    def logits(turned):
        corners = [turned[0, 0, row, column] for row, column in ((-1, 0), (-1, -1), (0, -1))]
        turns.append(1 + corners.index(1))
        return upright[:1]

    def points(logits):
        if logits is upright:
            return start.expand(2, 1, 2)
        return turn_points(start, HW, turns[-1]) + torch.tensor([away, 0.0])

    network.logits, network.points = logits, points
    return batch


# the target's bump and the found one are 1.2 cells apart, t is 0.1 of 6 cells:
# 1 - exp(-1.44 / (4 * 0.36))
@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize(('away', 'expected'), [(0.0, 0.0), (1.2, 0.632121)])
def test_turn_by_hand_and_zero_where_points_follow(seed, away, expected, network, objective):
    terms = objective()
    batch = rotated_batch(network, away=away)
    terms.predict = lambda batch: structural_change(batch.image0, batch.image1)
    torch.manual_seed(seed)
    assert terms(batch)['turn'].item() == pytest.approx(expected, abs=1e-5)


# rotation_loss of the authors' release for bumps of variance 0.001 on a grid of 512 x 512, the
# second of them this far off after a turn by 180 degrees; it resamples, which costs it 5 %
@pytest.mark.parametrize(('away', 'authors'), [(0.05, 0.117765), (0.2, 0.249014)])
def test_turn_is_that_of_the_authors_over_a_quarter(away, authors, network, objective):
    variance = 0.001
    found = 1 - torch.exp(torch.tensor(-(away**2) / (4 * variance))).item()
    assert found / 4 == pytest.approx(authors, rel=0.02)
    terms = objective(tolerance=variance**0.5)
    terms.predict = lambda batch: structural_change(batch.image0, batch.image1)
    batch = rotated_batch(network, away=away * 6)
    assert terms(batch)['turn'].item() == pytest.approx(4 * authors, rel=0.02)


def test_turn_and_spread_wait_until_the_energy_is_explained(batch, objective):
    terms = objective()
    terms.predict = lambda batch: torch.full((2, 1, 64, 96), 9.0)
    found = terms(batch)
    assert found['turn'].tolist() == found['spread'].tolist() == [0.0, 0.0]


def test_spread_by_hand(batch, objective):
    # flat maps of 8 x 12: (63 + 143) / 12 cells^2, half a side is 6; an error of 0.01, by four
    batch.network.stacks = lambda images: [torch.zeros(len(images), 3, *HW)]
    batch.network.logits = lambda images: torch.zeros(len(images), 3, *HW)
    terms = objective()
    terms.predict = lambda batch: structural_change(batch.image0, batch.image1) + 0.1
    terms._scale = lambda energy: torch.tensor(1.0)
    found = terms(batch)['spread']
    torch.testing.assert_close(found, torch.full((2,), 0.96 * (63 + 143) / 12 / 36))


def test_the_decoder_sees_both_frames_points_at_three_widths(batch, objective):
    terms = objective()
    terms.decode = torch.nn.Identity()
    batch.network.points = lambda logits: (
        torch.tensor([[10.0, 2.0], [4.0, 6.0]])[:, None]
        .repeat_interleave(2, dim=0)
        .expand(4, 3, 2)
    )
    seen = terms.predict(batch)[:, terms.features.channels :]
    assert seen.shape == (2, 2 * 3 * len(WIDTHS), *HW)
    # at the middle width, 0.15 of 6 cells: one cell away exp(-1 / (2 * 0.81)) = 0.53941
    first, second = seen[0, 6], seen[0, 9]
    torch.testing.assert_close(first[2, 9:11], torch.tensor([0.53941, 1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(second[5:7, 4], torch.tensor([0.53941, 1.0]), atol=1e-4, rtol=0)


def test_all_parts_are_trained(batch, objective, check_gradients):
    terms = objective()
    terms._scale = lambda energy: torch.tensor(10.0)  # as if explained, so that the turn counts
    check_gradients(terms, batch, trains_objective='pixel')


def test_the_turned_target_gets_no_gradient(batch, objective):
    terms = objective()
    terms._scale = lambda energy: torch.tensor(10.0)
    gradient = torch.autograd.grad(terms(batch)['turn'].sum(), batch.logits, allow_unused=True)[0]
    assert gradient is None or not gradient.any()


@pytest.mark.parametrize('name', ['tolerance', 'apart'])
def test_settings_must_make_sense(name):
    with pytest.raises(ConfigError, match=rf'{name}: must be a number above 0 .*, got 0'):
        MotionEnergyConfig(**{name: 0.0})
