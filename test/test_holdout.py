"""The holdout: how many frames it leaves, and what a model has learned of a recording."""

from keypoint_perception.holdout import count_fitted, Exposure, find_exposure
import numpy as np
import pytest

SOURCES = [
    {
        'digest': 'a',
        'stamps': '',
        'learned_ns': {'/left': [100, 170], '/right': [105, 175]},
        'withheld_ns': {'/left': [180, 200], '/right': [185, 205]},
    },
    {'digest': 'b'},
]


@pytest.mark.parametrize(
    ('frames', 'holdout', 'fitted'),
    [(10, 0.3, 7), (90, 0.3, 63), (11, 0.3, 7), (10, 0.9, 1), (1, 0.3, 1), (3, 0.5, 1)],
)
def test_frames_left_to_fit_on(frames, holdout, fitted):
    assert count_fitted(frames, holdout) == fitted


def test_frames_after_the_first_withheld_stamp_are_withheld():
    found = find_exposure(SOURCES, ['a'])
    assert found.known
    topics = ['/left', '/left', '/right', '/left', '/other', '/left']
    stamps = np.array([170, 180, 180, 200, 190, 201])
    # 180 of /right lies between its two parts, and 201 is after the recording
    mask = [False, True, False, True, False, False]
    assert found.withheld_mask(stamps, topics).tolist() == mask


def test_a_frame_of_two_recordings_is_withheld_only_if_neither_learned_from_it():
    early = {'digest': 'c', 'learned_ns': {'/left': [190, 195]}, 'withheld_ns': {}}
    found = find_exposure([*SOURCES, early], ['a', 'c'])
    assert [found.is_withheld(stamp, '/left') for stamp in (189, 190, 196)] == [True, False, True]


@pytest.mark.parametrize(
    ('digests', 'stamps', 'known', 'withheld'),
    [
        (['a'], '', True, True),
        (['a'], 'bag', True, False),
        (['b'], '', True, False),
        (['x'], '', False, False),
    ],
)
def test_only_the_same_recording_with_the_same_stamps_has_withheld_frames(
    digests, stamps, known, withheld
):
    found = find_exposure(SOURCES, digests, stamps)
    assert (found.known, found.is_withheld(190, '/left')) == (known, withheld)


@pytest.mark.parametrize('value', [None, 3, {'/left': 3}, {'/left': [1]}, {'/left': ['a', 'b']}])
def test_what_is_no_span_is_ignored(value):
    assert find_exposure([{'digest': 'a', 'withheld_ns': value}], ['a']) == Exposure(known=True)


def test_frames_that_are_all_in_use_are_told_apart():
    assert 'learned from 7 of these 10 frames; 3 were withheld' in Exposure(True).tell(3, 10)
    assert 'has learned from these frames' in Exposure(True).tell(0, 10)
    assert 'has not learned from this recording' in Exposure().tell(0, 10)


@pytest.mark.parametrize(
    ('known', 'withheld', 'scored', 'words'),
    [
        (True, 3, 'withheld frames', 'of the 3 of 10 frames that were withheld'),
        (True, 0, 'learned frames', 'has learned from these frames'),
        (False, 0, 'another recording', 'has not learned from this recording'),
    ],
)
def test_what_is_scored_is_told_in_words(known, withheld, scored, words):
    told = Exposure(known).describe(withheld, 10)
    assert (told['scored'], told['withheld_frames']) == (scored, withheld)
    assert words in told['sentence']
