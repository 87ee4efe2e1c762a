"""Self-training: its terms, its phases by budget, and a run that goes on exactly."""

import math

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning import training_loop as learning
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.objectives import self_training as module
from keypoint_perception.learning.objectives.self_training import SelfTraining
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.learning.self_training.pseudo_labels import PseudoLabels
from keypoint_perception.learning.self_training.warped_views import Views
from keypoint_perception.learning.stopping import Budget
from keypoint_perception.model.checkpoint import load_checkpoint
from keypoint_perception.model.network import NetworkConfig
from keypoint_perception.model_directory import read_history
import pytest
import torch
from torch.nn.functional import normalize

NAN = torch.nan
STILL = {'angle': 0, 'scale': 0, 'shift': 0, 'bend': 0, 'colour': 0}


@pytest.fixture
def candidates():
    """Candidates of two pairs of frames of 96 x 64, all of which are followed by 3 px."""
    generator = torch.Generator().manual_seed(0)
    first = torch.full((2, 64, 2), NAN)
    first[:, :20] = torch.rand(2, 20, 2, generator=generator) * torch.tensor([80.0, 50.0]) + 6
    return {'candidates0': first, 'candidates1': first + 3, 'followed': first + 3}


@pytest.fixture
def batch(network, images, candidates):
    return PairBatch(network, images(1), images(2), candidates)


@pytest.fixture
def objective(make_objective):
    return lambda **settings: make_objective(SelfTraining, **settings)


def test_in_the_warm_up_descriptors_learn_and_maps_do_not(objective, batch):
    objective = objective()
    terms = objective(batch)
    assert set(terms) == set(SelfTraining.weights)
    assert all(term.shape == (2,) for term in terms.values())
    assert (terms['match'] > 1).all()
    assert all(not terms[name].any() for name in ('gather', 'map', 'point', 'absent'))
    sum(term.sum() for term in terms.values()).backward()
    # the network below its head, and the descriptors; the rest has a gradient of zero, which
    # processes that train together need
    body = batch.network.body
    assert body.stem[0][0].weight.grad.abs().sum() > 0
    assert not body.head.weight.grad.any()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_with_clusters_all_terms_learn(objective, batch):
    objective = objective(same=0)
    for _ in range(12):
        objective(batch)  # fills the memory
    objective.advance(0.3)
    assert objective.memory.clustered
    objective.memory.limits.fill_(9.0)  # every candidate is within its limit ...
    labels = objective.memory.labels
    only = torch.zeros(4, 3, dtype=torch.bool)
    only[:, 2] = True  # ... and one keypoint is not in view

    def with_one_absent(*given):
        found = labels(*given)
        keypoint = torch.full_like(found.keypoint, -1)
        keypoint[:, 0] = 0
        return found._replace(absent=only, seen=~only, keypoint=keypoint)

    objective.memory.labels = with_one_absent
    terms = objective(batch)
    head = batch.network.body.head
    for name in ('map', 'point', 'absent'):
        (gradient,) = torch.autograd.grad(terms[name].sum(), head.weight, retain_graph=True)
        trained = gradient.flatten(1).abs().sum(dim=1) > 0
        # what is not in view has no place to learn, and only that becomes flat
        assert trained.tolist() == (
            [False, False, True] if name == 'absent' else [True, True, False]
        )
    assert (terms['gather'] > 0).all()


def test_map_terms_by_hand(objective):
    logits = torch.zeros(2, 1, 8, 12)
    logits[1, 0, 3, 5] = 3.0
    seen = torch.tensor([[True], [False]])
    # the centre of the cell in column 2 and row 4 of maps with 12 cells along the longer side
    xy = torch.tensor([[[2.5 / 12, 4.5 / 12]], [[0.9, 0.1]]])
    labels = PseudoLabels(xy, seen, ~seen, torch.zeros(2, 4))
    terms = objective(sigma=0.5)._map_terms(logits, labels, (8, 12))
    # the middle of a flat map is at (5.5, 3.5), half a side is 6 cells
    assert terms['point'].item() == pytest.approx(math.hypot(3.5, 0.5) / 6 / 2)
    # a bump of 0.5 cells has masses of e^(-2 d^2); its divergence from a flat map is log(96) less
    # its entropy
    mass = (
        torch.exp(-2 * (torch.arange(12.0) - 2) ** 2),
        torch.exp(-2 * (torch.arange(8.0) - 4) ** 2),
    )
    entropy = sum(float(-torch.xlogy(m / m.sum(), m / m.sum()).sum()) for m in mass)
    assert terms['map'].item() == pytest.approx((math.log(96) - entropy) / 2, rel=1e-4)
    # KL(flat || p) = log sum exp - mean logit - log(96)
    flat = math.log(95 + math.exp(3)) - 3 / 96 - math.log(96)
    assert terms['absent'].item() == pytest.approx(flat / 2, rel=1e-4)


