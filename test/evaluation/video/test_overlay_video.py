"""Keypoints over their recording, to be watched."""

import cv2
from keypoint_perception.drawing import EDGE_COLOUR, keypoint_colour
from keypoint_perception.errors import PerceptionError
from keypoint_perception.evaluation.video import mp4_writer
from keypoint_perception.evaluation.video.overlay_video import (
    constant_rate_hz,
    ContactSheet,
    enlargement,
    OverlayVideo,
    OverlayVideos,
)
import numpy as np
import pytest

FRAME_NS = 50_000_000
KEYPOINTS = np.array([[40.0, 20.0, 1.0]])


def grey(level=90, height=48, width=64):
    return np.full((height, width, 3), level, np.uint8)


def write_video(path, frames=30, **size):
    with OverlayVideo(path) as video:
        for i in range(frames):
            video.add(i * FRAME_NS, grey(**size), KEYPOINTS)


def read_video(path):
    """Return rate in Hz and pictures in RGB."""
    capture = cv2.VideoCapture(str(path))
    pictures = []
    while True:
        there, picture = capture.read()
        if not there:
            return capture.get(cv2.CAP_PROP_FPS), pictures
        pictures.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


@pytest.mark.parametrize('frames', [1, 5, 40])
def test_video_holds_every_frame_at_the_rate_of_the_stamps(tmp_path, frames):
    write_video(tmp_path / 'overlay.mp4', frames)
    rate_hz, pictures = read_video(tmp_path / 'overlay.mp4')
    assert len(pictures) == frames
    assert rate_hz == pytest.approx(20 if frames > 1 else 10)


def test_small_images_are_enlarged_and_keypoints_with_them(tmp_path):
    write_video(tmp_path / 'overlay.mp4', 3)
    _, pictures = read_video(tmp_path / 'overlay.mp4')
    assert pictures[0].shape == (480, 640, 3)
    # (40.5 * 10 - 0.5, 20.5 * 10 - 0.5); the codec loses some colour
    away = np.abs(pictures[0][204, 404].astype(int) - keypoint_colour(0))
    assert away.max() < 60


def test_edges_are_drawn(tmp_path):
    keypoints = np.array([[10.0, 20.0, 1.0], [50.0, 20.0, 1.0]])
    with OverlayVideos(tmp_path / 'overlay.mp4', skeleton=[(0, 1, 1.0)]) as videos:
        videos.add(0, '/camera', grey(), keypoints)
    _, pictures = read_video(tmp_path / 'overlay.mp4')
    # half way between the points, (30.5 * 10 - 0.5, 20.5 * 10 - 0.5)
    assert np.abs(pictures[0][204, 304].astype(int) - EDGE_COLOUR).max() < 40


def test_odd_sizes_are_made_even(tmp_path):
    write_video(tmp_path / 'overlay.mp4', 2, height=481, width=641)
    assert read_video(tmp_path / 'overlay.mp4')[1][0].shape == (482, 642, 3)


def test_frames_of_another_size_are_fitted_in(tmp_path):
    with OverlayVideo(tmp_path / 'overlay.mp4') as video:
        for i, (height, width) in enumerate([(48, 64), (96, 64), (480, 900)]):
            video.add(i * FRAME_NS, grey(200, height, width), KEYPOINTS)
    _, pictures = read_video(tmp_path / 'overlay.mp4')
    assert [p.shape for p in pictures] == [(480, 640, 3)] * 3
    assert pictures[1][240, 10].max() < 40  # beside the tall picture it is black
    assert pictures[1][450, 320].min() > 150


@pytest.mark.parametrize(('gap_ns', 'joined'), [(FRAME_NS, True), (20 * 10**9, False)])
def test_trail_ends_where_the_recording_pauses(tmp_path, gap_ns, joined):
    with OverlayVideo(tmp_path / 'overlay.mp4') as video:
        video.add(0, grey(), np.array([[10.0, 20.0, 1.0]]))
        video.add(gap_ns, grey(), np.array([[50.0, 20.0, 1.0]]))
    _, pictures = read_video(tmp_path / 'overlay.mp4')
    halfway = pictures[1][204, 304].astype(int)
    assert (np.abs(halfway - 90).max() > 60) == joined


