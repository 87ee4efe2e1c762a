"""
The holdout: the last part of each recording, which no gradient has seen.

``train --holdout SHARE`` withholds the last frames in time of each camera of each recording, and
the model's manifest records the stamps of the frames on either side. Scores of a model are of the
withheld frames where there are any; otherwise they say what the model has learned from.

Frames are recognised by the digest of their recording, their topic and their stamp. A copy of a
recording in another format has another digest, and counts as another recording.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Share of a recording that is scored and, where it is withheld, not learned from; the regression
# from keypoints to labels is fitted on the rest.
HOLDOUT = 0.3
LARGEST_HOLDOUT = 0.9
# Keys of a recording in a manifest: by topic, the first and the last stamp of these frames, ns.
LEARNED, WITHHELD = 'learned_ns', 'withheld_ns'
Span = tuple[str, int, int]  # topic, first and last stamp


def count_fitted(frames: int, holdout: float = HOLDOUT) -> int:
    """Return how many frames, the first in time, are left to fit on: rounded down, at least 1."""
    # rounded first, because 0.7 times 90 is 62.99999999999999
    return max(1, int(round((1 - holdout) * frames, 6)))


@dataclass(frozen=True)
class Exposure:
    """
    What of a recording a model has learned from.

    :param known: whether the recording is one of the model's training recordings
    :param learned: stamps of the frames that it learned from
    :param withheld: stamps of the frames that were withheld from it
    """

    known: bool = False
    learned: tuple[Span, ...] = ()
    withheld: tuple[Span, ...] = ()

    def is_withheld(self, stamp_ns: int, topic: str) -> bool:
        """Return whether a frame was withheld from a model that learned from its recording."""
        return _within(self.withheld, stamp_ns, topic) and not _within(
            self.learned, stamp_ns, topic
        )

    def withheld_mask(self, stamps_ns: np.ndarray, topics: Sequence[str]) -> np.ndarray:
        """Return :meth:`is_withheld` of frames, (N,) bool."""
        frames = zip(stamps_ns.tolist(), topics, strict=True)
        return np.array([self.is_withheld(stamp, topic) for stamp, topic in frames], bool)

    def describe(self, withheld: int, frames: int) -> dict[str, Any]:
        """
        Return what the scores of a recording are of, for a report.

        :param withheld: how many of the frames were withheld
        """
        if not self.known:
            scored = 'another recording'
            sentence = 'The model has not learned from this recording.'
        elif withheld:
            scored = 'withheld frames'
            sentence = (
                f'The scores are of the {withheld} of {frames} frames that were withheld from '
                'the model.'
            )
        else:
            scored = 'learned frames'
            sentence = (
                'The model has learned from these frames, so that the scores are better than '
                'those of new ones; for scores of withheld frames, train with --holdout '
                f'{HOLDOUT:g}.'
            )
        return {'scored': scored, 'withheld_frames': withheld, 'sentence': sentence}

    def tell(self, withheld: int, frames: int) -> str:
        """Return in a sentence which of some frames, all of them in use, were withheld."""
        if not self.known or not withheld:
            return str(self.describe(withheld, frames)['sentence'])
        return (
            f'The model has learned from {frames - withheld} of these {frames} frames; '
            f'{withheld} were withheld from it.'
        )


def find_exposure(
    sources: Sequence[Mapping[str, Any]], digests: Collection[str], stamps: str = ''
) -> Exposure:
    """
    Return what of a recording a model has learned from.

    If its stamps are chosen in another way than for training, they do not tell which frames were
    withheld, and all count as learned from.

    :param sources: the training recordings of the model's manifest
    :param digests: of the recording, or of those of a frame store
    :param stamps: the option ``--stamps``
    """
    mine = [source for source in sources if source.get('digest') in digests]
    alike = [source for source in mine if (source.get('stamps') or '') == stamps]
    learned, withheld = (
        tuple(span for source in alike for span in _spans(source.get(key)))
        for key in (LEARNED, WITHHELD)
    )
    return Exposure(bool(mine), learned, withheld)


def _within(spans: Sequence[Span], stamp_ns: int, topic: str) -> bool:
    return any(topic == of and first <= stamp_ns <= last for of, first, last in spans)


def _spans(value: object) -> list[Span]:
    """Return the spans of a manifest, without what is no span."""
    if not isinstance(value, dict):
        return []
    return [
        (topic, *ends)
        for topic, ends in value.items()
        if isinstance(ends, (list, tuple))
        and len(ends) == 2
        and all(type(stamp) is int for stamp in ends)
    ]
