"""A mean teacher: labels, labels that flow carried, and the teacher's points, each by hand."""

import math

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.data.photometric import jitter_colours
from keypoint_perception.learning.data.warps import random_warp
from keypoint_perception.learning.objectives.semi_supervised import (
    SemiSupervised,
    SemiSupervisedConfig,
)
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.heatmaps import softmax_2d, windowed_expectation
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
import torch

NAMES = ('hand', 'elbow', 'ball')
NETWORK = NetworkConfig(keypoints=3, input_hw=(64, 96), width=8)
NAN = math.nan
STILL = {'angle': 0.0, 'scale': 0.0, 'shift': 0.0, 'bend': 0.0, 'colour': 0.0}
NONE = torch.full((1, 3, 2), NAN)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Keypointer(NETWORK)


@pytest.fixture
def teacher():
    torch.manual_seed(5)
    return Keypointer(NETWORK)


def objective(teacher=None, **settings):
    config = SemiSupervisedConfig(**STILL | settings)
    made = SemiSupervised(config, NETWORK, DatasetStatistics(1.0, NAMES))
    if teacher is not None:
        made.learn_from(teacher)
    return made


def make_batch(
    network, labels0=NONE, labels1=NONE, carried0=NONE, carried1=NONE, prior=NONE, spread=8.0
):
    generator = torch.Generator().manual_seed(1)
    image0, image1 = torch.rand(2, len(labels0), 3, 64, 96, generator=generator) * 2 - 1
    extra = {
        'labels0': labels0, 'labels1': labels1, 'carried0': carried0, 'carried1': carried1,
    }  # fmt: skip
    return PairBatch(network, image0, image1, extra | priors(prior, prior, spread))


def priors(first, second, spread=8.0):
    """Return predictions of the points of both frames, of one standard deviation in px."""
    spread = torch.full(first.shape[:2], spread)
    return {'prior0': first, 'prior1': second, 'spread0': spread, 'spread1': spread}


def one(index, u, v):
    """Return the positions of one frame, (1, 3, 2) px, of which only one is known."""
    positions = NONE.clone()
    positions[0, index] = torch.tensor([u, v])
    return positions


def with_output(network, maps):
    """Return a network whose maps before the softmax are fixed."""
    network.logits = lambda image: maps.expand(len(image), 3, -1, -1)
    return network


def bump(x, y, sigma=1.0):
    """Return the logarithm of a bump, (8, 12)."""
    square = (torch.arange(12) - x) ** 2 + (torch.arange(8)[:, None] - y) ** 2
    return -square / (2 * sigma**2)


def mass_near(logits, x, y):
    """Return the mass of a map in the 5 x 5 cells around a cell."""
    p = logits.flatten().softmax(0).view(8, 12)
    return p[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].sum().item()