def test_contact_sheet_lies_beside_the_video(tmp_path):
    write_video(tmp_path / 'overlay.mp4', 100)
    sheet = cv2.imread(str(tmp_path / 'overlay.png'))
    assert sheet.shape == (3 * 360 + 4, 4 * 480 + 6, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['overlay.mp4', 'overlay.png']


def test_half_a_video_is_not_left_behind(tmp_path):
    def fail():
        with OverlayVideo(tmp_path / 'overlay.mp4') as video:
            for i in range(30):
                video.add(i * FRAME_NS, grey(), KEYPOINTS)
            msg = 'stopped halfway'
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match='stopped halfway'):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_older_video_survives_a_failure(tmp_path):
    path = tmp_path / 'overlay.mp4'
    path.write_bytes(b'older')
    with pytest.raises(RuntimeError), OverlayVideo(path) as video:
        video.add(0, grey(), KEYPOINTS)
        raise RuntimeError
    assert path.read_bytes() == b'older'


def test_no_frame_no_file(tmp_path):
    write_video(tmp_path / 'overlay.mp4', 0)
    assert list(tmp_path.iterdir()) == []


def test_directory_is_made(tmp_path):
    write_video(tmp_path / 'new' / 'overlay.mp4', 1)
    assert (tmp_path / 'new' / 'overlay.mp4').is_file()


def test_only_mp4_is_written(tmp_path):
    with pytest.raises(PerceptionError, match=r"overlay.avi' does not end in .mp4"):
        OverlayVideo(tmp_path / 'overlay.avi')


def test_missing_codec_is_said_before_any_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(mp4_writer, '_CODEC', 'zzzz')
    with pytest.raises(PerceptionError, match=r'cannot write a video .*codec zzzz.*; install'):
        OverlayVideo(tmp_path / 'overlay.mp4')
    assert list(tmp_path.iterdir()) == []


def test_several_cameras_have_a_video_each(tmp_path):
    with OverlayVideos(tmp_path / 'overlay.mp4', ['/left/image', '/right/image']) as videos:
        videos.add(0, '/left/image', grey(), KEYPOINTS)
        videos.add(0, '/right/image', grey(), KEYPOINTS)
        paths = videos.paths
    names = ['overlay_left_image', 'overlay_right_image']
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f'{name}.{kind}' for name in names for kind in ('mp4', 'png')
    ]
    assert sorted(paths) == sorted(tmp_path.iterdir())


def test_one_camera_has_the_video_named(tmp_path):
    with OverlayVideos(tmp_path / 'overlay.mp4', ['/image']) as videos:
        videos.add(0, '/image', grey(), KEYPOINTS)
    assert (tmp_path / 'overlay.mp4').is_file()


@pytest.mark.parametrize(
    ('stamps_ms', 'rate_hz'),
    [
        ([0, 50, 100, 20_000, 20_050], 20),  # a pause does not slow it down
        ([0, 100, 50, 150], 20),  # nor do frames out of order
        ([7], 10),
        ([7, 7], 10),
        ([0, 60_000], 1),
        ([0, 1], 120),
    ],
)
def test_rate_is_that_of_the_median_gap(stamps_ms, rate_hz):
    assert constant_rate_hz([ms * 10**6 for ms in stamps_ms]) == pytest.approx(rate_hz)


def test_scale_is_whole():
    sizes = [(128, 128), (240, 320), (480, 640), (1080, 1920), (210, 160)]
    assert [enlargement(hw) for hw in sizes] == [5, 2, 1, 1, 3]


@pytest.mark.parametrize('count', [1, 3, 12, 23, 24, 25, 100, 1000])
def test_sheet_spreads_over_the_recording(count):
    sheet = ContactSheet(columns=4, rows=3)
    for level in range(count):
        sheet.add(np.full((4, 4, 3), 255 * level // count, np.uint8))
    picture = sheet.image()
    assert picture[0, 0, 0] == 0
    if count >= 12:
        places = [picture[6 * row, 6 * column, 0] for row in range(3) for column in range(4)]
        assert (np.diff(np.array(places, int)) > 0).all()
        assert places[-1] > 255 * 0.9 * (count - 1) / count
