"""Images of 10 to 14 bits are seen, and alike wherever they come from."""

import json

import cv2
from image_messages import open_image
from keypoint_perception.encodings import Buffers
from keypoint_perception.frames.extraction import extract_frames
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.frames.source import read_frames
from keypoint_perception.grey_range import FULL_RANGE, stored_range
from keypoint_perception.manifest import Manifest
import numpy as np
import pytest


def scene(number: int, low: int = 0, high: int = 4000) -> np.ndarray:
    """Return a ramp with a bright square that moves."""
    image = np.tile(np.linspace(low, (low + high) / 2, 64).astype(np.uint16), (48, 1))
    image[20:30, 3 * number : 3 * number + 10] = high
    return image


def write_folder(path, images):
    path.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(path / f'{number}.png'), image)
    return path


def levels(frames) -> set[int]:
    return set(np.unique([frame.image for frame in frames]).tolist())


@pytest.mark.parametrize(('low', 'high'), [(0, 4000), (7000, 9000), (100, 16_000)])
def test_a_recording_of_few_bits_is_scaled_to_all_grey_levels(tmp_path, caplog, low, high):
    path = write_folder(tmp_path / 'in', [scene(n, low, high) for n in range(6)])
    found = levels(read_frames([path]))
    assert (min(found), max(found)) == (0, 255)
    assert len(found) > 60
    assert f'hold intensities from {low} to {high}:' in caplog.text
    assert caplog.text.count('hold intensities') == 1


def test_all_frames_have_the_same_range_and_dead_pixels_do_not_count(tmp_path):
    images = [scene(n, 0, 2000 if n else 4000) for n in range(6)]
    images[3][0, 0] = 65_535
    frames = list(read_frames([write_folder(tmp_path / 'in', images)]))
    maxima = [int(frame.image.max()) for frame in frames]
    assert maxima == [255, 128, 128, 255, 128, 128]
    np.testing.assert_array_equal(frames[1].image[0, :32], frames[2].image[0, :32])


def test_a_recording_of_16_bits_keeps_its_high_bytes(tmp_path, caplog):
    path = write_folder(tmp_path / 'in', [scene(n, 0, 65_000) for n in range(3)])
    (first, *_) = read_frames([path])
    np.testing.assert_array_equal(first.image[..., 0], scene(0, 0, 65_000) >> 8)
    assert 'intensities' not in caplog.text


def test_colours_and_mosaics_of_few_bits_are_scaled(recordings, tmp_path):
    colour = np.dstack([scene(0), scene(0) // 2, scene(0)])
    (frame,) = read_frames([write_folder(tmp_path / 'in', [colour])])
    assert frame.image[25, 5].tolist() == [255, 128, 255]
    mosaic = np.full((48, 64), 1000, '<u2')
    mosaic[::2, ::2] = 4000  # red of rggb
    fields = {'encoding': 'bayer_rggb16', 'step': 128, 'data': mosaic.view(np.uint8).ravel()}
    message = recordings.raw_message(np.zeros((48, 64, 3), np.uint8), 5, **fields)
    bag = recordings.write_bag(tmp_path / 'bag', [('/c', 5, message)])
    (frame,) = read_frames([bag])
    assert frame.image[24, 32].tolist() == [255, 0, 0]


def test_a_store_keeps_the_range_for_what_is_added_later(tmp_path):
    first = write_folder(tmp_path / 'first', [scene(n) for n in range(4)])
    later = write_folder(tmp_path / 'later', [scene(n, 0, 2000) for n in range(4)])
    extract_frames([first], [], tmp_path / 'store', size=64)
    store = extract_frames([later], [], tmp_path / 'store', size=64)
    assert [list(source['grey_range']) for source in store.sources] == [[0, 4000]] * 2
    assert [int(image.max()) for image in store.images[[0, 5]]] == [255, 128]
    manifest = Manifest(('a',), (8, 8), 'none', 'none', sources=store.sources)
    assert manifest.grey_range == stored_range(FrameStore.open(tmp_path / 'store').sources)
    # the robot and `detect` apply it to whatever comes
    (frame, *_) = read_frames([later], [], manifest.grey_range)
    assert frame.image.max() == 128


def test_stores_and_models_without_a_range_go_on_as_before(tmp_path):
    eight = write_folder(tmp_path / 'in', [np.full((48, 64), n, np.uint8) for n in range(3)])
    extract_frames([eight], [], tmp_path / 'store', size=64)
    header = tmp_path / 'store' / 'store.json'
    values = json.loads(header.read_text())
    assert values['sources'][0].pop('grey_range') is None
    header.write_text(json.dumps(values))
    store = FrameStore.open(tmp_path / 'store')
    for sources in (store.sources, ({'grey_range': 'x'},), ({'grey_range': [9, 3]},)):
        manifest = Manifest(('a',), (8, 8), 'none', 'none', sources=sources)
        assert manifest.grey_range == FULL_RANGE
    more = write_folder(tmp_path / 'more', [scene(n) for n in range(3)])
    assert extract_frames([eight, more], [], tmp_path / 'store', size=64).images.max() == 255


@pytest.mark.parametrize(('low', 'high', 'maxima'), [(29_000, 30_000, 255), (500, 3000, 187)])
def test_16uc1_is_depth_unless_nothing_is_near(recordings, tmp_path, low, high, maxima):
    rows = []
    for number in range(3):
        data = scene(number, low, high).view(np.uint8).ravel()
        fields = {'encoding': '16UC1', 'step': 128, 'data': data}
        message = recordings.raw_message(np.zeros((48, 64, 3), np.uint8), 5 + number, **fields)
        rows.append(('/c', 5 + number, message))
    frames = list(read_frames([recordings.write_bag(tmp_path / 'bag', rows)]))
    assert frames[0].image.max() == maxima
    assert len(levels(frames)) > 60


def test_16_bit_images_that_no_sample_meets_keep_their_high_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr('keypoint_perception.grey_range.SAMPLED_IMAGES', 1)
    images = [np.zeros((48, 64), np.uint8), scene(1), np.zeros((48, 64), np.uint8)]
    _, frame, _ = read_frames([write_folder(tmp_path / 'in', images)])
    np.testing.assert_array_equal(frame.image[..., 0], scene(1) >> 8)


@pytest.mark.parametrize('order', ['<', '>'])
def test_either_byte_order_is_scaled(order):
    pixels = np.array([[0, 1000, 2004, 3000, 65_535]], order + 'u2')
    fields = {'height': 1, 'width': 5, 'step': 10, 'is_bigendian': order == '>'}
    image = open_image('mono16', pixels.tobytes(), **fields).in_range((1000, 3000))
    np.testing.assert_array_equal(image.to_rgb(Buffers())[0, :, 1], [0, 0, 128, 255, 255])
    assert open_image('16UC1', pixels.tobytes(), **fields).in_range((0, 9)).to_rgb()[0, 1, 0] == 62
