"""One-to-one assignment of least total cost."""

from itertools import permutations

from keypoint_perception.evaluation.assignment import assign
import numpy as np
import pytest


def total(cost, pairs):
    return sum(cost[i, j] for i, j in pairs)


def test_cheapest_first_would_be_dearer():
    # taking 1 first leaves 10: together 11 instead of 2 + 3
    assert assign(np.array([[1.0, 2.0], [3.0, 10.0]])) == [(0, 1), (1, 0)]


@pytest.mark.parametrize('shape', [(1, 1), (3, 3), (5, 5), (3, 6), (6, 3), (1, 4), (4, 1)])
def test_agrees_with_trying_all(shape):
    generator = np.random.default_rng(0)
    for _ in range(20):
        cost = generator.normal(size=shape)
        pairs = assign(cost)
        few, many = sorted(shape)
        wide = cost if shape[0] <= shape[1] else cost.T
        best = min(
            sum(wide[i, chosen[i]] for i in range(few))
            for chosen in permutations(range(many), few)
        )
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == few
        assert total(cost, pairs) == pytest.approx(best)


def test_nothing_to_assign():
    assert assign(np.zeros((0, 3))) == []
    assert assign(np.zeros((3, 0))) == []
