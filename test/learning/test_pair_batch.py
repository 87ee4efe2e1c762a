"""PairBatch: what each holds by hand, and that the network is asked once and only if needed."""

from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
import torch


@pytest.fixture
def network():
    """A network of two stacks whose maps are known: a single peak, elsewhere in each frame."""
    torch.manual_seed(0)
    network = Keypointer(NetworkConfig('hourglass', 2, (32, 48), width=8, stacks=2))
    network.looked = []

    def stacks(image):
        network.looked.append(len(image))
        last = torch.full((len(image), 2, 8, 12), -50.0)
        # the brighter an image, the further right its peak
        columns = (image.mean(dim=(1, 2, 3)) * 10).round().long()
        last[torch.arange(len(image)), :, 3, columns] = 50.0
        return [torch.zeros_like(last), last]

    network.body.stacks = stacks
    return network


def frames(brightness):
    return torch.full((2, 3, 32, 48), brightness)


def test_the_first_frames_come_first(network):
    batch = PairBatch(network, frames(0.2), frames(0.7))
    assert batch.images.shape == (4, 3, 32, 48)
    torch.testing.assert_close(
        batch.images.mean(dim=(1, 2, 3)), torch.tensor([0.2, 0.2, 0.7, 0.7])
    )
    # columns 2 and 7, row 3: (x, y)
    expected = torch.tensor([[2.0, 3.0]] * 2 + [[7.0, 3.0]] * 2)
    torch.testing.assert_close(batch.points, expected[:, None].expand(4, 2, 2))


def test_maps_sum_to_one_and_logits_are_the_last_stacks(network):
    batch = PairBatch(network, frames(0.2), frames(0.7))
    torch.testing.assert_close(batch.maps.sum(dim=(2, 3)), torch.ones(4, 2))
    assert len(batch.stacks) == 2
    assert batch.logits is batch.stacks[1]
    assert int(batch.maps[3, 1].argmax()) == 3 * 12 + 7


def test_nothing_is_computed_that_nobody_asks_for(network):
    batch = PairBatch(network, frames(0.2), frames(0.7))
    assert batch.images.shape[0] == 4
    assert network.looked == []


def test_the_network_looks_once_whoever_asks(network):
    batch = PairBatch(network, frames(0.2), frames(0.7))
    _ = batch.points, batch.maps, batch.logits, batch.stacks, batch.half_side, batch.points
    assert network.looked == [4]


def test_half_a_side_is_of_the_longer_one(network):
    # maps of 8 x 12
    assert PairBatch(network, frames(0.2), frames(0.7)).half_side == 6.0


def test_the_papers_points_are_read_as_the_paper_does():
    torch.manual_seed(0)
    network = Keypointer(NetworkConfig('paper', 2, (32, 48)))
    batch = PairBatch(network, frames(0.2), frames(0.7))
    # logits with one mean along y, so that the separable read-out is in the middle of it
    maps = torch.zeros(4, 2, 8, 12)
    maps[..., 9] = 80.0
    network.logits = lambda image: maps
    torch.testing.assert_close(batch.points, torch.tensor([9.0, 3.5]).expand(4, 2, 2))


def test_what_goes_with_frames_is_passed_on(network):
    labels = torch.zeros(2, 1, 2)
    assert (
        PairBatch(network, frames(0.2), frames(0.7), {'labels0': labels}).extra['labels0']
        is labels
    )
    assert dict(PairBatch(network, frames(0.2), frames(0.7)).extra) == {}


def test_facts_are_plain():
    assert DatasetStatistics(0.5).label_names == ()
    assert DatasetStatistics(0.5, ('hand',)) == DatasetStatistics(
        change=0.5, label_names=('hand',)
    )
