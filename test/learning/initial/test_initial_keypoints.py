"""Keypoints before the first step: on what moves, and on the labelled points."""

from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.labels import Labels
from keypoint_perception.learning.initial.initial_keypoints import initialise_head
from keypoint_perception.learning.initial.initial_weights import initialise
from keypoint_perception.learning.training_state import new_training_state
from keypoint_perception.model.network import Keypointer, NetworkConfig
import numpy as np
import pytest
import torch


@pytest.fixture
def begin(square_store):
    """Return a function that makes a run's first network; its settings, and the labels."""

    def begin(**settings):
        config = TrainConfig(size=64, keypoints=4, threads=1, precision='32', **settings)
        return new_training_state(config, square_store).learner.network.eval()

    return begin


def distances(network, store, centres):
    """Return how far each keypoint is from the square's centre, (N, K) px."""
    with torch.no_grad():
        found = network(torch.from_numpy(np.array(store.images)))[..., :2].numpy()
    return np.linalg.norm(found - centres[:, None], axis=-1)


def test_keypoints_begin_on_what_moves(begin, square_store, square_centres):
    away = distances(begin(), square_store, square_centres)
    assert np.median(away) < 8  # the square reaches 7.8 px from its centre
    random = distances(begin(init='none'), square_store, square_centres)
    assert np.median(random) > 12


def test_other_seeds_have_other_keypoints(begin):
    first, again, other = (begin(seed=seed).body.head.weight for seed in (0, 0, 1))
    assert first.equal(again) and not first.equal(other)


def test_labelled_points_come_first(square_store, square_centres, tmp_path):
    rows = [
        f'{stamp},middle,{u},{v}'
        for stamp, (u, v) in zip(square_store.stamps_ns, square_centres, strict=True)
    ][::8]
    path = tmp_path / 'labels.csv'
    path.write_text('\n'.join(['stamp_ns,keypoint,u,v', *rows]) + '\n')
    config = TrainConfig(objective='supervised', annotations=str(path), keypoints=3, size=64)
    network = Keypointer(NetworkConfig(keypoints=3, input_hw=(64, 64))).eval()
    before = network.body.head.weight.clone()
    queries = initialise(network, 'package')
    labels = Labels(square_store, config)
    initialise_head(network, queries, square_store, config, [labels])
    away = distances(network, square_store, square_centres)
    assert np.median(away[:, 0]) < 3
    assert (network.body.head.weight != before).flatten(1).any(dim=1).all()
    assert (network.body.head.bias == 0).all()


def test_where_nothing_stands_out_keypoints_begin_at_random(square_store, caplog):
    class Nothing:
        """A recording whose frames are all alike."""

        images = square_store.images[:1].repeat(20, axis=0)
        stamps_ns = square_store.stamps_ns[:20]
        source, camera = square_store.source[:20], square_store.camera[:20]

        def __len__(self):
            return 20

    network = Keypointer(NetworkConfig(keypoints=3, input_hw=(64, 64)))
    queries = initialise(network, 'package')
    before = network.body.head.weight.clone()
    caplog.set_level('INFO', logger='keypoint_perception')
    initialise_head(network, queries, Nothing(), TrainConfig(), [])
    assert network.body.head.weight.equal(before)
    assert 'random, because hardly anything stands out' in caplog.text
