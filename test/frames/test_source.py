"""Sources of every format yield the recorded frames in order, with their stamps."""

import logging

import cv2
from keypoint_perception.errors import EncodingError, SourceError
from keypoint_perception.frames.extraction import extract_frames
from keypoint_perception.frames.source import (
    count_frames,
    list_image_topics,
    open_recordings,
    read_frames,
)
import numpy as np
import pytest

TOPIC = '/camera/image_raw'


def check_frames(frames, recordings, count=3):
    assert len(frames) == count
    for index, frame in enumerate(frames):
        assert frame.stamp_ns == recordings.START_NS + index * recordings.PERIOD_NS
        assert frame.topic == TOPIC
        np.testing.assert_array_equal(frame.image, recordings.picture_number(index))


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('mode', ['NONE', 'FILE', 'MESSAGE'])
def test_rosbag2_directory(tmp_path, recordings, storage, mode, caplog):
    compression = recordings.CompressionMode[mode]
    bag = recordings.write_bag(
        tmp_path / 'bag', recordings.camera_rows(), storage=storage, compression=compression
    )
    assert list_image_topics(bag) == [TOPIC]
    assert count_frames([bag]) == 3
    check_frames(list(read_frames([bag])), recordings)
    assert not caplog.records


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('mode', ['NONE', 'MESSAGE'])
def test_bare_storage_file(tmp_path, recordings, storage, mode):
    bag = recordings.write_bag(
        tmp_path / 'bag',
        recordings.camera_rows(),
        storage=storage,
        compression=recordings.CompressionMode[mode],
    )
    path = recordings.storage_file(bag).rename(
        tmp_path / f'bare{recordings.storage_file(bag).suffix}'
    )
    assert count_frames([path]) == 3
    check_frames(list(read_frames([path])), recordings)


def test_compressed_chunks(tmp_path, recordings):
    mode = recordings.CompressionMode.STORAGE
    bag = recordings.write_bag(tmp_path / 'bag', recordings.camera_rows(), compression=mode)
    check_frames(list(read_frames([bag])), recordings)


def test_ros1_bag_with_surplus_bytes(tmp_path, recordings):
    path = recordings.write_ros1_bag(tmp_path / 'old.bag', surplus=b'1234')
    assert count_frames([path]) == 3
    check_frames(list(read_frames([path])), recordings)


@pytest.mark.parametrize('rows_per_chunk', [0, 2])
def test_mcap_without_index_and_with_an_old_type_name(
    tmp_path, recordings, rows_per_chunk, caplog
):
    path = tmp_path / 'old.mcap'
    recordings.write_plain_mcap(
        path,
        recordings.camera_rows(),
        msgtype='sensor_msgs/Image',
        rows_per_chunk=rows_per_chunk,
    )
    assert list_image_topics(path) == [TOPIC]
    check_frames(list(read_frames([path])), recordings)
    assert not caplog.records


def test_compressed_images(tmp_path, recordings):
    content = cv2.imencode('.png', recordings.picture_number(7)[..., ::-1])[1].tobytes()
    rows = [('/camera/compressed', 5, recordings.compressed_message(content, 9, 'png'))]
    (frame,) = read_frames([recordings.write_bag(tmp_path / 'bag', rows)])
    assert frame.stamp_ns == 9
    np.testing.assert_array_equal(frame.image, recordings.picture_number(7))


def test_folder_of_images_sorts_by_number(tmp_path, recordings, caplog):
    for index in range(12):
        picture = recordings.picture_number(index)
        cv2.imwrite(str(tmp_path / f'frame{index}.png'), picture[..., ::-1])
    (tmp_path / 'notes.txt').write_text('not an image')
    frames = list(read_frames([tmp_path]))
    assert [frame.image[0, 0, 0] for frame in frames] == list(range(12))
    assert [frame.stamp_ns for frame in frames[:3]] == [0, 33_333_333, 66_666_666]
    assert 'are not stamps in ns: 30 Hz is assumed' in caplog.text


@pytest.mark.parametrize(
    'stamps', [[5_000_000, 40_000_000, 100_000_000], [10**18, 10**18 + 10**8]]
)
def test_folder_takes_stamps_from_names(tmp_path, recordings, stamps, caplog):
    for index, stamp_ns in enumerate(stamps):
        cv2.imwrite(str(tmp_path / f'{stamp_ns}.png'), recordings.picture_number(index))
    assert [frame.stamp_ns for frame in read_frames([tmp_path])] == stamps
    assert not caplog.records


def test_counters_are_no_stamps(tmp_path, recordings):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f'{index:06}.png'), recordings.picture_number(index))
    assert [frame.stamp_ns for frame in read_frames([tmp_path])] == [0, 33_333_333, 66_666_666]


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 20.0, (32, 24))
    if not writer.isOpened():
        pytest.skip('this OpenCV writes no Motion JPEG')
    for index in range(10):
        frame = np.full((24, 32, 3), 20 * index, np.uint8)
        frame[..., 2] = 200
        writer.write(frame)
    writer.release()
    return path


