"""What folders hold besides single images is counted and named."""

import os
import struct

import cv2
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.source import read_frames
from keypoint_perception.image_headers import count_images
import numpy as np
import pytest

IMAGES = [np.full((12, 16, 3), level, np.uint8) for level in (0, 50, 100, 150, 200)]


def write_several(path):
    if path.suffix == '.tif':
        cv2.imwritemulti(str(path), IMAGES)
        return
    if not hasattr(cv2, 'Animation'):
        pytest.skip('this OpenCV writes no animations')
    animation = cv2.Animation()
    animation.frames, animation.durations = IMAGES, np.full(len(IMAGES), 100, np.int32)
    cv2.imwriteanimation(str(path), animation)


@pytest.mark.parametrize('suffix', ['.tif', '.webp', '.png'])
def test_further_images_of_a_file_are_left_out_with_a_word(tmp_path, caplog, suffix):
    folder = tmp_path / 'images'
    folder.mkdir()
    write_several(folder / f'00{suffix}')
    write_several(folder / f'01{suffix}')
    cv2.imwrite(str(folder / '02.png'), IMAGES[0])
    assert len(list(read_frames([folder]))) == 3
    (text,) = (record.getMessage() for record in caplog.records[1:])
    assert text.startswith(f'8 pages or frames in {str(folder)!r} are left out, because only')
    assert text.endswith(f"as of '00{suffix}'; save each as a file, or all as a video.")
    for path in folder.iterdir():
        path.unlink()
    for number, image in enumerate(IMAGES):
        cv2.imwrite(str(folder / f'{number}{suffix}'), image)
    caplog.clear()
    assert len(list(read_frames([folder]))) == len(IMAGES)
    assert len(caplog.records) == 1  # 30 Hz


@pytest.mark.parametrize('order', ['<', '>'])
def test_pages_are_counted_without_thumbnails_and_without_end(order):
    head = (b'II' if order == '<' else b'MM') + struct.pack(order + 'HI', 42, 8)
    directories = b''
    for kind, onward in ((0, 26), (1, 44), (2, 62), (4, 80), (0, 26)):
        directories += struct.pack(order + 'HHHIII', 1, 254, 4, 1, kind, onward)
    assert count_images(head + directories) == 3
    assert count_images((head + directories)[:50]) == 1
    assert count_images(b'II') == count_images(b'BM') == count_images(b'\xff\xd8IDATacTL') == 1


def test_what_is_not_read_is_counted_by_its_kind(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / '0.png'), IMAGES[0])
    for name in ('a.HEIC', 'b.heic', 'c.NEF', 'labels.csv', '.DS_Store', '._a.HEIC', 'README'):
        (tmp_path / name).write_bytes(b'x')
    os.mkfifo(tmp_path / '1.png')
    (tmp_path / '2.png').symlink_to('gone')
    (tmp_path / 'more').mkdir()
    assert len(list(read_frames([tmp_path]))) == 1
    kinds = caplog.records[-1].getMessage().partition('also holds ')[2].partition(', which are')[0]
    assert sorted(kinds.split(', ')) == [
        *('1 .nef', '1 folders', '2 .heic', '2 broken links or pipes')
    ]
    (tmp_path / '0.png').unlink()
    with pytest.raises(SourceError, match=r'a frame store, but 2 .*; convert images to PNG, or'):
        read_frames([tmp_path])