def test_the_terms_are_those_of_the_equations(network, teacher, check_terms):
    with torch.no_grad():
        teacher.body.head.weight.mul_(torch.tensor([60.0, 20.0, 40.0])[:, None, None, None])
    changes = {'angle': 30.0, 'scale': 0.2, 'shift': 0.3, 'bend': 0.02, 'colour': 0.3}
    terms = objective(teacher, sigma=1.3, gate=0.1, ramp=0.5, **changes)
    terms.advance(0.3)
    generator = torch.Generator().manual_seed(1)
    image0, image1 = torch.rand(2, 3, 3, 64, 96, generator=generator) * 2 - 1
    uv, carried = torch.rand(2, 6, 3, 2, generator=generator) * torch.tensor([95.0, 63.0])
    uv[[0, 1, 3, 4]] = uv[2, 1] = uv[5, 0] = NAN
    carried[[1, 4]] = carried[3, 0, 1] = NAN
    extra = {'labels0': uv[:3], 'labels1': uv[3:]}
    extra |= {'carried0': carried[:3], 'carried1': carried[3:]}
    prior = torch.rand(6, 3, 2, generator=generator) * torch.tensor([95.0, 63.0])
    prior[:, 1] = NAN
    extra |= priors(prior[:3], prior[3:], 12.0)
    batch = PairBatch(network, image0, image1, extra)

    def equations(batch):
        ramp = math.exp(-5 * 0.4**2)
        with torch.no_grad():
            maps = teacher.logits(batch.images)
        y, x = torch.arange(8.0)[:, None], torch.arange(12.0)
        for i, k in ((i, k) for i in range(6) for k in (0, 2)):
            cell = (prior[i, k] - 3.5) / 8
            square = (x - cell[0]) ** 2 + (y - cell[1]) ** 2
            maps[i, k] = ramp * maps[i, k] - square / (2 * 1.5**2)
        xy, mass = windowed_expectation(softmax_2d(maps), 2)
        seen = torch.cat([8 * xy + 3.5, mass[..., None]], dim=-1)
        images = jitter_colours(batch.images, 0.3)
        warp = random_warp(6, (64, 96), terms.config)
        logs = network.logits(warp.images(images)).flatten(2).log_softmax(dim=-1)
        found = {name: [[], [], []] for name in ('map', 'point', 'carried', 'agree')}
        for i in range(6):
            for k in range(3):
                kind, place = 'agree', seen[i, k, :2]
                weight = (ramp if k == 1 else 1) * (seen[i, k, 2] - 0.1) / 0.9
                if uv[i, k].isfinite().all():
                    kind, place, weight = 'map', uv[i, k], 1.0
                elif carried[i, k].isfinite().all():
                    kind, place, weight = 'carried', carried[i, k], 1.0
                place = place.expand(6, 1, 2)
                inside = warp.inside(place, (64, 96))[i, 0]
                if not inside and kind != 'agree':
                    continue
                cell = (warp.points(place, (64, 96))[i, 0] - 3.5) / 8
                square = (x - cell[0]) ** 2 + (y - cell[1]) ** 2
                t = (-square / (2 * 1.3**2)).flatten().softmax(dim=-1)
                apart = (t * (t.log() - logs[i, k])).sum()
                weight = torch.as_tensor(weight).clamp(min=0) * inside
                found[kind][i % 3].append(weight * apart)
                if kind == 'map':
                    p = logs[i, k].exp().view(8, 12)
                    mean = torch.stack([(p * x).sum(), (p * y).sum()])
                    found['point'][i % 3].append((mean - cell).norm() / 6)
        total = {
            name: torch.stack([sum(v, torch.zeros(())) / max(1, len(v)) for v in values])
            for name, values in found.items()
        }
        every = torch.stack([sum(values, torch.zeros(())) / 6 for values in found['agree']])
        return total | {'agree': every}

    # every term is of every sample: pairs 0 and 1 have their label in a partner's place
    uv[0, 0], uv[4, 2] = torch.tensor([40.0, 24.0]), torch.tensor([60.0, 32.0])
    carried[1, 1], carried[2, 1] = torch.tensor([50.0, 30.0]), NAN
    check_terms(terms, batch, equations)


