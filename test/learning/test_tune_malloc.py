"""Large blocks are kept, where the C library can be asked."""

import ctypes
import sys

from keypoint_perception.learning import training_loop
from keypoint_perception.learning.training_loop import tune_malloc
import pytest


class Library:
    def __init__(self):
        self.asked = {}

    def mallopt(self, number, value):
        self.asked[number] = value
        return 1


@pytest.fixture
def library(monkeypatch):
    library = Library()
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: library)
    monkeypatch.setattr(sys, 'platform', 'linux')
    return library


def test_blocks_of_all_sizes_are_kept(library):
    assert tune_malloc()
    # M_MMAP_THRESHOLD is -3 and M_TRIM_THRESHOLD -1 in glibc's malloc.h
    assert library.asked == {-3: 1 << 30, -1: 1 << 30}


def test_other_libraries_are_left_alone(library, monkeypatch):
    monkeypatch.setattr(Library, 'mallopt', lambda self, number, value: 0)
    assert not tune_malloc()
    monkeypatch.delattr(Library, 'mallopt')
    assert not tune_malloc()
    monkeypatch.setattr(training_loop.sys, 'platform', 'darwin')
    assert not tune_malloc()
