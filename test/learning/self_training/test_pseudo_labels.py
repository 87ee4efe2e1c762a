"""One candidate per keypoint and image, where it is beyond doubt."""

from keypoint_perception.learning.self_training.pseudo_labels import (
    find_labels,
    keypoint_distance,
)
import torch

NAN, FAR = torch.nan, 9.0
PLACES = torch.tensor([[[0.1, 0.1], [0.5, 0.1], [0.52, 0.1], [0.9, 0.4]]])


def labels(rows, xy=PLACES, others=(FAR, FAR)):
    """Return the labels of two keypoints from rows (first, second) of a candidate each."""
    return find_labels(torch.tensor([rows]), xy, torch.tensor([[others]]))


def test_the_nearest_candidate_within_the_limit():
    found = labels([(0.4, 2.0), (FAR, 0.5), (FAR, FAR), (FAR, FAR)])
    torch.testing.assert_close(found.xy[0], torch.tensor([[0.1, 0.1], [0.5, 0.1]]))
    assert found.seen.tolist() == [[True, True]]
    assert found.keypoint.tolist() == [[0, 1, -1, -1]]
    assert not found.absent.any()


def test_a_candidate_beyond_the_limit_is_unknown_and_far_beyond_absent():
    found = labels([(1.2, 1.6), (1.3, 1.7), (FAR, FAR), (FAR, FAR)])
    assert found.seen.tolist() == [[False, False]]
    assert found.absent.tolist() == [[False, True]]
    # another place looks like it: no candidate, but not absent
    assert labels([(1.6, 1.6)] * 4, others=(1.2, FAR)).absent.tolist() == [[False, True]]


def test_an_ambiguous_pattern_is_rejected():
    # two places that are nearly the same distance from the first keypoint
    assert not labels([(0.6, FAR), (FAR, FAR), (FAR, FAR), (0.7, FAR)]).seen[0, 0]
    # the second is clearly further, or beyond the limit
    assert labels([(0.5, FAR), (FAR, FAR), (FAR, FAR), (0.7, FAR)]).seen[0, 0]
    assert labels([(0.9, FAR), (FAR, FAR), (FAR, FAR), (1.01, FAR)]).seen[0, 0]
    # a neighbour at the same place is no rival
    assert labels([(FAR, FAR), (0.6, FAR), (0.7, FAR), (FAR, FAR)]).seen[0, 0]


def test_a_candidate_is_one_keypoint():
    found = labels([(0.5, 0.4), (FAR, FAR), (FAR, FAR), (FAR, FAR)])
    assert found.seen.tolist() == [[False, True]]
    assert found.keypoint.tolist() == [[1, -1, -1, -1]]


def test_candidates_that_are_not_in_view_do_not_count():
    xy = PLACES.clone()
    xy[0, 0] = NAN
    found = labels([(0.4, 0.2), (0.8, FAR), (FAR, FAR), (FAR, FAR)], xy)
    assert found.seen.tolist() == [[True, False]]
    assert found.keypoint.tolist() == [[-1, 0, -1, -1]]
    # an image without candidates says nothing
    nothing = labels([(0.1, 0.1)] * 4, torch.full((1, 4, 2), NAN))
    assert not nothing.seen.any() and not nothing.absent.any()


def test_a_keypoint_has_several_clusters():
    centroids = torch.eye(3)
    descriptors = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]]])
    limit = torch.tensor([1.0, 0.5, 2.0])
    found = keypoint_distance(descriptors, centroids, limit, torch.tensor([1, 1, -1]), 3)
    root = 2**0.5
    expected = [[torch.inf, 0.0, torch.inf], [torch.inf, min(root, 0.8**0.5 / 0.5), torch.inf]]
    torch.testing.assert_close(found, torch.tensor([expected]))