def test_video_counts_its_stamps_from_zero(video):
    frames = list(read_frames([video]))
    assert count_frames([video]) == 10
    assert [frame.stamp_ns for frame in frames] == [index * 50_000_000 for index in range(10)]
    assert [frame.topic for frame in frames] == [''] * 10
    means = np.array([frame.image.mean(axis=(0, 1)) for frame in frames])
    np.testing.assert_allclose(means[:, 0], 200, atol=6)  # red first
    np.testing.assert_allclose(means[:, 2], np.arange(0, 200, 20), atol=6)


def test_truncated_video_is_refused_or_used_up_to_its_end(video, tmp_path):
    short = tmp_path / 'short.avi'
    content = video.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.9):
        short.write_bytes(content[: int(share * len(content))])
        try:
            frames = list(read_frames([short]))
        except SourceError as error:
            assert 'has no readable frame' in str(error)
        else:
            assert 0 < len(frames) <= 10


def test_frame_store(tmp_path, recordings, camera_bag):
    extract_frames([camera_bag], [], tmp_path / 'store', network_hw=(24, 32))
    assert list_image_topics(tmp_path / 'store') == [TOPIC]
    frames = list(read_frames([tmp_path / 'store'], [TOPIC]))
    assert [frame.stamp_ns for frame in frames] == [
        recordings.START_NS + index * recordings.PERIOD_NS for index in range(3)
    ]
    assert frames[0].image.shape == (24, 32, 3)


def test_several_sources_and_topics(tmp_path, recordings):
    both = recordings.camera_rows(2, '/left') + recordings.camera_rows(2, '/right')
    both.sort(key=lambda row: row[1])
    bag0 = recordings.write_bag(tmp_path / 'bag0', both)
    bag1 = recordings.write_bag(tmp_path / 'bag1', recordings.camera_rows(2, '/left'))
    frames = list(read_frames([bag0, bag1], ['/left', '/right']))
    assert [frame.topic for frame in frames] == ['/left', '/right', '/left', '/right'] + [
        '/left'
    ] * 2
    assert [frame.source for frame in frames] == [str(bag0)] * 4 + [str(bag1)] * 2
    assert count_frames([bag0, bag1], ['/left']) == 4
    assert [frame.topic for frame in read_frames([bag0], ['/right'])] == ['/right'] * 2


def test_split_bag_is_read_in_the_order_of_its_numbers(tmp_path, recordings, caplog):
    rows = recordings.camera_rows(12)
    (tmp_path / 'split').mkdir()
    for index, row in enumerate(rows):
        bag = recordings.write_bag(tmp_path / f'part{index}', [row])
        recordings.storage_file(bag).rename(tmp_path / 'split' / f'split_{index}.mcap')
    check_frames(list(read_frames([tmp_path / 'split'])), recordings, 12)
    assert 'has no metadata.yaml, as after a crash of the recorder' in caplog.text


def test_header_stamp_comes_before_the_time_of_recording(tmp_path, recordings):
    message = recordings.raw_message(recordings.picture_number(0), 123)
    (frame,) = read_frames([recordings.write_bag(tmp_path / 'bag', [(TOPIC, 456, message)])])
    assert frame.stamp_ns == 123


def test_several_image_topics_need_a_choice(tmp_path, recordings):
    rows = recordings.camera_rows(1, '/left') + recordings.camera_rows(1, '/right')
    bag = recordings.write_bag(tmp_path / 'bag', rows)
    with pytest.raises(
        SourceError, match=r'2 image topics \(/left, /right\); choose with --topic'
    ):
        read_frames([bag])


def test_missing_topic_lists_those_that_are(camera_bag):
    with pytest.raises(
        SourceError, match=rf"has no topic '/camera/image_raw/compressed'; image topics: {TOPIC};"
    ):
        read_frames([camera_bag], [f'{TOPIC}/compressed'])


def test_one_of_two_topics_missing_is_refused(camera_bag):
    with pytest.raises(SourceError, match=rf"has no topic '/other'; image topics: {TOPIC};"):
        read_frames([camera_bag], [TOPIC, '/other'])


def test_topic_of_another_type_is_refused(tmp_path, recordings):
    bag = recordings.write_bag(
        tmp_path / 'bag',
        recordings.camera_rows(),
        extra_topics={'/camera_info': 'sensor_msgs/msg/CameraInfo'},
    )
    with pytest.raises(
        SourceError, match=r"'/camera_info' .* not an image topic but sensor_msgs/msg/CameraInfo;"
    ):
        read_frames([bag], ['/camera_info'])
    assert len(list(read_frames([bag]))) == 3


