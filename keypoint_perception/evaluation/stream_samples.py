"""Samples of a stream whose length is not known in advance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from keypoint_perception.sampling import evenly_spaced
import numpy as np

Item = TypeVar('Item')


class ReservoirSample(Generic[Item]):
    """A uniform random sample, by reservoir sampling."""

    def __init__(self, size: int, *, seed: int = 0) -> None:
        self.items: list[Item] = []
        self._size = size
        self._seen = 0
        self._generator = np.random.default_rng(seed)

    def add(self, item: Item) -> None:
        """Offer the next item; all items seen so far are kept with equal probability."""
        self._seen += 1
        if len(self.items) < self._size:
            self.items.append(item)
            return
        slot = int(self._generator.integers(self._seen))
        if slot < self._size:
            self.items[slot] = item


class EvenSample(Generic[Item]):
    """
    Items evenly spaced over the stream.

    Holds up to twice the sample size; when full, it drops every second item and doubles its
    stride.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._stride, self._seen = 1, 0
        self._items: list[Item] = []

    def add(self, make_item: Callable[[], Item]) -> None:
        """Offer the next item; it is made only if it is kept."""
        if self._seen % self._stride == 0 and len(self._items) == 2 * self._size:
            self._items = self._items[::2]
            self._stride *= 2
        if self._seen % self._stride == 0:
            self._items.append(make_item())
        self._seen += 1

    def items(self) -> list[Item]:
        """Return the sample in order."""
        return [self._items[i] for i in evenly_spaced(np.arange(len(self._items)), self._size)]
