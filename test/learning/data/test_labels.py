"""Labels: brought to the network's pixels, the first ones in time, and of one camera."""

import logging
from types import SimpleNamespace

from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.learning.config import derived_defaults, TrainConfig
from keypoint_perception.learning.data.labels import Labels, LabelSampler
import numpy as np
import pytest
import torch

NAN = np.nan


def store(stamps=(10, 20, 30, 40), camera=None, image_hw=None):
    """Return what is used of a frame store: images of 40 x 80 in a network input of 32 x 64."""
    count = len(stamps)
    frames = SimpleNamespace(
        selected=np.arange(count),
        stamps_ns=np.array(stamps, np.int64),
        camera=np.zeros(count, int) if camera is None else np.array(camera),
        cameras=('/left', '/right'),
        image_hw=np.array([[40, 80]] * count if image_hw is None else image_hw),
        network_hw=(32, 64),
    )
    frames.whole = frames
    return frames


@pytest.fixture
def config(tmp_path):
    def make(*rows, fraction=1.0):
        path = tmp_path / 'marks.csv'
        path.write_text('\n'.join(['stamp_ns,keypoint,u,v', *rows]) + '\n')
        return TrainConfig(
            objective='supervised',
            annotations=str(path),
            objective_settings={'fraction': fraction},
        )

    return make


def test_labels_are_in_pixels_of_the_network(config):
    # 80 x 40 in 64 x 32: the scale is 0.8 and nothing stays empty
    labels = Labels(store(), config('20,hand,9.5,4.5', '40,elbow,79.5,-0.5'))
    assert labels.names == ('hand', 'elbow')
    assert labels.frames.tolist() == [1, 3]
    expected = np.full((4, 2, 2), NAN, np.float32)
    expected[1, 0] = (9.5 + 0.5) * 0.8 - 0.5, (4.5 + 0.5) * 0.8 - 0.5
    expected[3, 1] = 63.5, -0.5
    np.testing.assert_allclose(labels.uv, expected)


def test_labels_of_withheld_frames_are_not_learned_from_and_not_missed(config, caplog):
    part = store((10, 20, 30))
    part.whole, part.selected = store(), np.array([0, 1, 2])
    labels = Labels(part, config('20,hand,9.5,4.5', '40,hand,1,1'))
    assert (labels.frames.tolist(), labels.uv.shape) == ([1], (3, 1, 2))
    assert not caplog.records
    part.selected = np.array([0, 1, 2])
    only_late = config('40,hand,1,1', '50,hand,1,1', '30,hand,1,1')
    part.stamps_ns, part.selected = part.stamps_ns[:2], part.selected[:2]
    with pytest.raises(SourceError, match='label withheld frames only; label frames of the first'):
        Labels(part, only_late)


def test_every_image_has_its_own_size(config):
    # the second image stands upright: 80 rows fill 32, 40 columns fill 16, 24 stay empty
    sizes = [[40, 80], [80, 40], [40, 80], [40, 80]]
    labels = Labels(store(image_hw=sizes), config('10,hand,0,0', '20,hand,0,0'))
    np.testing.assert_allclose(labels.uv[0, 0], [-0.1, -0.1], atol=1e-6)
    np.testing.assert_allclose(labels.uv[1, 0], [23.7, -0.3], atol=1e-6)


def test_pairs_are_given_what_their_frames_have(config):
    labels = Labels(store(), config('20,hand,9.5,4.5', '40,hand,19.5,4.5'))
    taken = labels.take(np.array([[0, 1, 3], [1, 3, 1]]))
    assert taken['labels0'].shape == taken['labels1'].shape == (3, 1, 2)
    assert taken['labels0'][0].isnan().all()
    torch.testing.assert_close(taken['labels0'][1, 0], torch.tensor([7.5, 3.5]))
    torch.testing.assert_close(taken['labels0'][2], taken['labels1'][1])


@pytest.mark.parametrize(
    ('fraction', 'used'), [(1.0, [3, 1, 0]), (0.7, [3, 1]), (0.5, [3]), (0.1, [3])]
)
def test_the_first_share_is_the_first_in_time_and_rounded_down(config, fraction, used):
    rows = ('40,hand,1,1', '20,hand,2,2', '10,hand,3,3')
    labels = Labels(store(stamps=(40, 20, 30, 10)), config(*rows, fraction=fraction))
    assert labels.frames.tolist() == used
    assert np.flatnonzero(np.isfinite(labels.uv[:, 0, 0])).tolist() == sorted(used)


def test_what_does_not_go_with_the_frames_is_refused(config):
    with pytest.raises(SourceError, match=r"'.*marks\.csv' match no frame: stamps must be equal"):
        Labels(store(), config('11,hand,1,1', '21,hand,1,1'))
    with pytest.raises(SourceError, match='label 1 frame of the recording; expected at least 2'):
        Labels(store(), config('10,hand,1,1'))
    with pytest.raises(SourceError, match=r"1 labels outside the image; the first is 'hand'"):
        Labels(store(), config('10,hand,1,1', '20,hand,1,40'))
    with pytest.raises(SourceError, match="line 3 has 'hand' at 10 again"):
        Labels(store(), config('10,hand,1,1', '10,hand,2,2'))


def test_two_cameras_of_one_clock_are_refused(config):
    both = store(stamps=(10, 20, 10, 20), camera=(0, 0, 1, 1))
    with pytest.raises(SourceError, match=r"several cameras .* \('/left', '/right'\)"):
        Labels(both, config('10,hand,1,1', '20,hand,1,1'))
    # cameras that never see at the same instant are told from each other by the stamps
    apart = store(stamps=(10, 20, 11, 21), camera=(0, 0, 1, 1))
    assert Labels(apart, config('10,hand,1,1', '21,hand,1,1')).frames.tolist() == [0, 3]


def test_labels_of_no_frame_are_left_out_aloud(config, caplog):
    with caplog.at_level(logging.WARNING, logger='keypoint_perception'):
        Labels(store(), config('10,hand,1,1', '20,hand,1,1', '99,hand,1,1'))
    assert '1 of 3 labelled stamps, which match no frame' in caplog.text


def test_there_must_be_labels():
    with pytest.raises(ConfigError, match='supervised learns from labels, but no file'):
        Labels(store(), TrainConfig(objective='supervised'))


def test_labelled_frames_are_drawn_alike_and_go_on_where_they_stopped():
    frames = np.array([3, 7, 11])
    whole, parts = LabelSampler(frames, seed=1), LabelSampler(frames, seed=1)
    drawn = whole.draw(3000)
    assert drawn.shape == (2, 3000)
    # each of three in a third of the draws: 5 standard deviations of 2000 +- 37
    assert all(abs((drawn == frame).sum() - 2000) < 185 for frame in frames)
    first = parts.draw(10)
    resumed = LabelSampler(frames, seed=5)
    resumed.restore(parts.state())
    again = LabelSampler(frames, seed=1)
    np.testing.assert_array_equal(again.draw(10), first)
    np.testing.assert_array_equal(again.draw(10), resumed.draw(10))


def test_as_many_keypoints_as_names_unless_stated(config):
    named = {'annotations': config('1,hand,1,1', '1,elbow,2,2').annotations}
    assert derived_defaults(named) == {'keypoints': 2}
    assert derived_defaults({}) == derived_defaults({'annotations': ''}) == {}
