"""A message is new once per subject, whatever its numbers."""

from keypoint_perception.seen_messages import SeenMessages


def test_messages_that_differ_in_their_numbers_are_the_same():
    seen = SeenMessages()
    assert seen.is_new('12 of 30 images are lost')
    assert not seen.is_new('13 of 31 images are lost')
    assert seen.is_new('all images are lost')


def test_each_subject_has_its_own_messages():
    seen = SeenMessages()
    assert seen.is_new('no image', subject='/camera1')
    assert seen.is_new('no image', subject='/camera2')
    assert not seen.is_new('no image', subject='/camera1')


def test_a_stream_of_distinct_messages_is_cut_off():
    seen = SeenMessages(limit=3)
    assert [seen.is_new('x' * length) for length in range(6)] == [True] * 3 + [False] * 3
    assert seen.is_new('x', subject='another')


def test_forgotten_messages_are_new():
    seen = SeenMessages()
    for message in ('nothing for 3 s', 'nothing for hours', 'lossy'):
        seen.is_new(message, subject='/camera')
    seen.forget('nothing', subject='/camera')
    assert seen.is_new('nothing for 5 s', subject='/camera')
    assert not seen.is_new('lossy', subject='/camera')
