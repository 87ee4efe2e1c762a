"""Samples are evenly spaced and include both ends."""

from __future__ import annotations

from keypoint_perception.sampling import evenly_spaced
import numpy as np


def test_the_first_and_the_last_are_included():
    assert evenly_spaced(np.arange(10), 4).tolist() == [0, 3, 6, 9]


def test_all_are_returned_where_there_are_no_more():
    assert evenly_spaced(np.arange(3), 3).tolist() == [0, 1, 2]
    assert evenly_spaced(np.arange(3), 5).tolist() == [0, 1, 2]


def test_rows_stay_whole():
    assert evenly_spaced(np.arange(6).reshape(3, 2), 2).tolist() == [[0, 1], [4, 5]]