def test_bag_without_image_topic_is_refused(tmp_path, recordings):
    bag = recordings.write_bag(
        tmp_path / 'bag', [], extra_topics={'/info': 'sensor_msgs/msg/CameraInfo'}
    )
    with pytest.raises(
        SourceError, match=r'has no image topic \(topics: /info\); record a camera'
    ):
        read_frames([bag])


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_empty_bag_is_refused(tmp_path, recordings, storage):
    bag = recordings.write_bag(tmp_path / 'bag', [], storage=storage)
    with pytest.raises(SourceError, match="bag' has no topics; expected images"):
        read_frames([bag])
    bag = recordings.write_bag(
        tmp_path / 'silent', [], storage=storage, extra_topics={TOPIC: recordings.RAW}
    )
    with pytest.raises(SourceError, match=f"silent' has no readable image on {TOPIC};"):
        list(read_frames([bag]))


def test_missing_source_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"nowhere' does not exist; expected a bag, video"):
        read_frames([tmp_path / 'nowhere'])


@pytest.mark.parametrize('name', ['zero.mcap', 'zero.db3', 'zero.bag'])
def test_zero_byte_file_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(SourceError, match=r'is empty \(0 bytes\); expected a recording'):
        read_frames([tmp_path / name])


@pytest.mark.parametrize('name', ['junk.mcap', 'junk.db3', 'junk.bag'])
def test_junk_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b'certainly no recording of anything' * 100)
    with pytest.raises(SourceError, match=rf"{name}' is unreadable \(.*; copy or record"):
        read_frames([tmp_path / name])


def test_junk_video_and_unknown_forms_are_refused(tmp_path):
    (tmp_path / 'junk.mp4').write_bytes(b'certainly no video')
    with pytest.raises(SourceError, match=r"junk.mp4' \(18 bytes\) has no readable frame"):
        read_frames([tmp_path / 'junk.mp4'])
    (tmp_path / 'notes.txt').touch()
    with pytest.raises(SourceError, match=r'notes.txt. has an unknown format; expected a rosbag2'):
        read_frames([tmp_path / 'notes.txt'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SourceError, match=r'empty. has neither images .* nor a frame store'):
        read_frames([tmp_path / 'empty'])


def test_topic_for_a_source_without_topics_is_ignored_with_a_warning(video, caplog):
    assert len(list(read_frames([video], ['/camera']))) == 10
    assert 'have no topics: --topic /camera is ignored' in caplog.text


def test_images_that_cannot_be_decoded_are_skipped_and_counted(tmp_path, recordings, caplog):
    good = cv2.imencode('.jpg', recordings.picture_number(1))[1].tobytes()
    rows = [
        ('/camera', 10 * index, recordings.compressed_message(content, 10 * index + 1))
        for index, content in enumerate([good, b'broken', good, good[:20]])
    ]
    frames = list(read_frames([recordings.write_bag(tmp_path / 'bag', rows)]))
    assert [frame.stamp_ns for frame in frames] == [1, 21]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert 'Skipped 2 of 4 images' in caplog.text
    assert 'which cannot be decoded; first error: ' in caplog.text


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'encoding': '32SC1'}, "Encoding '32SC1' is not supported"),
        ({'step': 3}, 'An image has a step of 3 bytes, but a row of 8 pixels'),
        ({'height': 0, 'width': 0, 'data': np.zeros(0, np.uint8)}, 'An image has no pixels'),
        ({'height': 100}, 'An image has 144 bytes, but 8x100 in rgb8'),
    ],
)
def test_bag_of_unusable_images_says_why(tmp_path, recordings, changes, sentence):
    message = recordings.raw_message(recordings.picture_number(0), 1, **changes)
    bag = recordings.write_bag(tmp_path / 'bag', [(TOPIC, 1, message), (TOPIC, 2, message)])
    with pytest.raises(
        EncodingError, match=f'None of the 2 images of .* on {TOPIC} can be used: {sentence}'
    ):
        list(read_frames([bag]))


def test_one_source_needs_no_list_and_none_is_refused(camera_bag):
    assert count_frames(camera_bag) == len(list(read_frames(str(camera_bag)))) == 3
    with pytest.raises(SourceError, match=r'No source was given; expected at least one'):
        read_frames([])


@pytest.mark.parametrize('again', ['same', 'file', 'link', 'hard link', 'folder'])
def test_what_is_given_twice_is_refused(camera_bag, recordings, tmp_path, again):
    storage, other = recordings.storage_file(camera_bag), tmp_path / 'other.mcap'
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / '1.png').touch()
    (tmp_path / 'link').symlink_to(camera_bag)
    other.hardlink_to(storage)
    sources = {'file': storage, 'link': tmp_path / 'link', 'hard link': other}
    first = folder if again == 'folder' else camera_bag
    with pytest.raises(SourceError, match=r'holds the same as .*; give each source once\.$'):
        open_recordings([first, sources.get(again, first)])
    assert len(open_recordings([camera_bag, folder])) == 2
