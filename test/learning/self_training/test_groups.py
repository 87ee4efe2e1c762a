"""Clusters of one point are joined; what is everywhere, fixed or fleeting has no merit."""

from keypoint_perception.learning.self_training.clusters import Members, places, Samples
from keypoint_perception.learning.self_training.groups import choose, join, merit
import pytest
import torch

NAN = torch.nan


def track(*xy):
    """Return the places of clusters in images, (S, M, 2), from one list of places a cluster."""
    return torch.tensor(xy).transpose(0, 1)


def still(moved=None, count=2):
    return torch.zeros(count + 1, count + 1) if moved is None else torch.tensor(moved)


HERE, THERE, NOWHERE = [0.2, 0.2], [0.6, 0.3], [NAN, NAN]


def test_clusters_between_which_points_pass_are_joined():
    where = track([HERE, NOWHERE, HERE], [NOWHERE, HERE, NOWHERE])
    moved = [[9.0, 2.0, 0.0], [0.0, 2.0, 7.0], [0.0, 0.0, 0.0]]
    # the rarer one has 2 + 2 + 2 ends, of which 2 are passages; the others are in no cluster
    assert join(still(moved), where).tolist() == [0, 0]
    moved[0][1] = 1.0  # 1 of 5, which is not more than a fifth
    assert join(still(moved), where).tolist() == [0, 1]


def test_clusters_at_one_place_are_joined():
    near = [0.22, 0.2]
    assert join(still(), track([HERE, THERE, HERE], [near, NOWHERE, near])).tolist() == [0, 0]
    # in half of the rarer one's images only
    between = [0.26, 0.2]
    assert join(still(), track([HERE, THERE, HERE], [near, NOWHERE, between])).tolist() == [0, 1]


def test_what_is_seen_at_two_places_of_an_image_is_not_joined():
    moved = [[5.0, 4.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]
    where = track([HERE, HERE, HERE], [THERE, NOWHERE, HERE])
    assert join(still(moved), where).tolist() == [0, 1]


def test_a_chain_of_neighbours_is_not_one_group():
    # 0 and 1 pass, 1 and 2 pass, but 0 and 2 are seen at two places
    moved = torch.zeros(4, 4)
    moved[0, 1], moved[1, 2] = 5.0, 4.0
    where = track([HERE, HERE], [NOWHERE, NOWHERE], [THERE, THERE])
    where[0, 1] = torch.tensor(HERE)
    found = join(moved, where).tolist()
    assert found[0] != found[2]


def group_of(xy, index, links=None, frame_xy=None):
    xy, index = torch.tensor(xy), torch.tensor(index)
    links = torch.full(index.shape, -1) if links is None else torch.tensor(links)
    frames = xy if frame_xy is None else torch.tensor(frame_xy)
    samples = Samples(torch.zeros(*index.shape, 2), xy, links, frames)
    members = Members(index, torch.zeros(index.shape))
    return merit(samples, members, *places(samples, members, 2))


def test_merit_by_hand():
    found = group_of(
        xy=[[HERE, THERE], [HERE, THERE], [HERE, NOWHERE], [NOWHERE, NOWHERE]],
        index=[[0, 0], [0, 1], [0, -1], [-1, -1]],
        links=[[0, 1], [-1, -1], [-1, -1], [-1, -1]],
        frame_xy=[[[0.1, 0.5], [0.7, 0.5]], [[0.1, 0.5], HERE], [[0.7, 0.5], HERE], [HERE, HERE]],
    )
    # of three images with candidates; two places in one of three; of the two that are followed
    # from group 0, one stays and one goes to group 1
    assert found.seen.tolist() == pytest.approx([1, (1 / 3) ** 0.5])
    assert found.alone.tolist() == pytest.approx([2 / 3, 1])
    assert found.stays.tolist() == pytest.approx([2 / 3, 0])
    # 0.3 to either side of the mean; a single place does not move
    assert found.moves.tolist() == pytest.approx([0.09 / (0.09 + 0.0009), 0])
    assert found.total[0].item() == pytest.approx(1 * 2 / 3 * 2 / 3 * 0.09 / 0.0909)


def test_tiles_that_look_alike_have_no_merit():
    # every image shows four corners of tiles and one of an object, which goes elsewhere
    tiles = [[0.2, 0.2], [0.8, 0.2], [0.2, 0.6], [0.8, 0.6]]
    xy = [[*tiles, [0.3 + 0.1 * i, 0.4]] for i in range(4)]
    found = group_of(xy, [[1, 1, 1, 1, 0]] * 4, links=[[0, 1, 2, 3, 4], [-1] * 5] * 2)
    assert found.alone.tolist() == [1, 0]
    assert found.total[0] > 0.5 and found.total[1] == 0


def test_groups_are_chosen_by_merit_and_apart():
    apart = track([HERE, HERE], [[0.21, 0.2]] * 2, [THERE, THERE], [NOWHERE, NOWHERE])
    total = torch.tensor([0.9, 0.8, 0.5, 0.1])
    # the second lies beside the first, and keeps 0.3 of its merit
    assert choose(total, apart, 3) == [0, 2, 1]
    assert choose(total, apart, 1) == [0]
    assert choose(torch.tensor([0.0, 0.2, 0.0, 0.0]), apart, 3) == [1]
    total[1] = 0
    assert choose(total, apart, 4) == [0, 2, 3]
