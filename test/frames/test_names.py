"""Recordings under any name that a file system allows."""

from __future__ import annotations

import os
from pathlib import Path
import socket

import cv2
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.bag_directory import natural_key
from keypoint_perception.frames.digest import source_digest
from keypoint_perception.frames.source import open_recording, read_frames
import numpy as np
import pytest

LATIN1 = os.fsdecode(b'Ma\xdfe')


def write_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    _, png = cv2.imencode('.png', np.zeros((4, 6, 3), np.uint8))
    for name in names:
        (folder / name).write_bytes(png.tobytes())
    return folder


@pytest.fixture
def clip(tmp_path) -> bytes:
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10.0, (64, 48))
    for level in range(5):
        writer.write(np.full((48, 64, 3), 40 * level, np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.mark.parametrize(
    'name', [LATIN1, '2024-01-01T10:00:00', 'data:1', 'file:x', 'concat:x|y', '%03d', '-y', '@']
)
@pytest.mark.parametrize('absolute', [False, True])
def test_a_video_of_any_name_is_read(tmp_path, monkeypatch, clip, name, absolute):
    monkeypatch.chdir(tmp_path)
    path = Path(f'{name}.avi')
    path.write_bytes(clip)
    frames = list(read_frames([path.absolute() if absolute else path]))
    assert [round(float(frame.image.mean()) / 40) for frame in frames] == [0, 1, 2, 3, 4]


def test_numbers_are_sorted_by_value_whatever_else_a_name_has():
    names = ['a10', 'a9', '①2', '①10', '²', 'a٩', 'a١٠', 'b']
    assert sorted(names, key=natural_key) == ['a9', 'a٩', 'a10', 'a١٠', 'b', '²', '①2', '①10']


def test_companions_that_begin_with_a_dot_are_no_images(tmp_path):
    folder = write_images(tmp_path / 'images', ['1700000000000000000.png'])
    write_images(tmp_path / 'other', ['x'])
    for name in ('._1700000000000000000.png', '.DS_Store', '._1700000000050000000.png'):
        (folder / name).write_bytes(b'\0\5\x16\7 AppleDouble')
    frames = list(read_frames([folder]))
    assert [frame.stamp_ns for frame in frames] == [1_700_000_000_000_000_000]


def test_companions_that_begin_with_a_dot_are_no_storage_files(tmp_path, recordings, caplog):
    bag = recordings.write_bag(tmp_path / 'bag', recordings.camera_rows())
    (bag / '._bag.mcap').write_bytes(b'\0\5\x16\7 AppleDouble')
    assert len(list(read_frames([bag]))) == 3
    assert caplog.text == ''


def test_names_that_are_not_utf8_have_a_digest_of_their_own(tmp_path):
    digests = set()
    for index, name in enumerate([f'{LATIN1}.png', 'Maße.png']):
        digests.add(source_digest(write_images(tmp_path / str(index), [name])))
    assert len(digests) == 2


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_device(path: Path) -> None:
    path.symlink_to('/dev/zero')


@pytest.mark.parametrize('make', [make_fifo, make_socket, make_device])
@pytest.mark.parametrize('suffix', ['.bag', '.mcap', '.db3', '.db3.zstd', '.mp4', ''])
def test_what_is_no_file_is_refused_unopened(tmp_path, monkeypatch, make, suffix):
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    path = Path(f'x{suffix}')
    make(path)
    with pytest.raises(SourceError, match=r"^'x\S*' is neither a file nor a directory; .* copy"):
        open_recording(path)


def test_what_is_no_file_in_a_folder_is_not_opened(tmp_path):
    folder = write_images(tmp_path / 'images', ['1.png', '2.png'])
    make_fifo(folder / '3.png')
    assert len(list(read_frames([folder]))) == 2
    assert source_digest(folder)


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('', r'^A source has an empty name; .* unset variable'),
        ('a\0b', r'cannot be opened \(embedded null byte\)'),
        ('x' * 300, r'cannot be opened \(File name too long\)'),
        ('loop', r'cannot be opened \(Too many levels of symbolic links\)'),
        ('gone', r"'gone' does not exist"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(tmp_path, monkeypatch, name, sentence):
    monkeypatch.chdir(tmp_path)
    Path('loop').symlink_to('loop')
    Path('gone').symlink_to('nowhere')
    with pytest.raises(SourceError, match=sentence):
        open_recording(name)


@pytest.mark.parametrize('suffix', ['.MP4', '.AVI'])
def test_capitals_in_a_suffix_make_no_difference_to_videos(tmp_path, clip, suffix):
    path = tmp_path / f'CLIP{suffix}'
    path.write_bytes(clip)
    assert len(list(read_frames([path]))) == 5
