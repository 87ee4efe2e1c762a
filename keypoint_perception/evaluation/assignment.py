"""Minimum-cost one-to-one assignment."""

from __future__ import annotations

import numpy as np


def assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """
    Return the pairs (row, column) of least total cost, one for each index of the shorter side.

    The Hungarian algorithm (Kuhn 1955, Munkres 1957) with shortest augmenting paths; O(n^2 m).

    :param cost: (n, m), finite
    """
    cost = np.asarray(cost, np.float64)
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in assign(cost.T))
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)
    for new_row in range(rows):
        _augment(cost, new_row, row_of, row_price, column_price)
    return sorted((int(row), column) for column, row in enumerate(row_of) if row >= 0)


def _augment(
    cost: np.ndarray,
    new_row: int,
    row_of: np.ndarray,
    row_price: np.ndarray,
    column_price: np.ndarray,
) -> None:
    """Assign a column to ``new_row``, updating ``row_of`` and the dual prices in place."""
    columns = cost.shape[1]
    distance, came_from = np.full(columns, np.inf), np.full(columns, -1)
    done = np.zeros(columns, bool)
    row, column, reached = new_row, -1, 0.0
    while True:
        through = reached + cost[row] - row_price[row] - column_price
        better = ~done & (through < distance)
        distance[better], came_from[better] = through[better], column
        column = int(np.where(done, np.inf, distance).argmin())
        reached, done[column] = distance[column], True
        if row_of[column] < 0:
            break
        row = int(row_of[column])
    passed = done & (row_of >= 0)
    row_price[new_row] += reached
    row_price[row_of[passed]] += reached - distance[passed]
    column_price[passed] -= reached - distance[passed]
    while column >= 0:
        before = int(came_from[column])
        row_of[column] = new_row if before < 0 else row_of[before]
        column = before
