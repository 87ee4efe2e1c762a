"""What is asked within each scene, and which frames are of which."""

import shutil

from keypoint_perception.frames.extraction import extract_frames
from keypoint_perception.learning import run_monitor
from keypoint_perception.learning.collapse import check_collapse
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.scenes import centred, medians
from keypoint_perception.learning.training_state import TrainingState
import numpy as np
import torch

SCENE = torch.tensor([0, 1, 0, 1, 0])


def test_means_are_those_of_the_scene():
    values = torch.tensor([1.0, 10.0, 2.0, 20.0, 6.0])
    assert centred(values, SCENE).tolist() == [-2.0, -5.0, -1.0, 5.0, 3.0]


def test_medians_are_those_of_the_scene_in_whole_levels():
    frames = torch.tensor([[1], [10], [2], [20], [200]], dtype=torch.uint8)
    assert medians(frames, SCENE)[:, 0].tolist() == [2, 10, 2, 10, 2]


def test_each_camera_of_each_recording_is_a_scene():
    class Store:
        source = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.int32)
        camera = np.array([0, 1, 0, 1, 0, 0, 2, 2], np.int32)
        stamps_ns = np.arange(8)
        images = np.zeros((8, 16, 16, 3), np.uint8)
        sources = ({'name': 'a'}, {'name': 'b'})
        cameras = ('left', 'right', 'top')
        __len__ = source.__len__

    store = Store()
    session = TrainingState(TrainConfig(), store, None, None, None, None, None, [])
    assert session.sample_scenes(8).tolist() == [0, 1, 0, 1, 2, 2, 3, 3]
    # frames 0, 4 and 7
    assert session.sample_scenes(3).tolist() == [0, 2, 3]


def test_a_run_asks_within_its_scenes(run, square_folder, tmp_path, monkeypatch):
    again = shutil.copytree(square_folder, tmp_path / 'again')
    for path in sorted(again.iterdir()):
        path.rename(path.with_stem(str(int(path.stem) + 10**12)))
    twice = extract_frames([square_folder, again], [], tmp_path / 'frames', size=64)
    seen = {}

    def note(name, frames, scene):
        seen[name] = (len(frames), scene.unique().tolist())

    def choose(network, frames, scene, count, motion, learned, *, resting):
        assert not resting
        note('choose', frames, scene)
        return [0, 1, 2]

    def look(network, frames, scene, motion):
        note('collapse', frames, scene)
        return check_collapse(network, frames, scene)

    monkeypatch.setattr(run_monitor, 'choose_keypoints', choose)
    monkeypatch.setattr(
        run_monitor, 'calibrate', lambda n, f, scene, motion: note('calibrate', f, scene)
    )
    monkeypatch.setattr(run_monitor, 'check_collapse', look)
    run(twice, tmp_path / 'model', steps=1, prune=True)
    assert seen == {
        'choose': (160, [0, 1]),
        'calibrate': (128, [0, 1]),
        'collapse': (64, [0, 1]),
    }
