"""The speed of a training step: the operations counted, and the floor derived from them."""

from keypoint_perception.benchmarks.learning import step_benchmark
from keypoint_perception.benchmarks.learning.step_benchmark import (
    count_flop,
    measure_step,
    MovingSquare,
)
from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.config import TrainConfig
import pytest
import torch
from torch.nn import functional


def test_the_square_moves():
    frames = MovingSquare((32, 48))
    assert frames.images.shape == (64, 32, 48, 3)
    blue = (frames.images[..., 2] == 240).reshape(64, -1)
    assert (blue.sum(axis=1) == (32 // 6) * (48 // 6)).all()
    assert len({tuple(mask.nonzero()[0]) for mask in blue}) > 20


def test_operations_are_counted_forward_and_backward():
    weight = torch.randn(5, 2, 3, 3, requires_grad=True)

    def step():
        functional.conv2d(torch.randn(1, 2, 8, 8), weight, padding=1).sum().backward()

    once = 2 * 8 * 8 * 5 * 2 * 9
    assert count_flop(step) == 2 * once  # forward and weights; the image needs no gradient


def test_the_figures_of_a_step(monkeypatch):
    monkeypatch.setattr(step_benchmark, 'plain_flop_per_s', lambda fabric: 1e6)
    monkeypatch.setattr(step_benchmark, 'tune_malloc', lambda: True)
    config = TrainConfig(keypoints=2, size=32, width=8, batch_size=2, threads=1, precision='32')
    seen = []
    figures = measure_step(config, steps=1, rounds=3, progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert len(figures['rounds_s']) == 3
    assert figures['pairs_per_s'] == pytest.approx(2 / min(figures['rounds_s']))
    assert figures['floor_s'] == pytest.approx(figures['flop'] / 1e6)
    assert figures['share_of_floor'] == pytest.approx(figures['floor_s'] / figures['step_s'])
    names = [operator['name'] for operator in figures['operators']]
    assert any('convolution' in name for name in names)
    times = [operator['ms'] for operator in figures['operators']]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize('objective', ['supervised', 'semi_supervised'])
def test_objectives_that_need_labels_are_refused(tmp_path, objective):
    config = TrainConfig(objective=objective, annotations=str(tmp_path / 'a.csv'))
    with pytest.raises(ConfigError, match=f'{objective} needs labels; measure another objective'):
        measure_step(config, steps=1, rounds=1)
