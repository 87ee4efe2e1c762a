"""Points of simulated scenes are where the pictures show them, and are learned to be found."""

import json

from examples.arm import load_bullet, SimulatorError
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.initial import initial_weights
from keypoint_perception.learning.initial.initial_weights import package_weights, WEIGHTS_NAME
from keypoint_perception.model.network import Keypointer, NetworkConfig
import numpy as np
import pytest
import torch

from pretraining.correspondence import augmented, Correspondence, learn
from pretraining.flat_scenes import FlatScene
from pretraining.picture import POINTS
from pretraining.recordings import CLIPS, FRAMES, POINTS_NAME, write_store
from pretraining.run import write_weights

HW = (64, 96)


def shown_colours(image, points):
    """Return the colours at points, x and y as shares of the sides, (N, 3)."""
    height, width = image.shape[:2]
    columns = (points[:, 0] * width - 0.5).round().astype(int).clip(0, width - 1)
    rows = (points[:, 1] * height - 0.5).round().astype(int).clip(0, height - 1)
    return image[rows, columns]


def differences(scene):
    """Return how much the colours of visible points differ between two clips, and of others."""
    first, second = (next(iter(scene.clip(np.array([0.0, 0.3])))) for _ in range(2))
    both = (first.points[:, 2] * second.points[:, 2]) > 0
    same, other = (
        shown_colours(first.image, first.points[both]) - shown_colours(second.image, where)
        for where in (second.points[both], np.random.default_rng(0).random((int(both.sum()), 2)))
    )
    return np.abs(same).mean(axis=1), np.abs(other).mean(axis=1)


def test_points_of_flat_figures_keep_their_colours():
    same, other = (
        np.concatenate(found)
        for found in zip(
            *(differences(FlatScene(np.random.default_rng(seed), HW)) for seed in range(12)),
            strict=True,
        )
    )
    assert len(same) > 80
    assert np.median(same) < 0.03 < 0.1 < np.median(other)


def test_points_of_arms_in_space_keep_their_colours():
    try:
        load_bullet()
    except SimulatorError as error:
        pytest.skip(str(error))
    from pretraining.arm_scenes import arm_scene

    found = []
    for seed in range(3):
        with arm_scene(np.random.default_rng(seed), HW) as scene:
            found.append(differences(scene))
    same, other = (np.concatenate(values) for values in zip(*found, strict=True))
    assert len(same) > 20
    assert np.median(same) < 0.1 < np.median(other)  # the light does not turn with the parts


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp('simulated') / 'recordings'
    write_store(path, HW, scenes=2, seed=0, report=lambda done: None)
    return FrameStore.open(path)


def test_the_store_has_the_points_of_each_frame(store):
    points = np.load(store.path / POINTS_NAME)
    assert points.shape == (2 * CLIPS * FRAMES, POINTS, 3) == (len(store), POINTS, 3)
    visible = points[points[..., 2] > 0]
    assert (visible[:, :2] >= -0.5).all()
    assert (visible[:, 0] < HW[1]).all() and (visible[:, 1] < HW[0]).all()
    assert visible[:, 0].max() > HW[0]  # px, not shares


def test_a_scene_depends_on_seed_and_number_alone(store, tmp_path):
    write_store(tmp_path / 'again', HW, scenes=1, seed=0, report=lambda done: None)
    again = FrameStore.open(tmp_path / 'again')
    assert np.array_equal(again.images, store.images[: len(again)])


def test_points_are_warped_with_their_image():
    torch.manual_seed(0)
    images = torch.full((8, 3, *HW), -1.0)
    images[:, :, 20:25, 40:45] = 1.0
    points = torch.tensor([[[42.0, 22.0, 1.0]]]).repeat(8, 1, 1)
    moved, seen = augmented(images, points)
    for image, (u, v, visible) in zip(moved, seen[:, 0], strict=True):
        if visible:
            bright = (image.mean(dim=0) > image.mean() + 0.3).nonzero().float().mean(dim=0)
            assert (bright - torch.stack([v, u])).norm() < 1


def test_learning_finds_the_points(store):
    torch.set_num_threads(1)
    errors = []
    learner = learn(
        *(store, NetworkConfig(width=16)),
        steps=150,
        pairs=6,
        rate=3e-3,
        seed=0,
        report=lambda step, error: errors.append(error),
    )
    assert isinstance(learner, Correspondence)
    assert np.mean(errors[-5:]) < np.mean(errors[:5]) - 0.3


def test_the_weights_are_what_the_package_reads(tmp_path, monkeypatch):
    torch.manual_seed(3)
    learner = Correspondence(NetworkConfig())
    write_weights(tmp_path / WEIGHTS_NAME, learner, {'scenes': 7, 'out': 'elsewhere'})
    monkeypatch.setattr(initial_weights, 'files', lambda package: tmp_path)
    package = package_weights()
    own = learner.body.state_dict()
    assert {f'body.{name}' for name in own if 'head' not in name} == set(package.features)
    torch.testing.assert_close(package.features['body.stem.0.0.weight'], own['stem.0.0.weight'])
    features = torch.rand(2, 48)
    torch.testing.assert_close(package.queries(features), learner.queries(features))
    assert package.kind == ('default', 48, 'group')


def test_the_packages_own_weights_tell_how_they_were_made():
    from importlib.resources import files

    from keypoint_perception.model.checkpoint import read_metadata

    path = files(initial_weights.__package__).joinpath(WEIGHTS_NAME)
    made = json.loads(read_metadata(path)['pretraining'])
    assert {'scenes', 'steps', 'pairs', 'rate', 'seed'} <= set(made)
    assert path.stat().st_size < 750_000
    assert Keypointer(NetworkConfig()).config.width == package_weights().kind[1]
