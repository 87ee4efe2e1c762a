"""Keypoints are moved to what none of them is on, and only those that are hardly needed."""

from keypoint_perception.learning import reseeding
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.reseeding import better_place, covers, discriminants, often
from keypoint_perception.learning.training_loop import make_fabric
from keypoint_perception.learning.training_state import new_training_state
from keypoint_perception.learning.training_step import TrainingStep
from keypoint_perception.model.heatmaps import softmax_2d, windowed_expectation
import pytest
import torch

N, H, W = 120, 8, 10


@pytest.fixture
def scenes():
    """
    Return features and foreground of an arm of three cells in a row and a ball of one cell.

    Channel 0 tells the arm from the rest and channel 1 the ball; the others are noise.
    """
    generator = torch.Generator().manual_seed(2)
    features = 0.1 * torch.randn(N, 6, H, W, generator=generator)
    foreground = torch.zeros(N, H, W)
    ball = torch.randint(0, 3, (N,), generator=generator)
    for n in range(N):
        foreground[n, 6, 2:5] = 0.9
        features[n, 0, 6, 2:5] += 1.0
        foreground[n, ball[n], 7] = 0.9
        features[n, 1, ball[n], 7] += 1.0
    return features, foreground, ball


def at(*places):
    """Return the logits of keypoints that are sharp at (column, row) in all frames."""
    logits = torch.zeros(N, len(places), H, W)
    for k, (x, y) in enumerate(places):
        logits[:, k, y, x] = 30.0
    return logits


def test_a_keypoint_is_moved_to_what_none_is_on(scenes):
    features, foreground, ball = scenes
    # of those on the arm, the second covers nothing that the others do not
    logits = at((2, 6), (1, 6), (5, 6))
    keypoint, row = better_place(logits, features, foreground, 0, [])
    assert keypoint == 1
    maps = softmax_2d(torch.einsum('c,nchw->nhw', row, features)[:, None])
    xy, mass = windowed_expectation(maps, 2)
    expected = torch.stack([torch.full((N,), 7.0), ball.float()], dim=1)
    torch.testing.assert_close(xy[:, 0], expected, atol=0.2, rtol=0)
    assert mass.min() > 0.9


def test_keypoints_stay_where_everything_is_covered(scenes):
    features, foreground, _ = scenes
    logits = at((3, 6), (7, 1))
    assert better_place(logits, features, foreground, 0, []) is None


def test_a_keypoint_that_is_needed_as_often_stays(scenes):
    features, foreground, _ = scenes
    logits = at((2, 6), (4, 6), (9, 4))
    # the arm is not covered if one of the first two moves, but the third is on nothing
    assert better_place(logits, features, foreground, 0, [])[0] == 2
    assert better_place(logits, features, foreground, 0, [2]) is None


def test_what_is_seldom_uncovered_is_left(scenes):
    features, foreground, _ = scenes
    foreground[52:, :3] = 0.0  # the ball is there in 52 frames, which are more than two fifths
    logits = at((2, 6), (1, 6), (5, 6))
    assert better_place(logits, features, foreground, 0, [])[0] == 1
    foreground[44:, :3] = 0.0
    assert better_place(logits, features, foreground, 0, []) is None


def test_cells_near_a_sure_keypoint_are_covered():
    logits = torch.cat([at((4, 3)), torch.zeros(N, 1, H, W)], dim=1)
    found = covers(logits)
    expected = torch.zeros(H, W)
    expected[2:5, 3:6] = 1.0
    torch.testing.assert_close(found[0, 0], expected)
    # a flat map covers as much as the mass in its window
    assert found[0, 1].max() == pytest.approx(9 / (H * W), abs=0.01)


def test_a_frame_counts_if_half_a_cell_of_foreground_is_covered():
    cover, foreground = torch.zeros(4, 2, H, W), torch.full((4, H, W), 0.6)
    cover[:3, 0, 0, 0] = torch.tensor([1.0, 0.9, 0.7])
    assert often(cover, foreground).tolist() == [0.5, 0.0]


def test_rows_tell_classes_of_one_covariance_apart():
    """Fisher's rows give the logarithms of the odds of Gaussian classes."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 2.0]])
    cells = torch.randn(60_000, 3, generator=generator) @ mixing
    features = cells.T.reshape(1, 3, 200, 300)
    rows = discriminants(features, torch.tensor([[0.5, -0.2, 1.0]]))
    expected = torch.linalg.inv(mixing.T @ mixing) @ torch.tensor([0.5, -0.2, 1.0])
    torch.testing.assert_close(rows[0], expected, atol=0.1, rtol=0)


@pytest.fixture
def session(square_store, small):
    settings = small | {'network': 'default', 'objective': 'default', 'steps': 100}
    made = new_training_state(TrainConfig(**settings), square_store)
    made.step = 25
    return made


def moves(monkeypatch, *places):
    """Make the search find places for keypoints, one after another."""
    found = iter([*places, None, None, None])
    monkeypatch.setattr(reseeding, 'better_place', lambda *_: next(found))


def test_a_moved_keypoint_starts_anew(session, monkeypatch):
    step = TrainingStep(session, make_fabric(session.config))
    step(1e-3)
    head = session.learner.network.body.head
    row = torch.arange(float(head.weight.shape[1]))
    before = head.weight.detach().clone()
    moves(monkeypatch, (1, row))
    assert reseeding.Reseeding(session).after_step(0.17) == [1]
    for network in (session.learner.network, session.average.network):
        assert torch.equal(network.body.head.weight[1, :, 0, 0], row)
        assert network.body.head.bias[1] == 0
    assert torch.equal(head.weight[[0, 2]], before[[0, 2]])
    for parameter in (head.weight, head.bias):
        for name in ('exp_avg', 'exp_avg_sq'):
            moments = session.optimizer.state[parameter][name]
            assert not moments[1].any()
            assert moments[[0, 2]].any()


def test_it_is_looked_for_a_few_times_early_in_a_run(session, monkeypatch):
    looked = []
    monkeypatch.setattr(reseeding, 'better_place', lambda *_: looked.append(session.step))
    watch = reseeding.Reseeding(session)
    for session.step in range(100):
        watch.after_step(session.step / 100)
    assert looked == [24, 32, 40]
    # a run that is resumed at step 24 looks as often as before
    watch = reseeding.Reseeding(session, 0.23)
    for session.step in range(24, 100):
        watch.after_step(session.step / 100)
    assert looked == [24, 32, 40] * 2
    # not at the end of a run of a single step, and not before the first steps
    session.step = 1
    reseeding.Reseeding(session).after_step(1.0)
    assert len(looked) == 6


def test_two_keypoints_are_moved_at_a_time(session, monkeypatch):
    row = torch.zeros(session.learner.network.body.head.weight.shape[1])
    moves(monkeypatch, (0, row), (2, row), (1, row))
    assert reseeding.Reseeding(session).after_step(0.17) == [0, 2]


@pytest.mark.parametrize('changes', [{'objective': 'equivariance'}, {'network': 'paper'}])
def test_other_objectives_and_networks_keep_their_keypoints(
    square_store, small, monkeypatch, changes
):
    settings = small | {'network': 'default', 'objective': 'default', 'steps': 100} | changes
    made = new_training_state(TrainConfig(**settings), square_store)
    made.step = 25
    monkeypatch.setattr(reseeding, 'better_place', lambda *_: pytest.fail('looked'))
    assert reseeding.Reseeding(made).after_step(0.17) == []
