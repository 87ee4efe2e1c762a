"""The frames of a holdout are withheld, of each camera of each recording, and of everything."""

from keypoint_perception.errors import ConfigError, TrainingError
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.fitting_part import fitting_part, recorded_sources
from keypoint_perception.learning.resume import settings_of_run
from keypoint_perception.model.checkpoint import load_checkpoint
import numpy as np
import pytest


def two_cameras(stamps_ns, camera, source=None):
    """Return a store of tiny frames, each filled with its index."""
    store = FrameStore.__new__(FrameStore)
    count = len(stamps_ns)
    store.network_hw, store.cameras = (2, 3), ('/left', '/right')
    store.sources = ({'name': 'monday', 'digest': 'a'}, {'name': 'tuesday', 'digest': 'b'})
    store.images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((2, 3, 3), 'u1')
    store.stamps_ns, store.camera = np.array(stamps_ns, np.int64), np.array(camera)
    store.source = np.zeros(count, np.int64) if source is None else np.array(source)
    store.image_hw = np.full((count, 2), (2, 3))
    store.whole, store.selected = store, np.arange(count)
    return store


def test_the_last_frames_in_time_of_each_camera_are_withheld():
    # /left has 10 frames, recorded backwards; /right has 4, of which int(0.7 x 4) = 2 are left
    stamps = [*range(100, 0, -10), 101, 102, 103, 104]
    store = two_cameras(stamps, [0] * 10 + [1] * 4)
    part = fitting_part(store, 0.3)
    assert part.selected.tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert part.stamps_ns.tolist() == [70, 60, 50, 40, 30, 20, 10, 101, 102]
    assert len(part) == len(part.images) == 9
    assert part.images[:, 0, 0, 0].tolist() == part.selected.tolist()
    assert part.images[-1, 0, 0, 0] == 11
    assert part.images[np.array([0, 2])][..., 0, 0, 0].tolist() == [3, 5]
    left, _ = recorded_sources(part)
    assert left['learned_ns'] == {'/left': [10, 70], '/right': [101, 102]}
    assert left['withheld_ns'] == {'/left': [80, 100], '/right': [103, 104]}


def test_each_recording_has_its_own_end():
    store = two_cameras([1, 2, 3, 4, 11, 12, 13, 14], [0] * 8, [0] * 4 + [1] * 4)
    part = fitting_part(store, 0.5)
    assert part.stamps_ns.tolist() == [1, 2, 11, 12]
    assert [s['withheld_ns'] for s in recorded_sources(part)] == [
        {'/left': [3, 4]},
        {'/left': [13, 14]},
    ]


def test_frames_of_one_moment_are_not_parted():
    part = fitting_part(two_cameras([1, 2, 3, 4, 4, 4, 5], [0] * 7), 0.3)  # the fifth is the first
    assert part.stamps_ns.tolist() == [1, 2, 3]


def test_without_a_holdout_the_store_is_learned_from_as_it_is():
    store = two_cameras([1, 2, 3], [0] * 3)
    assert fitting_part(store, 0.0) is store
    assert recorded_sources(store) == list(store.sources)


@pytest.mark.parametrize(
    ('frames', 'holdout', 'left'), [(3, 0.3, '2 to learn from and 1'), (6, 0.9, '1 to learn from')]
)
def test_a_recording_too_short_is_refused(frames, holdout, left):
    store = two_cameras(range(frames), [0] * frames)
    with pytest.raises(TrainingError, match=f"frames of 'monday /left' leaves {left}"):
        fitting_part(store, holdout)


@pytest.mark.parametrize('value', [-0.1, 0.95, 30, 'x', True])
def test_odd_shares_are_refused(value):
    with pytest.raises(ConfigError, match=r'holdout: must be a number from 0 to 0\.9'):
        TrainConfig(holdout=value)


class Watched:
    """Images that remember which of them were read."""

    def __init__(self, images):
        self._images, self.shape, self.ndim, self.dtype = images, images.shape, 4, images.dtype
        self.read = set()

    def __getitem__(self, index):
        frames = index[0] if isinstance(index, tuple) else index
        self.read |= set(np.atleast_1d(np.arange(len(self._images))[frames]).tolist())
        return self._images[index]


def test_nothing_reads_a_withheld_frame_even_after_a_resume(run, square_store, tmp_path):
    store = FrameStore.open(square_store.path)
    store.images = Watched(store.images)
    # flow, backgrounds, overlays, pruning, calibration and the choice among seeds take part
    changes = {'holdout': 0.3, 'prune': True, 'objective': 'default'}
    run(store, tmp_path, steps=8, seeds=2, **changes)
    seed = load_checkpoint(tmp_path).state['config']['seed']
    assert max(store.images.read) == 55
    run(store, tmp_path, steps=10, resume=True, seed=seed, seeds=2, **changes)
    assert store.images.read == set(range(56))  # of 80 frames
    (source,) = load_checkpoint(tmp_path).state['sources']
    assert source['withheld_ns'][''][0] == store.stamps_ns[56]
    with pytest.raises(ConfigError, match=r'other settings \(holdout 0.3 -> 0.2\)'):
        settings_of_run(tmp_path, None, {'holdout': 0.2}, resume=True)