def test_labels_are_learned_as_by_the_objective_supervised(network):
    maps = bump(5, 3)[None, None]
    found = objective()(make_batch(with_output(network, maps), one(0, 43.5, 27.5)))
    torch.testing.assert_close(found['map'], torch.zeros(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found['point'], torch.zeros(1), atol=1e-3, rtol=0)
    found = objective()(make_batch(with_output(network, maps), one(0, 59.5, 27.5)))
    torch.testing.assert_close(found['map'], torch.tensor([2.0]), atol=2e-2, rtol=0)
    torch.testing.assert_close(found['point'], torch.tensor([2 / 6]), atol=1e-2, rtol=0)


def test_a_label_goes_before_what_was_carried_and_that_before_the_teacher(network, teacher):
    """The map lies on the label, three cells from the carried one, two from the teacher's."""
    with_output(network, bump(5, 3)[None, None])
    peak = 3 * bump(5, 5)[None, None]
    terms = objective(with_output(teacher, peak), gate=0.0)
    labelled = torch.tensor([[[43.5, 27.5]] * 3])
    carried = torch.tensor([[[67.5, 27.5]] * 3])
    found = terms(make_batch(network, labelled, labelled, carried, carried))
    assert found['map'] < 1e-5
    assert found['carried'] == found['agree'] == 0
    found = terms(make_batch(network, carried0=carried, carried1=carried))
    torch.testing.assert_close(found['carried'], torch.tensor([4.5]), atol=5e-2, rtol=0)
    assert found['map'] == found['point'] == found['agree'] == 0
    found = terms(make_batch(network))
    expected = mass_near(peak, 5, 5) * 2.0
    torch.testing.assert_close(found['agree'].item(), expected, atol=3e-2, rtol=0)
    assert found['map'] == found['point'] == found['carried'] == 0


def test_the_teacher_teaches_as_far_as_it_is_sure(network, teacher):
    flat, sharp = torch.zeros(1, 1, 8, 12), 0.5 * bump(5, 4)[None, None]
    with_output(network, flat)
    mass = mass_near(sharp, 5, 4)
    assert 0.5 < mass < 0.97
    shares = []
    for gate in (0.0, 0.5, mass + 0.01):
        terms = objective(with_output(teacher, sharp), gate=gate)
        shares.append(terms(make_batch(network))['agree'].item())
    assert shares[1] / shares[0] == pytest.approx((mass - 0.5) / 0.5 / mass, rel=1e-4)
    assert shares[2] == 0
    # a label in one of the six places leaves the weight of each of the others what it is
    terms = objective(with_output(teacher, sharp), gate=0.0)
    five = terms(make_batch(network, one(1, 9.0, 9.0)))['agree'].item()
    assert five / shares[0] == pytest.approx(5 / 6, rel=1e-4)


def test_the_teacher_gains_weight(network, teacher):
    terms = objective(teacher, gate=0.0, ramp=0.5)
    weights = []
    for done in (0.0, 0.25, 0.5, 1.0):
        terms.advance(done)
        torch.manual_seed(0)
        weights.append(terms(make_batch(network))['agree'].item())
    for found, expected in zip(weights, (-5, -1.25, 0, 0), strict=True):
        assert found / weights[-1] == pytest.approx(math.exp(expected), rel=1e-4)


def test_the_teacher_begins_with_what_keypoints_predict(network, teacher):
    """Both are sharp to one cell, at columns 5 and 7; the network's own map is at 5."""
    with_output(network, bump(5, 3)[None, None])
    terms = objective(with_output(teacher, bump(5, 3)[None, None]), gate=0.0, ramp=1.0)
    prior = torch.tensor([[[59.5, 27.5]] * 3])
    for done, column in ((0.0, 7.0), (1.0, 6.0)):
        terms.advance(done)
        points, sure = terms._teach(make_batch(network, prior=prior))
        expected = torch.tensor([8 * column + 3.5, 27.5]).expand(2, 3, 2)
        torch.testing.assert_close(points, expected, atol=0.4, rtol=0)
        assert sure.min() > 0.9
        found = terms(make_batch(network, prior=prior))['agree']
        torch.testing.assert_close(found, torch.tensor([(column - 5) ** 2 / 2]), atol=0.2, rtol=0)
    # a prediction without much certainty leaves the teacher where it is
    points, _ = terms._teach(make_batch(network, prior=prior, spread=80.0))
    torch.testing.assert_close(points[..., 0], torch.full((2, 3), 43.5), atol=0.4, rtol=0)


def test_points_without_a_prediction_wait_for_the_teacher(network, teacher):
    with_output(network, torch.zeros(1, 1, 8, 12))
    terms = objective(with_output(teacher, 3 * bump(5, 4)[None, None]), gate=0.0, ramp=0.5)
    terms.advance(0.0)
    one_known = one(1, 43.5, 35.5)
    waiting = terms(make_batch(network))['agree'].item()
    known = terms(make_batch(network, prior=one_known))['agree'].item()
    assert known / waiting == pytest.approx((2 + math.exp(5)) / 3, rel=0.1)


def test_the_teacher_is_not_learned_and_no_part_of_the_objective(network, teacher):
    terms = objective(teacher, gate=0.0)
    assert not [*terms.parameters(), *terms.state_dict()]
    sum(terms(make_batch(network, one(0, 8.0, 8.0))).values()).sum().backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_without_an_average_the_network_teaches_itself(network):
    with_output(network, 3 * bump(5, 4)[None, None])
    found = objective(sigma=1 / math.sqrt(3), gate=0.0)(make_batch(network))
    torch.testing.assert_close(found['agree'], torch.zeros(1), atol=1e-4, rtol=0)


def test_the_teacher_sees_what_the_network_sees_warped(network, teacher):
    """Both find the brightest place, so that they agree, however the image is warped."""

    def brightest(image):
        seen = torch.nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True), 8)
        return (3000 / 64 / 2 * seen).expand(-1, 3, -1, -1)

    network.logits = teacher.logits = brightest
    x, y = torch.meshgrid(torch.arange(96.0), torch.arange(64.0), indexing='xy')
    image = (-((x - 50) ** 2 + (y - 26) ** 2) / 3000).expand(8, 3, 64, 96)
    none = NONE.expand(8, 3, 2)
    extra = {f'{n}{i}': none for n in ('labels', 'carried') for i in (0, 1)} | priors(none, none)
    torch.manual_seed(0)
    terms = objective(teacher, angle=40.0, scale=0.2, shift=0.3, gate=0.0)
    agreed = terms(PairBatch(network, image, image, extra))['agree']
    # of another place by 1.5 cells it would be 1
    assert 0 < agreed.max() < 0.3


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'gate': 1.0}, r'gate: must be a number from 0 to 0\.99, got 1\.0'),
        ({'ramp': 0.0}, r'ramp: must be a number above 0 and at most 1, got 0\.0'),
    ],
)
def test_settings_must_make_sense(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SemiSupervisedConfig(**settings)
