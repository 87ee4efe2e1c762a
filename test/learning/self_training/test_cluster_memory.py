"""The memory holds the latest images, clusters when it is due, and keeps keypoints in place."""

from keypoint_perception.learning.self_training.cluster_memory import ClusterMemory, IMAGES
from keypoint_perception.learning.self_training.clusters import Samples
import pytest
import torch
from torch.nn.functional import normalize


def images_of(centres, count, *, seed=0, spread=0.02, links=True):
    """Return images with one candidate around each centre, which moves about in the frames."""
    generator = torch.Generator().manual_seed(seed)
    n, length = centres.shape
    noise = spread * torch.randn(count, n, length, generator=generator)
    xy = torch.rand(count, n, 2, generator=generator)
    index = torch.arange(n).repeat(count, 1)
    index[1::2] = -1
    return Samples(
        normalize(centres + noise, dim=-1), xy, index if links else -torch.ones_like(index), xy
    )


@pytest.fixture
def centres():
    return normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(1)), dim=1)


@pytest.fixture
def memory(centres):
    """Two keypoints, hence eight clusters, and candidates of 40 images around as many centres."""
    memory = ClusterMemory(keypoints=2, candidates=8, length=16)
    memory.remember(images_of(centres, 40))
    return memory


def test_before_the_first_round_nothing_is_known(memory, centres):
    given = images_of(centres, 2)
    labels = memory.labels(given.descriptors, given.xy, given.descriptors[:, :1])
    assert not labels.seen.any() and not labels.absent.any()
    assert memory.learned() == []


def test_keypoints_are_found_again(memory, centres):
    assert memory.cluster()
    memory.clustered_at.fill_(0.5)
    assert memory.learned() == [0, 1]
    given = images_of(centres, 6, seed=5)
    labels = memory.labels(given.descriptors, given.xy, torch.zeros(6, 0, 16))
    assert labels.seen.float().mean() > 0.7
    # a keypoint is the same candidate in every image
    for k in (0, 1):
        (index,) = {int((row == k).nonzero()) for row in labels.keypoint if (row == k).any()}
        where = labels.seen[:, k]
        torch.testing.assert_close(labels.xy[where, k], given.xy[where, index])
    # images without these points
    other = images_of(-centres, 3)
    assert memory.labels(other.descriptors, other.xy, other.descriptors).absent.all()


def test_keypoints_stay_in_place_from_round_to_round(memory, centres):
    memory.cluster()
    memory.clustered_at.fill_(0.2)
    given = images_of(centres, 6, seed=5)
    before = memory.labels(given.descriptors, given.xy, torch.zeros(6, 0, 16))
    memory.remember(images_of(centres, 40, seed=7))
    memory.cluster()
    after = memory.labels(given.descriptors, given.xy, torch.zeros(6, 0, 16))
    both = before.seen & after.seen
    assert both.any(dim=0).all()
    torch.testing.assert_close(before.xy[both], after.xy[both])


def test_with_too_few_candidates_there_is_no_round(centres):
    memory = ClusterMemory(keypoints=2, candidates=8, length=16)
    memory.remember(images_of(centres, 9))  # 72 for 8 clusters
    memory.cluster_if_due(0.2, 0.1)
    assert not memory.clustered
    memory.remember(images_of(centres, 2))
    memory.cluster_if_due(0.2, 0.1)
    assert float(memory.clustered_at) == pytest.approx(0.2)


def test_rounds_are_due_by_the_budget(memory, monkeypatch):
    rounds = []
    monkeypatch.setattr(memory, 'cluster', lambda: rounds.append(1) or True)
    due = []
    # the last is a run that is resumed with a larger budget
    for done in (0.15, 0.2, 0.24, 0.26, 0.3, 0.37, 0.2):
        before = len(rounds)
        memory.cluster_if_due(done, 0.1)
        due.append(len(rounds) > before)
    assert due == [True, False, False, True, False, True, True]


def test_the_oldest_images_are_forgotten(centres):
    memory = ClusterMemory(keypoints=2, candidates=8, length=16)
    for seed in range(3):
        memory.remember(images_of(centres, IMAGES // 2, seed=seed))
    newest = images_of(centres, IMAGES // 2, seed=2)
    torch.testing.assert_close(memory.recent_xy[: IMAGES // 2], newest.xy)
    torch.testing.assert_close(memory.recent_links[: IMAGES // 2], newest.links)
    assert int(memory.remembered) == IMAGES * 3 // 2
    # a batch larger than the memory
    memory.remember(images_of(centres, IMAGES + 10))
    assert int(memory.remembered) == IMAGES * 5 // 2


def test_points_that_do_not_stay_are_no_keypoints(centres):
    memory = ClusterMemory(keypoints=2, candidates=8, length=16)
    given = images_of(centres, 60)
    # all but the sixth are another point in the next image
    links = given.links.clone()
    links[::2] = torch.tensor([1, 2, 3, 4, 0, 5, 7, 6])
    memory.remember(given._replace(links=links))
    memory.cluster()
    assert len(memory.learned()) == 1
    ours = memory.centroids[memory.owner >= 0]
    assert (ours @ centres.T).argmax(dim=1).tolist() == [5]
