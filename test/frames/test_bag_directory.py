"""What lies in a bag's directory is read, each image once, whatever the metadata say."""

import shutil

from keypoint_perception.errors import SourceError
from keypoint_perception.frames import bag_directory
from keypoint_perception.frames.digest import source_digest
from keypoint_perception.frames.salvage.partial_decompression import zstd_module
from keypoint_perception.frames.source import count_frames, list_image_topics, read_frames
import pytest
from rosbags.rosbag2 import CompressionMode
import yaml

TOPIC = '/camera/image_raw'
TYPE = 'sensor_msgs/msg/Image'
FRAMES = 6


def numbers(bag, *topics):
    return [int(frame.image[0, 0, 0]) for frame in read_frames([bag], topics)]


@pytest.fixture
def bag(tmp_path, recordings):
    return recordings.write_bag(tmp_path / 'bag', recordings.camera_rows(FRAMES))


def change_metadata(bag, **changes):
    path = bag / 'metadata.yaml'
    values = yaml.safe_load(path.read_text())
    values['rosbag2_bagfile_information'].update(changes)
    path.write_text(yaml.safe_dump(values))


def topic_entry(name, count=FRAMES, msgtype=TYPE):
    about = {'name': name, 'type': msgtype, 'serialization_format': 'cdr'}
    return {'topic_metadata': about, 'message_count': count}


@pytest.mark.parametrize('name', ['bag (1).mcap', 'copy of bag.mcap', 'bag_backup.mcap', 'a.mcap'])
def test_copy_is_not_read_again(bag, name, caplog):
    shutil.copy(bag / 'bag.mcap', bag / name)
    assert numbers(bag) == list(range(FRAMES))
    assert "is not read: its size and samples of it are those of 'bag.mcap'" in caplog.text
    assert count_frames([bag]) == FRAMES


def test_other_suffixes_are_no_storage(bag, caplog):
    shutil.copy(bag / 'bag.mcap', bag / 'bag.mcap.orig')
    assert numbers(bag) == list(range(FRAMES))
    assert not caplog.records


@pytest.mark.parametrize('keeps_all', [True, False])
def test_images_in_two_files_are_used_once(bag, tmp_path, recordings, caplog, keeps_all):
    """As after a conversion, a repair, or a copy that was interrupted."""
    part = recordings.camera_rows(FRAMES)[: FRAMES if keeps_all else 4]
    other = recordings.write_bag(tmp_path / 'other', part, storage='sqlite3')
    (other / 'other.db3').rename(bag / 'a.db3')
    assert sorted(numbers(bag)) == list(range(FRAMES))
    assert f'repeats {len(part)} images of other files of its bag: each is used' in caplog.text
    assert 'are missing' not in caplog.text


def test_equal_images_of_one_file_are_all_used(bag, recordings, caplog):
    shutil.rmtree(bag)
    recordings.write_bag(bag, recordings.camera_rows(2)[1:])
    recordings.write_bag(bag.parent / 'second', recordings.camera_rows(1) * 3)
    (bag.parent / 'second/second.mcap').rename(bag / 'bag_1.mcap')
    assert numbers(bag) == [1, 0, 0, 0]


@pytest.fixture(params=['known', 'unknown'])
def packed(request, tmp_path, recordings):
    """Return a packed bag whose frame header states the size, or does not."""
    rows = recordings.camera_rows(FRAMES)
    bag = recordings.write_bag(
        tmp_path / 'bag', rows, storage='sqlite3', compression=CompressionMode.FILE
    )
    if request.param == 'known':
        zstd, path = zstd_module(), recordings.storage_file(bag)
        path.write_bytes(zstd.compress(zstd.decompress(path.read_bytes())))
    return bag


def unpacked_bytes(bag):
    return zstd_module().decompress((bag / 'bag.db3.zstd').read_bytes())


def test_unpacked_file_beside_a_packed_one_is_the_same(packed, caplog):
    before = source_digest(packed)
    (packed / 'bag.db3').write_bytes(unpacked_bytes(packed))
    assert numbers(packed) == list(range(FRAMES))
    (warning,) = (record.getMessage() for record in caplog.records)
    assert (
        "bag.db3.zstd' is not read: its size and samples of it are those of 'bag.db3'" in warning
    )
    assert count_frames([packed]) == FRAMES
    assert source_digest(packed) == before


