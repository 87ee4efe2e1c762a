"""The averaged network follows the live one slowly, and at first fast."""

from keypoint_perception.learning.learner import Average
import torch


def linear(weight):
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, weight)
    return module


def test_average_moves_by_what_it_does_not_keep():
    average = Average(linear(1.0), decay=0.9)
    average.update(linear(2.0), step=10_000)
    torch.testing.assert_close(average.network.weight.item(), 1.1)


def test_average_is_quick_at_first():
    average = Average(linear(1.0), decay=0.9)
    average.update(linear(2.0), step=0)  # keeps (1 + 0) / (10 + 0)
    torch.testing.assert_close(average.network.weight.item(), 1.9)


def test_average_does_not_change_what_is_trained():
    live = linear(1.0)
    average = Average(live, decay=0.5)
    average.update(linear(3.0), step=10_000)
    assert live.weight.item() == 1.0
    assert not average.network.weight.requires_grad


def test_buffers_are_taken_over():
    average = Average(torch.nn.BatchNorm2d(1), decay=0.9)
    live = torch.nn.BatchNorm2d(1)
    live.running_mean.fill_(5.0)
    average.update(live, step=3)
    assert average.network.running_mean.item() == 5.0
