"""Of several beginnings the one whose keypoints err least goes on."""

import copy

from keypoint_perception.errors import ConfigError, TrainingError
from keypoint_perception.learning import seed_selection
from keypoint_perception.learning import training_loop as learning
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.resume import settings_of_run
from keypoint_perception.learning.seed_selection import compare
from keypoint_perception.learning.stopping import Budget
from keypoint_perception.learning.training_state import new_training_state
from keypoint_perception.learning.training_step import TrainingStep
from keypoint_perception.model.checkpoint import load_checkpoint
from keypoint_perception.model_directory import read_history
import pytest
import torch


def test_the_best_of_the_seeds_goes_on(run, square_store, tmp_path, monkeypatch):
    losses = {5: 0.7, 6: 0.4, 7: float('nan')}
    monkeypatch.setattr(seed_selection, 'compare', lambda session, *_: losses[session.config.seed])
    steps = []
    run(
        square_store,
        tmp_path,
        steps=24,
        seed=5,
        seeds=3,
        report=lambda moment: steps.append(moment.step),
    )
    # a quarter of 24 steps is 2 for each of three seeds; the best one goes on from there
    assert steps == [1, 2, 1, 2, 1, 2, *range(3, 25)]
    state = load_checkpoint(tmp_path).state
    assert (state['step'], state['config']['seed'], state['config']['seeds']) == (24, 6, 3)
    assert [int(row['step']) for row in read_history(tmp_path)] == list(range(3, 25))


@pytest.mark.parametrize('best', [0, 1])
def test_what_went_on_is_what_its_seed_alone_becomes(
    run, square_store, tmp_path, monkeypatch, best
):
    def prefer(session, *others):
        compare(session, *others)
        return abs(session.config.seed - best)

    monkeypatch.setattr(seed_selection, 'compare', prefer)
    for name, choice in (('chosen', {'seeds': 2}), ('alone', {'seed': best})):
        # its warps are drawn at random, which a run after another must not notice
        run(square_store, tmp_path / name, steps=8, objective='equivariance', **choice)
    chosen, alone = (load_checkpoint(tmp_path / name) for name in ('chosen', 'alone'))
    torch.testing.assert_close(
        chosen.network.state_dict(), alone.network.state_dict(), rtol=0, atol=0
    )


def test_the_loss_compared_is_of_the_same_pairs_and_leaves_no_trace(small, square_store):
    config = TrainConfig(**small | {'steps': 4, 'objective': 'default'})
    fabric = learning.make_fabric(config)
    session = new_training_state(config, square_store)
    step = TrainingStep(session, fabric)
    drawn, random = session.sampler.state(), torch.get_rng_state()
    first = step.loss_on(drawn, 2)
    session.batch(4, slice(4))
    torch.rand(3)
    assert step.loss_on(drawn, 2) == first > 0
    session.sampler.restore(drawn)
    torch.set_rng_state(random)
    before = step(0.0)[0]
    session.sampler.restore(drawn)
    torch.set_rng_state(random)
    step.loss_on(session.sampler.state(), 2)
    assert step(0.0)[0] == before


@pytest.mark.parametrize('objective', ['conditional_generation', 'motion_energy'])
def test_the_loss_compared_is_of_the_network_that_would_be_exported(
    small, square_store, objective
):
    """Running statistics are used as they are, and neither they nor the modes change."""
    config = TrainConfig(**small | {'steps': 4, 'objective': objective, 'norm': 'batch'})
    session = new_training_state(config, square_store)
    step = TrainingStep(session, learning.make_fabric(config))
    assert step.loss_on(session.sampler.state(), 1) > 0
    step(0.001)
    before = copy.deepcopy(session.learner.state_dict())
    modes = [module.training for module in session.learner.modules()]
    loss = step.loss_on(session.sampler.state(), 1)
    torch.testing.assert_close(session.learner.state_dict(), before, rtol=0, atol=0)
    assert [module.training for module in session.learner.modules()] == modes
    session.learner.network.body.stem[0][1].running_var.mul_(100)
    assert step.loss_on(session.sampler.state(), 1) != loss


def test_seeds_that_all_fail_are_said(run, square_store, tmp_path, monkeypatch):
    monkeypatch.setattr(seed_selection, 'compare', lambda *_: float('nan'))
    with pytest.raises(TrainingError, match='The loss of each of 2 seeds became nan within 1 st'):
        run(square_store, tmp_path, steps=8, seeds=2)


def test_minutes_are_shared_among_the_seeds(small, square_store, monkeypatch):
    config = TrainConfig(**small | {'seeds': 2})
    fabric = learning.make_fabric(config)
    budget = Budget(steps=None, minutes=1)
    clock = [0.0]
    monkeypatch.setattr(budget, 'done_by_time', lambda: clock[0])

    def tick(moment):
        clock[0] += 0.05

    begun = []
    monkeypatch.setattr(
        seed_selection, 'compare', lambda session, *_: begun.append(session.step) or 1.0
    )
    first = new_training_state(config, square_store)
    seed_selection.select_seed(fabric, first, budget, stopped=lambda: False, report=tick)
    # a quarter of the minute is five ticks: three until its half is over, two for the second
    assert begun == [3, 2]


def test_a_resumed_run_may_name_the_seed_it_was_begun_with(
    run, square_store, tmp_path, monkeypatch
):
    monkeypatch.setattr(seed_selection, 'compare', lambda session, *_: -session.config.seed)
    run(square_store, tmp_path, steps=8, seeds=2)
    settings = settings_of_run(tmp_path, None, {'seed': 0, 'seeds': 2}, resume=True)
    assert (settings.seed, settings.seeds) == (1, 2)
    with pytest.raises(ConfigError, match=r'other settings \(seeds 2 -> 4\)'):
        settings_of_run(tmp_path, None, {'seeds': 4}, resume=True)
