"""Videos whose headers claim what is not so, and files that are no videos."""

import struct

import cv2
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.source import count_frames, open_recording, read_frames
import numpy as np
import pytest

FRAMES = 5
LIST = b'ffconcat version 1.0\nfile clip.avi\n'
PLAYLIST = b'#EXTM3U\n#EXTINF:2.0,\nclip.avi\n#EXT-X-ENDLIST\n'
SDP = b'v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n'


@pytest.fixture
def clip(tmp_path):
    """Return the path of a video, 64 x 48, of which the right half is white."""
    path = tmp_path / 'clip.avi'
    write_clip(path, 'MJPG')
    return path


def write_clip(path, codec):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10.0, (64, 48))
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 32:] = 255
    for _ in range(FRAMES):
        writer.write(image)
    writer.release()


def changed(path, mark, offset, form, *values):
    """Overwrite numbers behind a mark in a file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, content.index(mark) + offset, *values)
    path.write_bytes(content)


@pytest.mark.parametrize('content', [LIST, PLAYLIST, SDP, cv2.imencode('.png', np.eye(9))[1]])
def test_what_is_no_container_is_not_opened(tmp_path, clip, content, monkeypatch):
    (tmp_path / 'list.mp4').write_bytes(bytes(content))
    monkeypatch.setattr(cv2, 'VideoCapture', None)
    with pytest.raises(SourceError, match=r"list.mp4' \(\d+ bytes\) has no readable frame"):
        read_frames([tmp_path / 'list.mp4'])


@pytest.mark.parametrize(
    ('announced', 'counted', 'said'),
    [(0, None, False), (2, 2, False), (8, 8, True), (10**9, None, False)],
)
def test_all_frames_are_read_whatever_number_is_announced(clip, caplog, announced, counted, said):
    changed(clip, b'strh', 40, '<I', announced)
    assert count_frames([clip]) == counted
    frames = list(read_frames([clip]))
    assert [frame.stamp_ns for frame in frames] == [i * 10**8 for i in range(FRAMES)]
    assert ('has 5 frames but announces 8' in caplog.text) == said
    assert len(caplog.records) == said


def test_frames_that_are_too_large_are_refused_undecoded(clip, monkeypatch):
    changed(clip, b'vidsMJPG', 4, '4s', b'DIB ')
    changed(clip, b'strf', 12, '<IIII', 16000, 16000, 24 << 16 | 1, 0)
    with pytest.raises(
        SourceError, match='of 16000x16000 has 256 million pixels, more than the limit of 64'
    ):
        read_frames([clip])
    write_clip(clip, 'MJPG')
    monkeypatch.setenv('KEYPOINT_PERCEPTION_LIMITS', 'max_image_megapixels=0.003')
    with pytest.raises(SourceError, match='set KEYPOINT_PERCEPTION_LIMITS=max_image_megapixels=1'):
        read_frames([clip])
    monkeypatch.setenv('KEYPOINT_PERCEPTION_LIMITS', 'max_image_megapixels=1')
    assert len(list(read_frames([clip]))) == FRAMES


def test_videos_are_turned_upright(tmp_path):
    path = tmp_path / 'clip.mp4'
    write_clip(path, 'mp4v')
    turned = (0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)  # clockwise by 90 degrees
    changed(path, b'tkhd', 44, '>9i', *turned)
    image = next(read_frames([path])).image
    assert image.shape == (64, 48, 3)
    assert image[:30].max() < 30
    assert image[34:].min() > 225
    path.write_bytes(path.read_bytes().partition(b'moov')[0])  # cut short
    with pytest.raises(SourceError, match=r'has no readable frame; .* copy it again'):
        read_frames([path])


def test_stamps_increase_whatever_times_there_are(clip, caplog, monkeypatch):
    times = iter([0, 0, 100, 100, 50, 400])  # the first for the check when it is opened

    class Capture:
        def __init__(self, _name):
            self.values = {cv2.CAP_PROP_FPS: 0.0, cv2.CAP_PROP_FRAME_COUNT: -9e15}

        def get(self, number):
            return self.values.get(number, 1.0)

        def grab(self):
            self.values[cv2.CAP_PROP_POS_MSEC] = next(times, None)
            return self.values[cv2.CAP_PROP_POS_MSEC] is not None

        def isOpened(self):  # noqa: N802
            return True

        def release(self): ...

    monkeypatch.setattr(cv2, 'VideoCapture', Capture)
    video = open_recording(clip)
    assert video.count([]) is None
    stamps = [frame.stamp_ns for frame in video.frames([])]
    assert stamps == [0, 100_000_000, 100_000_001, 100_000_002, 400_000_000]
    assert [r.getMessage().partition(' has ')[2] for r in caplog.records] == [
        'no frame rate: 30 Hz is assumed.'
    ]
