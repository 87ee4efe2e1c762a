"""The averaged network follows the live one slowly, and at first fast."""

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.learner import Learner, WeightAverage
from keypoint_perception.learning.pair_batch import DatasetStatistics
import pytest
import torch


def linear(weight):
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, weight)
    return module


def test_average_moves_by_what_it_does_not_keep():
    average = WeightAverage(linear(1.0), decay=0.9)
    average.update(linear(2.0), step=10_000)
    torch.testing.assert_close(average.network.weight.item(), 1.1)


def test_average_is_quick_at_first():
    average = WeightAverage(linear(1.0), decay=0.9)
    average.update(linear(2.0), step=0)  # keeps (1 + 0) / (10 + 0)
    torch.testing.assert_close(average.network.weight.item(), 1.9)


def test_average_does_not_change_what_is_trained():
    live = linear(1.0)
    average = WeightAverage(live, decay=0.5)
    average.update(linear(3.0), step=10_000)
    assert live.weight.item() == 1.0
    assert not average.network.weight.requires_grad


def test_buffers_are_taken_over():
    average = WeightAverage(torch.nn.BatchNorm2d(1), decay=0.9)
    live = torch.nn.BatchNorm2d(1)
    live.running_mean.fill_(5.0)
    average.update(live, step=3)
    assert average.network.running_mean.item() == 5.0


def learner(both_ways):
    values = {'keypoints': 2, 'size': 32, 'width': 8}
    settings = {'both_ways': both_ways}
    config = TrainConfig('temporal_transport', settings, **values)
    torch.manual_seed(0)
    return Learner(config, (32, 32), DatasetStatistics(change=0.1))


def passes(learner):
    """Return, for each pass through the network, how many frames it had and if it learned."""
    seen = []
    learner.network.body.register_forward_hook(
        lambda _module, given, made: seen.append((len(given[0]), made.requires_grad))
    )
    images = torch.randint(0, 255, (2, 3, 32, 32, 3), dtype=torch.uint8)
    terms = learner(*images)
    return seen, terms


def test_frames_that_are_only_shown_have_no_gradient():
    seen, both = passes(learner(both_ways=True))
    assert seen == [(6, True)]
    one_way = learner(both_ways=False)
    seen, terms = passes(one_way)
    assert seen == [(3, False), (3, True)]
    sum(term.sum() for term in terms.values()).backward()
    assert all(p.grad.abs().sum() > 0 for p in one_way.network.parameters())
    assert terms['spread'].shape == both['spread'].shape == (3,)


def test_no_keypoint_of_a_learned_graph_can_be_extra():
    config = TrainConfig('edge_linking', keypoints=4, extra_keypoints=2, size=32, width=8)
    with pytest.raises(
        ConfigError, match=r'extra_keypoints: must be 0 for edge_linking, .* got 2'
    ):
        Learner(config, (32, 32), DatasetStatistics(change=0.1))


def test_extra_keypoints_are_learned_beside_those_asked_for():
    config = TrainConfig(keypoints=4, extra_keypoints=2, size=32, width=8)
    assert Learner(config, (32, 32), DatasetStatistics(change=0.1)).network.config.keypoints == 6
