"""K-means on the sphere, limits, members, and how they move."""

from keypoint_perception.learning.self_training.clusters import (
    assign,
    k_means,
    limits,
    Members,
    passes,
    places,
    Samples,
    squared_distance,
)
import torch
from torch.nn.functional import normalize

NAN = torch.nan


def directions(*degrees):
    """Return unit vectors in the plane."""
    angle = torch.tensor(degrees).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def samples(descriptors, xy, links=None, frame_xy=None):
    xy = torch.tensor(xy)
    links = torch.full(xy.shape[:2], -1) if links is None else torch.tensor(links)
    return Samples(descriptors, xy, links, xy if frame_xy is None else frame_xy)


def test_clusters_are_found_from_seeds_that_lie_apart():
    torch.manual_seed(0)
    centres = normalize(torch.randn(6, 16), dim=1)
    points = normalize(centres.repeat_interleave(50, 0) + 0.01 * torch.randn(300, 16), dim=1)
    found = k_means(points, 6)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(6))
    nearest = squared_distance(centres, found).min(dim=1)
    assert sorted(nearest.indices.tolist()) == [0, 1, 2, 3, 4, 5]
    assert nearest.values.max() < 0.001


def test_a_round_by_hand_and_an_empty_cluster_stays():
    points = directions(0.0, 20.0, 100.0)
    start = directions(5.0, 95.0, 270.0)
    torch.testing.assert_close(k_means(points, 3, start), directions(10.0, 100.0, 270.0))


def test_the_limit_is_the_mean_plus_a_deviation_of_all_members():
    distance = torch.tensor([1.0] * 4 + [3.0] * 4 + [5.0] * 2)
    cluster = torch.tensor([0] * 8 + [1] * 2)
    # the second has too few
    torch.testing.assert_close(limits(distance, cluster, 3), torch.tensor([3.0, 0.0, 0.0]))


def test_members_are_within_the_limit_of_the_nearest():
    descriptors = directions(0.0, 30.0, 80.0, 90.0)[None]
    given = samples(descriptors, [[[0.1, 0.1]] * 3 + [[NAN, NAN]]])
    found = assign(given, directions(0.0, 90.0), torch.tensor([0.4, 0.4]))
    assert found.group.tolist() == [[0, -1, 1, -1]]  # 30 degrees are 0.518; the last is none
    torch.testing.assert_close(found.distance[0, 2].item(), 0.1743 / 0.4, atol=1e-3, rtol=0)


def test_the_place_is_that_of_the_nearest_member():
    xy = [[[0.1, 0.2], [0.5, 0.2], [0.14, 0.2]], [[0.3, 0.3], [0.9, 0.9], [0.7, 0.1]]]
    given = samples(torch.zeros(2, 3, 2), xy)
    members = Members(
        torch.tensor([[0, 0, 1], [1, -1, 1]]), torch.tensor([[0.2, 0.9, 0.5], [0.4, 0.0, 0.3]])
    )
    where, more = places(given, members, 3)
    torch.testing.assert_close(
        where,
        torch.tensor(
            [[[0.1, 0.2], [0.14, 0.2], [NAN, NAN]], [[NAN, NAN], [0.7, 0.1], [NAN, NAN]]]
        ),
        equal_nan=True,
    )
    assert more.tolist() == [[True, False, False], [False, True, False]]


def test_a_second_member_at_the_same_place_is_no_other():
    given = samples(torch.zeros(1, 2, 2), [[[0.1, 0.2], [0.15, 0.2]]])
    _, more = places(given, Members(torch.tensor([[0, 0]]), torch.zeros(1, 2)), 1)
    assert not more.any()


def test_passes_from_cluster_to_cluster():
    links = torch.tensor([[1, -1, 0], [-1, -1, -1], [2, 0, -1], [-1, -1, -1]])
    index = torch.tensor([[0, 0, 1], [1, 0, -1], [1, -1, 0], [0, 0, 0]])
    found = passes(Members(index, index), links, 2)
    # image 0: point 0 (cluster 0) is point 1 of image 1 (cluster 0), point 2 (1) is point 0 (1);
    # image 2: point 0 (1) is point 2 (0), point 1 (none) is point 0 (0)
    expected = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(found, expected)
