"""The errors that candidates are compared by, on keypoints whose errors are known."""

import copy
from types import SimpleNamespace

from keypoint_perception.learning import training_loop as learning
from keypoint_perception.learning.candidate_errors import candidate_errors
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.seed_selection import compare
from keypoint_perception.learning.training_state import new_training_state
from keypoint_perception.learning.training_step import TrainingStep
import pytest
import torch

CPU = torch.device('cpu')


class RedSquare(torch.nn.Module):
    """
    Finds the red square of :func:`conftest.moving_square`, whose centre is k-th keypoint's.

    :param points: each a function of the centre (n, 2) px and of the frames (n, H, W, 3)
    """

    def __init__(self, *points):
        super().__init__()
        self.points = points

    def forward(self, frames):
        levels = frames.float()
        red = ((levels[..., 0] - levels[..., 2]) > 120).float() + 1e-9
        rows, columns = (torch.arange(n).float() for n in frames.shape[1:3])
        total = red.sum(dim=(1, 2))
        u = (red.sum(dim=1) * columns).sum(dim=1) / total
        v = (red.sum(dim=2) * rows).sum(dim=1) / total
        centre = torch.stack([u, v], dim=-1)
        found = torch.stack([point(centre, levels) for point in self.points], dim=1)
        return torch.cat([found, torch.ones(*found.shape[:2], 1)], dim=-1)


def right(centre, levels):
    return centre


def still(centre, levels):
    return torch.full_like(centre, 5.0)


def beside(centre, levels):
    """A point 2 px right of the centre in the frame, whichever way the square is turned."""
    return centre + torch.tensor([4.0, 0.0])


def by_background(centre, levels):
    """The centre, moved by 4 px for each grey level of the darkest corner's difference."""
    return centre + torch.stack([levels[:, 60, 60, 0] / 255 * 16, torch.zeros(len(levels))], dim=1)


@pytest.fixture
def errors(small, square_store):
    """Return a function that scores a network on the square's frames with the default's extras."""
    config = TrainConfig(**small | {'steps': 4, 'objective': 'default'})
    session = new_training_state(config, square_store)

    def errors(*points):
        session.average = SimpleNamespace(network=RedSquare(*points))
        return candidate_errors(session, CPU)

    return errors


def test_keypoints_that_hold_have_no_error(errors):
    found = errors(right)
    # the centre of mass of whole pixels, under a warp that interpolates
    assert found.equivariance < 1
    assert found.background < 0.5
    assert found.flow < 4  # of a uniform square that moves by 9 to 14 px, 10 to 16 %
    assert found.useful == 1
    assert found.total == pytest.approx(
        (found.equivariance + found.background + found.flow) / 3, abs=1e-4
    )


def test_what_pruning_would_remove_counts_as_the_worst(errors):
    alone = errors(right).total
    found = errors(right, still)
    assert found.useful == 1
    assert found.total == pytest.approx((alone + 10) / 2, abs=1e-4)
    # of two at one place one counts
    assert errors(right, right).total == pytest.approx((alone + 10) / 2, abs=1e-4)


def test_a_keypoint_that_does_not_turn_with_its_part_is_worse(errors):
    # by up to 20 degrees, 4 px beside the centre, of a diagonal of 90 px
    centred, aside = errors(right), errors(beside)
    assert centred.equivariance + 0.3 < aside.equivariance < centred.equivariance + 2
    assert aside.background == pytest.approx(centred.background, abs=0.3)


def test_a_keypoint_that_knows_the_background_is_worse(errors, monkeypatch):
    found = errors(by_background)
    assert found.background < 0.5  # one clip has one background
    roll = torch.Tensor.roll
    brighter = lambda values, *where, **how: (roll(values, *where, **how) + 0.5).clamp(max=1)  # noqa: E731
    monkeypatch.setattr(torch.Tensor, 'roll', brighter)
    # half a unit is 64 grey levels: 4 px of a diagonal of 90.5 px
    assert errors(by_background).background == pytest.approx(100 * 4 / 90.5, rel=0.15)
    assert errors(right).background < 0.5


def test_broken_networks_are_not_chosen(errors):
    assert torch.tensor(errors(lambda centre, levels: centre * float('nan')).total).isnan()


@pytest.mark.parametrize('objective', ['default', 'conditional_generation'])
def test_the_comparison_leaves_no_trace(small, square_store, objective):
    config = TrainConfig(**small | {'steps': 4, 'objective': objective, 'norm': 'batch'})
    fabric = learning.make_fabric(config)
    session = new_training_state(config, square_store)
    step = TrainingStep(session, fabric)
    step(0.001)
    before = copy.deepcopy([session.learner.state_dict(), session.average.network.state_dict()])
    drawn, random = session.sampler.state(), torch.get_rng_state()
    modes = [module.training for module in session.learner.modules()]
    first = compare(session, step, fabric, drawn)
    session.batch(4, slice(4))
    assert compare(session, step, fabric, drawn) == first
    session.sampler.restore(drawn)
    assert 0 < first <= 10
    after = [session.learner.state_dict(), session.average.network.state_dict()]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in session.learner.modules()] == modes