def test_file_that_was_unpacked_in_part_does_not_hide_the_packed_one(packed, caplog, monkeypatch):
    monkeypatch.setattr(bag_directory, 'COMPARED_BYTES', 1000)
    content = unpacked_bytes(packed)
    (packed / 'bag.db3').write_bytes(content[: len(content) // 2])
    assert sorted(numbers(packed)) == list(range(FRAMES))
    assert 'not read' not in caplog.text


def test_packed_and_unpacked_files_stand_in_for_each_other(packed, caplog):
    (packed / 'bag.db3').write_bytes(unpacked_bytes(packed))
    (packed / 'bag.db3.zstd').rename(packed.parent / 'kept.zstd')
    assert numbers(packed) == list(range(FRAMES))
    change_metadata(packed, relative_file_paths=['bag.db3'])
    (packed / 'bag.db3').unlink()
    (packed.parent / 'kept.zstd').rename(packed / 'bag.db3.zstd')
    assert numbers(packed) == list(range(FRAMES))
    first, second = (record.getMessage() for record in caplog.records)
    assert 'has bag.db3.zstd instead of bag.db3: the files that are there are read' in first
    assert 'has bag.db3 instead of bag.db3.zstd: the files that are there are read' in second


@pytest.mark.parametrize(
    'stated',
    [[], [topic_entry('/other')], [topic_entry(TOPIC, msgtype='std_msgs/msg/String')],
     [topic_entry(TOPIC), topic_entry('/ghost')]],
    ids=['none', 'another', 'type', 'ghost'],
)  # fmt: skip
@pytest.mark.parametrize('is_packed', [False, True])
def test_topics_are_those_of_the_files(tmp_path, recordings, stated, is_packed, caplog):
    mode = CompressionMode.FILE if is_packed else CompressionMode.NONE
    rows = recordings.camera_rows(FRAMES)
    bag = recordings.write_bag(tmp_path / 'bag', rows, compression=mode)
    change_metadata(bag, topics_with_message_count=stated)
    assert list_image_topics(bag) == [TOPIC]
    assert numbers(bag) == list(range(FRAMES))
    (warning,) = (record.getMessage() for record in caplog.records)
    assert f'its files have {TOPIC} ({TYPE}): what the files have is used' in warning


def test_topic_without_a_message_can_be_named(bag, caplog):
    change_metadata(
        bag, topics_with_message_count=[topic_entry(TOPIC), topic_entry('/off', count=0)]
    )
    assert numbers(bag, TOPIC, '/off') == list(range(FRAMES))
    assert not caplog.records


@pytest.mark.parametrize(
    ('names', 'told'),
    [
        (['sub/bag.mcap'], 'has sub/bag.mcap instead of bag.mcap'),
        (['../elsewhere/bag.mcap'], 'has ../elsewhere/bag.mcap instead of bag.mcap'),
        (['C:\\bags\\bag.mcap'], 'instead of bag.mcap'),
        (['bag.mcap', 'bag.mcap'], 'has more than once bag.mcap'),
        ([], 'does not have bag.mcap'),
        (['bag.mcap', 'gone.mcap'], 'lacks gone.mcap, which its metadata.yaml lists: only what'),
        ('bag.mcap', 'its files or topics are no list'),
    ],
)
def test_files_are_found_whatever_their_list_says(bag, names, told, caplog):
    change_metadata(bag, relative_file_paths=names)
    assert numbers(bag) == list(range(FRAMES))
    (warning,) = (record.getMessage() for record in caplog.records)
    assert told in warning


def test_files_in_a_folder_of_the_bag_are_read_and_none_outside(bag, caplog):
    (bag / 'sub').mkdir()
    (bag / 'bag.mcap').rename(bag / 'sub/bag.mcap')
    change_metadata(bag, relative_file_paths=['sub/bag.mcap'])
    assert numbers(bag) == list(range(FRAMES))
    assert not caplog.records
    (bag / 'sub/bag.mcap').rename(bag.parent / 'bag.mcap')
    change_metadata(bag, relative_file_paths=['../bag.mcap'])
    with pytest.raises(SourceError, match=r'lacks its storage \(\.\./bag\.mcap\); copy the whole'):
        read_frames([bag])


@pytest.mark.parametrize('count', [-1, 'many', None, [1]])
def test_counts_that_are_none_are_not_used(bag, count, caplog):
    change_metadata(bag, topics_with_message_count=[topic_entry(TOPIC, count=count)])
    assert numbers(bag) == list(range(FRAMES))
    assert 'has an unusable metadata.yaml' in caplog.text


def test_many_files_that_follow_each_other(tmp_path, recordings):
    rows = recordings.camera_rows(40)
    bag = recordings.write_bag(tmp_path / 'bag', rows[:1])
    for index in range(1, 40):
        part = recordings.write_bag(tmp_path / f'part{index}', rows[index : index + 1])
        recordings.storage_file(part).rename(bag / f'bag_{index}.mcap')
    again = recordings.write_bag(tmp_path / 'again', rows[5:25])
    recordings.storage_file(again).rename(bag / 'z.mcap')
    assert numbers(bag) == list(range(40))


@pytest.mark.parametrize('kind', ['mcap', 'sqlite3', 'ros1'])
@pytest.mark.parametrize('suffix', ['.mcap', '.db3', '.bag', '.db3.zstd', '.mcap.zstd'])
def test_the_content_tells_the_format(recordings, tmp_path, kind, suffix):
    if kind == 'ros1':
        source = recordings.write_ros1_bag(tmp_path / 'a.bag')
    else:
        rows = recordings.camera_rows()
        source = recordings.storage_file(recordings.write_bag(tmp_path / 'a', rows, storage=kind))
    renamed = source.rename(tmp_path / f'renamed{suffix}')
    assert len(list(read_frames(renamed))) == 3


@pytest.mark.parametrize('suffix', ['.mcap', '.db3', '.bag', '.db3.zstd'])
def test_a_pointer_of_git_lfs_is_told(tmp_path, suffix):
    path = tmp_path / f'a{suffix}'
    path.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n')
    with pytest.raises(SourceError, match=r'is a pointer of Git LFS; .* `git lfs pull`\.$'):
        list(read_frames(path))