def test_matching_compares_a_point_with_its_partner_and_the_rest_of_that_view(objective):
    objective = objective(temperature=0.5)
    own = normalize(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    xy = torch.tensor([[[0.1, 0.1], [0.5, 0.5], [NAN, NAN]], [[0.2, 0.2], [0.6, 0.6], [NAN, NAN]]])
    # the second was not followed
    partner = torch.tensor([[[0.2, 0.2], [NAN, NAN], [NAN, NAN]]])
    partners = own[1:].clone()
    places = torch.zeros(2, 1, 4)
    views = Views(None, xy, partner, torch.full((2, 1, 2), 0.2), xy)
    (found,) = objective._match(views, own, places, partners)
    right = float(own[0, 0] @ own[1, 0]) / 0.5
    loss = 0
    for point in (own[0, 0], own[1, 0]):
        wrong = float(point @ own[1, 1]) / 0.5  # the place beside it is no negative
        loss += math.log(math.exp(right) + math.exp(wrong)) - right
    assert found.item() == pytest.approx(loss / 2, rel=1e-5)


def test_phases_by_the_share_of_the_budget(objective, batch, monkeypatch):
    objective = objective(warmup=0.2, rounds=0.4, angle=170)
    rounds, angles = [], []
    monkeypatch.setattr(objective.memory, 'cluster', lambda: rounds.append(objective.done) or True)
    draw = module.draw_views
    monkeypatch.setattr(
        module,
        'draw_views',
        lambda b, warps, *rest: angles.append(warps.angle) or draw(b, warps, *rest),
    )
    for step in range(20):
        objective.advance(step / 20)
        objective(batch)
    # a round at every eighth of the rounds' share, which is one step
    assert rounds == [step / 20 for step in range(4, 12)]
    assert angles == [170] * 12 + [30] * 8


def test_evaluation_leaves_no_trace(objective, batch):
    objective = objective()
    with torch.no_grad():
        objective(batch)
    objective.eval()
    objective(batch)
    assert int(objective.memory.remembered) == 0
    objective.train()
    objective(batch)
    assert int(objective.memory.remembered) == 4


def test_views_of_a_pair_are_remembered_one_after_the_other(objective, batch):
    objective = objective(same=0, **STILL)
    objective(batch)
    memory = objective.memory
    first = batch.extra['candidates0'][1, :20]
    torch.testing.assert_close(memory.recent_frame_xy[2, :20], (first + 0.5) / 96)
    torch.testing.assert_close(memory.recent_xy[3, :20], (first + 3.5) / 96)
    inside = memory.recent_xy[3, :20].isfinite().all(dim=-1)
    assert memory.recent_links[2, :20][inside].tolist() == torch.arange(20)[inside].tolist()
    assert (memory.recent_links[3] == -1).all()


def test_the_descriptors_choose_candidates(objective, network, images):
    generator = torch.Generator().manual_seed(0)
    many = torch.rand(2, 128, 2, generator=generator) * torch.tensor([95.0, 63.0])
    many[:, 100:] = NAN
    extra = {'candidates0': many, 'candidates1': many.flip(1), 'followed': many}
    objective = objective(detector='describe', same=0, **STILL)
    objective(PairBatch(network, images(1), images(2), extra))
    memory = objective.memory
    kept = memory.recent_xy[:4]
    assert kept.isfinite().all()
    pool = (torch.cat([many, many.flip(1)])[[0, 2, 1, 3]] + 0.5) / 96
    assert (kept[:, :, None] - pool.nan_to_num(9.0)[:, None]).norm(dim=-1).amin(
        dim=-1
    ).max() < 1e-6
    assert not torch.equal(kept[0], pool[0, :64])


def test_the_separable_network_is_refused(make_objective):
    paper = NetworkConfig(network='paper', keypoints=3, input_hw=(64, 96))
    with pytest.raises(ConfigError, match='self_training needs 2-D heatmaps'):
        make_objective(SelfTraining, network=paper)


def test_a_run_learns_and_says_which_keypoints_it_found(run, square_store, tmp_path):
    run(square_store, tmp_path, steps=24, objective='self_training', keypoints=3)
    history = read_history(tmp_path)
    assert float(history[0]['map']) == 0 < float(history[-1]['map'])
    assert float(history[-1]['match']) < 0.8 * float(history[0]['match'])
    tensors = load_checkpoint(tmp_path).tensors
    assert any(name.endswith('memory.owner') for name in tensors)


def test_a_resumed_run_goes_on_exactly(run, square_store, tmp_path, small):
    settings = {'objective': 'self_training', 'keypoints': 2, 'batch_size': 4}
    run(square_store, tmp_path / 'whole', steps=10, **settings)
    config = TrainConfig(**small | settings | {'steps': 10})
    fabric = learning.make_fabric(config)

    class Interrupted(Budget):
        """Ends after six steps, in the middle of the rounds."""

        def reason(self, step):
            return 'enough' if step == 6 else None

    budget = Interrupted(steps=10, minutes=None)
    learning.train(fabric, config, square_store, tmp_path / 'parts', budget=budget)
    run(square_store, tmp_path / 'parts', steps=10, resume=True, **settings)
    whole, parts = (load_checkpoint(tmp_path / name).tensors for name in ('whole', 'parts'))
    clustered = next(t for name, t in whole.items() if name.endswith('clustered_at'))
    assert clustered.item() > 0.6
    torch.testing.assert_close(parts, whole, rtol=0, atol=0, equal_nan=True)
