"""A head finds the points that it is made from: labelled ones, or clusters of the foreground."""

from keypoint_perception.learning.initial.initial_head import (
    cluster_features,
    labelled_features,
    PointQueries,
    sample,
)
import pytest
import torch


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_features_between_cells_are_interpolated():
    features = torch.arange(12.0).view(1, 1, 3, 4)
    found = sample(features, torch.tensor([[[2.0, 1.0], [2.5, 1.0], [2.0, 1.25], [-3.0, 0.0]]]))
    torch.testing.assert_close(found[0, :, 0], torch.tensor([6.0, 6.5, 7.0, 0.0]))


def test_a_labelled_point_has_the_mean_of_its_features():
    features = torch.stack([torch.full((2, 3, 4), 1.0), torch.full((2, 3, 4), 5.0)])
    cells = torch.tensor([[[1.0, 1.0], [2.0, 0.0]], [[3.0, 2.0], [torch.nan, torch.nan]]])
    found = labelled_features(features, cells)
    assert found.tolist() == [[3.0, 3.0], [1.0, 1.0]]


def test_a_point_that_is_labelled_nowhere_has_no_feature():
    found = labelled_features(torch.ones(1, 2, 3, 4), torch.full((1, 1, 2), torch.nan))
    assert found.isnan().all()


def test_clusters_are_the_kinds_of_foreground(generator):
    kinds = 3 * torch.eye(3)
    features = torch.full((4, 3, 6, 6), -9.0)  # background
    foreground = torch.zeros(4, 6, 6)
    for kind, column in enumerate((1, 3, 4)):
        features[:, :, 2:5, column] = kinds[kind][:, None]
        foreground[:, 2:5, column] = 0.9
    found = cluster_features(features, foreground, 3, generator)
    order = found.argmax(dim=1).argsort()
    torch.testing.assert_close(found[order], kinds)


def test_lengths_do_not_tell_clusters_apart(generator):
    features = torch.zeros(1, 2, 4, 4)
    features[0, 0, :2] = torch.tensor([[1.0], [9.0]])
    features[0, 1, 2:] = 2.0
    found = cluster_features(features, torch.ones(1, 4, 4), 2, generator)
    assert sorted(found.round(decimals=4).tolist()) == [[0.0, 2.0], [5.0, 0.0]]


def test_uncertain_cells_are_no_foreground(generator):
    features = torch.rand(1, 3, 8, 8, generator=generator)
    assert cluster_features(features, torch.full((1, 8, 8), 0.5), 3, generator) is None
    assert cluster_features(features, torch.full((1, 8, 8), 0.51), 3, generator) is not None


def test_too_little_foreground_gives_no_clusters(generator):
    features = torch.rand(1, 3, 8, 8, generator=generator)
    foreground = torch.zeros(1, 8, 8)
    foreground.view(-1)[:11] = 1
    assert cluster_features(features, foreground, 3, generator) is None
    foreground.view(-1)[11] = 1
    assert cluster_features(features, foreground, 3, generator) is not None


def test_clusters_follow_from_the_seed():
    features = torch.rand(2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    foreground = torch.ones(2, 8, 8)
    first, again, other = (
        cluster_features(features, foreground, 5, torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    )
    assert first.equal(again) and not first.equal(other)


def test_rows_are_scaled_by_the_channels():
    queries = PointQueries(16)
    torch.nn.init.eye_(queries.linear.weight)
    torch.nn.init.zeros_(queries.linear.bias)
    features = torch.rand(2, 3, 16)
    torch.testing.assert_close(queries(features), features / 4)
