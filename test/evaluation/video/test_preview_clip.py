"""A short preview of the recording, and crops of what each keypoint follows."""

import cv2
from keypoint_perception.evaluation.keypoint_crops import crop, CROP_PX, KeypointCrops
from keypoint_perception.evaluation.video.preview_clip import PreviewClip
import numpy as np
import pytest

POINT = np.array([[10.0, 5.0, 0.9]])


def grey(value):
    return np.full((30, 40, 3), value, np.uint8)


def test_scenes_are_spread_over_the_recording():
    preview = PreviewClip(total=1000)
    for i in range(1000):
        preview.add(i * 10**8, grey(i % 250), POINT)
    # scenes of 40 frames start at 0, 480 and 960; six stills are frames 0 to 119 of these 120
    shades = [int(still[200, 300].mean()) for still in preview.stills()]
    assert shades == pytest.approx([0, 24, 488 % 250, 511 % 250, 975 % 250, 999 % 250], abs=6)


@pytest.mark.parametrize('total', [None, 7])
def test_a_short_recording_is_shown_whole(total, tmp_path):
    preview = PreviewClip(total=total)
    for i in range(7):
        preview.add(i * 10**8, grey(30 * i), POINT)
    data, kind = preview.encode()
    assert kind in ('video/mp4', 'video/webm')
    path = tmp_path / f'preview.{kind[6:]}'
    path.write_bytes(data)
    video = cv2.VideoCapture(str(path))
    shown = []
    while (read := video.read())[0]:
        shown.append(read[1])
    assert len(shown) == 7
    assert shown[0].shape == (270, 360, 3)
    assert shown[0][200, 300].mean() < 10
    assert shown[6][200, 300].mean() == pytest.approx(180, abs=6)
    assert [picture.shape for picture in preview.stills()] == [(270, 360, 3)] * 6


def test_without_frames_there_is_no_preview():
    assert PreviewClip().encode() is None
    assert PreviewClip().stills() == []


def test_crop_has_the_point_in_its_middle():
    image = grey(20)
    image[8, 31] = (250, 0, 0)
    found = crop(image, 31, 8)
    assert found.shape == (CROP_PX, CROP_PX, 3)
    # 0.11 of 40 px each way: a pixel is CROP_PX / 8.8 wide, its centre in the middle
    rows, columns = np.nonzero(found[..., 0] > 200)
    assert rows.mean() == columns.mean() == pytest.approx((CROP_PX - 1) / 2, abs=0.6)
    assert (found[0, 0] == 20).all()
    assert crop(image, np.nan, 3).max() == 0


def test_crops_are_spread_over_a_recording_of_unknown_length():
    crops = KeypointCrops(frames=4)
    for i in range(100):
        points = np.array([[20.0, 15.0, 1.0], [np.nan, np.nan, 0.0]])
        crops.add(grey(2 * i), points)
    strip = crops.strip(0)
    assert strip.shape == (CROP_PX, 4 * CROP_PX + 6, 3)
    shades = [int(strip[2, place * (CROP_PX + 2) + 2, 0]) for place in range(4)]
    assert shades[0] == 0
    assert shades == sorted(shades)
    assert shades[-1] > 120
    assert crops.strip(1)[2, 2].max() == 0


def test_a_length_may_be_announced_that_no_memory_could_hold():
    assert PreviewClip(10**12).add(0, grey(9), np.zeros((1, 3))) is None
