"""Tracks of another program: whose frames they are of, and what moves with them."""

from types import SimpleNamespace

from keypoint_perception.errors import SourceError
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.flows import Flows
from keypoint_perception.learning.data.tracks import Tracks
import numpy as np
import pytest
import torch

HEADER = 'stamp_ns,topic,keypoint,u,v,confidence'


def store_of(frames=6, cameras=('/left',), *, selected=None):
    """Return frames of 48 x 32 px, of each camera in turn, in a network input of 24 x 16."""
    chosen = np.arange(frames) if selected is None else np.array(selected)
    stamps_ns = 100 * (1 + np.arange(frames) // len(cameras))
    fields = {
        'stamps_ns': stamps_ns,
        'camera': np.arange(frames) % len(cameras),
        'image_hw': np.array([[32, 48]] * frames),
    }
    whole = Frames(cameras=cameras, network_hw=(16, 24), **fields)
    own = {name: values[chosen] for name, values in fields.items()}
    return Frames(cameras=cameras, network_hw=(16, 24), whole=whole, selected=chosen, **own)


class Frames(SimpleNamespace):
    def __len__(self):
        return len(self.stamps_ns)


def written(tmp_path, *rows, header=HEADER):
    path = tmp_path / 'tracks.csv'
    path.write_text('\n'.join([header, *rows]) + '\n')
    return path


def test_points_are_those_of_the_frames_in_network_pixels(tmp_path):
    rows = ('100,,a,10,20,0.9', '300,,a,11,21,0.5', '200,,b,0,0,1', '300,,b,1,1,0.49')
    uv = Tracks(store_of(), written(tmp_path, *rows)).uv
    assert uv.shape == (6, 2, 2)
    # half the size: (10 + 0.5) / 2 - 0.5
    assert uv[0, 0].tolist() == [4.75, 9.75]
    assert uv[2, 0].tolist() == [5.25, 10.25]
    assert uv[1, 1].tolist() == [-0.25, -0.25]
    assert np.isfinite(uv).all(axis=-1).sum() == 3


def test_a_camera_of_several_is_told_by_its_topic(tmp_path):
    rows = ('100,/right,a,10,20,1', '200,/right,a,12,20,1')
    uv = Tracks(store_of(cameras=('/left', '/right')), written(tmp_path, *rows)).uv
    assert np.isfinite(uv[:, 0, 0]).tolist() == [False, True, False, True, False, False]


def test_withheld_frames_are_matched_but_not_learned_from(tmp_path):
    rows = [f'{100 * (i + 1)},,a,{i},{i},1' for i in range(6)]
    uv = Tracks(store_of(selected=[0, 1, 2]), written(tmp_path, *rows)).uv
    assert uv.shape == (3, 1, 2)
    with pytest.raises(SourceError, match='no point in two of the 3 frames to learn from'):
        Tracks(store_of(selected=[0, 1, 2]), written(tmp_path, *rows[2:]))


@pytest.mark.parametrize(
    ('rows', 'sentence'),
    [
        ((), 'has a header but no rows'),
        (('105,,a,1,1,1',), 'match no frame: the image nearest to stamp_ns 105 is 5 ns away'),
        (
            ('100,,a,1,1,1', '200,,a,10,32,1'),
            r"1 points outside .* 'a' at \(10, 32\) in the 48x32",
        ),
        (('100,,a,1,-0.6,1', '200,,a,1,1,1'), 'give points that have left the view'),
        (('100,,a,1,1,1', '200,,b,1,1,1'), 'no point in two of the 6 frames'),
        (('100,,a,1,1,1', '200,,a,1,1,0.4'), 'with a confidence of 0.5 or more'),
    ],
)
def test_bad_tracks_get_one_sentence(tmp_path, rows, sentence):
    path = written(tmp_path, *rows)
    with pytest.raises(SourceError, match=sentence) as error:
        Tracks(store_of(), path)
    assert repr(str(path)) in str(error.value)


def test_the_topics_of_other_cameras_are_said(tmp_path):
    path = written(tmp_path, '100,/up,a,1,1,1', '200,/up,a,1,1,1')
    with pytest.raises(SourceError, match='and the topics /left, /right'):
        Tracks(store_of(cameras=('/left', '/right')), path)


def test_cells_around_a_point_move_with_it(tmp_path):
    # in network px, from (11.5, 3.5), the middle of the second cell of 8 px, by (4, 8)
    rows = ('100,,a,23.5,7.5,1', '300,,a,31.5,23.5,1', '200,,b,0,0,1')
    tracks = Tracks(store_of(), written(tmp_path, *rows))
    rows, columns = torch.meshgrid(torch.arange(2), torch.arange(3), indexing='ij')
    starts = torch.stack([columns, rows], dim=-1) * 8 + 3.5
    flow = torch.full((2, 2, 2, 3), torch.nan)
    flow[:, 0], flow[:, 1] = 1.0, 2.0
    found = tracks.along(flow, starts, np.array([0, 1]), np.array([2, 2]))
    near = torch.tensor([[0, 1, 0], [0, 0, 0]]) > 0  # within 4 px
    assert found[0, 0].tolist() == torch.where(near, 4.0, 1.0).tolist()
    assert found[0, 1].tolist() == torch.where(near, 8.0, 2.0).tolist()
    # b is seen in the first frame only
    torch.testing.assert_close(found[1], flow[1])


def test_of_two_points_the_nearer_one_counts(tmp_path):
    rows = ('100,,a,7.5,7.5,1', '200,,a,9.5,7.5,1', '100,,b,27.5,7.5,1', '200,,b,27.5,11.5,1')
    tracks = Tracks(store_of(), written(tmp_path, *rows))
    starts = torch.tensor([[[3.5, 3.5], [11.5, 3.5], [10.0, 3.5], [18.5, 3.5]]])
    flow = torch.full((1, 2, 1, 4), -1.0)
    found = tracks.along(flow, starts, np.array([0]), np.array([1]))
    # the middles of the cells are 0, 2, 3.5 and 5 px from the nearer one, half a cell is 4
    assert found[0, :, 0].T.tolist() == [[1, 0], [0, 2], [0, 2], [-1, -1]]


def test_flow_of_pairs_far_apart_is_that_of_tracks(moving_store, tmp_path):
    stamps_ns = moving_store.stamps_ns
    rows = [f'{stamps_ns[0]},,a,43.5,27.5,1', f'{stamps_ns[5]},,a,51.5,19.5,1']
    config = TrainConfig(tracks=str(written(tmp_path, *rows)))
    flows = Flows(moving_store, config)
    found = flows.take(np.array([[0, 5], [5, 0]]))
    # of the earlier frame until the later one, whichever comes first
    assert found['flow'][:, :, 3, 5].tolist() == [[8.0, -8.0], [8.0, -8.0]]
    plain = Flows(moving_store, TrainConfig()).take(np.array([[0, 5], [5, 0]]))
    torch.testing.assert_close(found['flow'][..., 7], plain['flow'][..., 7], equal_nan=True)
