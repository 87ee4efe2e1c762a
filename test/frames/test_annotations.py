"""Annotations and keypoints survive a round trip, and errors state the line."""

import logging
import os

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.annotations import (
    Annotations,
    KeypointWriter,
    match_labels,
    read_annotations,
    read_keypoints,
)
import numpy as np
import pytest

NAN = float('nan')
STAMPS = np.array([100, 200, 300, 400])
SIZES = np.array([[40, 80]] * 4)


def write(tmp_path, *lines):
    path = tmp_path / 'labels.csv'
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_annotations_are_sorted_by_stamp_and_missing_ones_are_nan(tmp_path):
    path = write(
        tmp_path,
        'stamp_ns,keypoint,u,v',
        '1700000000000000002,hand,10.5,20',
        '1700000000000000002,elbow,,',
        '1700000000000000001,elbow,3,-4.25',
    )
    names, stamps_ns, uv = read_annotations(path)
    assert names == ('hand', 'elbow')
    assert stamps_ns.dtype == np.int64
    assert stamps_ns.tolist() == [1700000000000000001, 1700000000000000002]
    nan = np.nan
    expected = np.array([[[nan, nan], [3, -4.25]], [[10.5, 20], [nan, nan]]], np.float32)
    np.testing.assert_array_equal(uv, expected)
    assert uv.dtype == np.float32


def test_spreadsheets_byte_order_mark_and_blank_lines_are_no_matter(tmp_path):
    path = write(tmp_path, '\ufeffstamp_ns, keypoint, u, v', '', '5, hand, 1, 2')
    assert read_annotations(path).uv.tolist() == [[[1.0, 2.0]]]


@pytest.mark.parametrize(
    ('line', 'sentence'),
    [
        ('5,hand,1', 'line 3 has 3 fields; expected 4: stamp_ns,keypoint,u,v'),
        ('5.5,hand,1,2', "line 3 has the stamp '5.5'; expected an integer in ns"),
        ('5,,1,2', 'line 3 has no keypoint name'),
        ('5,hand,left,2', "line 3 has u 'left'; expected a number"),
        ('5,hand,1,', "line 3 has v ''; expected a number"),
        ('5,hand,nan,2', 'line 3 has u,v of nan,2; expected numbers, or both empty'),
        ('1,hand,1,2', "line 3 has 'hand' at 1 again; keep one row"),
    ],
)
def test_wrong_line_is_named(tmp_path, line, sentence):
    path = write(tmp_path, 'stamp_ns,keypoint,u,v', '1,hand,1,2', line)
    with pytest.raises(SourceError, match=sentence):
        read_annotations(path)


def test_wrong_file_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"line 1 is 'time,x'; expected the header stamp_ns,key"):
        read_annotations(write(tmp_path, 'time,x', '1,2'))
    with pytest.raises(SourceError, match='has a header but no rows'):
        read_annotations(write(tmp_path, 'stamp_ns,keypoint,u,v'))
    with pytest.raises(SourceError, match=r"nowhere.csv' cannot be read \(No such file"):
        read_annotations(tmp_path / 'nowhere.csv')
    (tmp_path / 'binary.csv').write_bytes(b'\xff\xfe\x00\x80')
    with pytest.raises(SourceError, match='is not CSV text'):
        read_annotations(tmp_path / 'binary.csv')


HEADER = b'stamp_ns,keypoint,u,v\n'
SPARSE = b''.join(b'%d,k%d,1,2\n' % (i, i % 1000) for i in range(20_001))


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (HEADER + b'0,a\0b,1,2\n', r'is not CSV text \(it has a NUL\); save it in UTF-8 with the'),
        (
            HEADER + b'0,' + b'x' * 10_000,
            'not CSV text .it has a line of more than 10000 characte',
        ),
        (b',' * 100_000, 'is not CSV text .it has a line of more than'),
        (HEADER + b'0,Ma\xdfe,1,2\n', r"is not CSV text \('utf-8' codec .*; save it in UTF-8"),
        (HEADER.decode().encode('utf-16'), r"is not CSV text \('utf-8' codec"),
        (HEADER + b'9' * 5000 + b',a,1,2\n', "has the stamp '9{40}'; expected an integer"),
        (HEADER + SPARSE, 'line 20002 makes 1000 keypoints in 20001 frames, more than are read'),
        (
            HEADER + b''.join(b'0,k%d,1,2\n' % i for i in range(1001)),
            'line 1002 makes 1001 keypoints in 1 frames, more than are read; check the columns',
        ),
    ],
    ids=['nul', 'field', 'columns', 'latin1', 'utf16', 'digits', 'sparse', 'names'],
)
def test_hostile_files_are_refused(tmp_path, content, sentence):
    (tmp_path / 'a.csv').write_bytes(content)
    with pytest.raises(SourceError, match=sentence):
        read_annotations(tmp_path / 'a.csv')


def test_only_files_of_a_bounded_size_are_opened(tmp_path, monkeypatch):
    path = write(tmp_path, 'stamp_ns,keypoint,u,v\r', '5,hand,1,2\r', '6,hand,1,2\r')
    monkeypatch.setenv('KEYPOINT_PERCEPTION_LIMITS', 'max_csv_mb=1e-5')
    with pytest.raises(SourceError, match=r'it has 4\.\de-05 MB, .* set \S+=max_csv_mb=1'):
        read_annotations(path)
    monkeypatch.setenv('KEYPOINT_PERCEPTION_LIMITS', 'max_csv_mb=1')
    assert read_annotations(path).stamps_ns.tolist() == [5, 6]
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'zero').symlink_to('/dev/zero')
    for name in ('pipe', 'zero', '.'):
        with pytest.raises(SourceError, match=r'cannot be read \(it is not a regular file\)'):
            read_annotations(tmp_path / name)


def test_keypoints_survive_a_round_trip(tmp_path):
    path = tmp_path / 'keypoints.csv'
    points = np.array([[[1.25, -2.5, 0.5], [3, 4, 1]], [[np.nan, np.nan, 0], [7, 8, 0.25]]])
    with KeypointWriter(path) as writer:
        for stamp_ns, topic, keypoints in zip((7, 7), ('/left', '/right'), points, strict=True):
            writer.write(stamp_ns, topic, ['kp0', 'kp1'], keypoints)
    assert path.read_text().splitlines()[:2] == [
        'stamp_ns,topic,keypoint,u,v,confidence',
        '7,/left,kp0,1.250,-2.500,0.5000',
    ]
    names, stamps_ns, topics, keypoints = read_keypoints(path)
    assert names == ('kp0', 'kp1')
    assert stamps_ns.tolist() == [7, 7]
    assert topics == ('/left', '/right')
    np.testing.assert_array_equal(keypoints, points.astype(np.float32))


def test_interrupted_keypoint_file_leaves_nothing(tmp_path):
    path = tmp_path / 'keypoints.csv'
    with pytest.raises(KeyboardInterrupt, match='now'), KeypointWriter(path) as writer:
        writer.write(1, '', ['kp0'], np.zeros((1, 3)))
        raise KeyboardInterrupt('now')
    assert list(tmp_path.iterdir()) == []


def test_wrong_keypoint_line_is_named(tmp_path):
    path = write(tmp_path, 'stamp_ns,topic,keypoint,u,v,confidence', '1,/c,kp0,1,2,high')
    with pytest.raises(SourceError, match="line 2 has confidence 'high'; expected a number"):
        read_keypoints(path)


def labels(stamps, positions, names=('hand',)):
    uv = np.array(positions, np.float32).reshape(len(stamps), len(names), 2)
    return Annotations(names, np.array(stamps, np.int64), uv)


def match(given, stamps=STAMPS, sizes=SIZES):
    return match_labels(given, stamps, sizes, path='marks.csv')


def test_labels_go_to_the_frames_of_their_stamps():
    given = labels([200, 400], [[1, 2, NAN, NAN], [5, 6, 7, 8]], names=('hand', 'elbow'))
    found = match(given)
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_array_equal(found[1], [[1, 2], [NAN, NAN]])
    np.testing.assert_array_equal(found[3], [[5, 6], [7, 8]])


def test_frames_of_one_stamp_are_labelled_once():
    found = match(labels([100, 200], [[1, 2], [3, 4]]), stamps=np.array([100, 100, 200, 300]))
    np.testing.assert_array_equal(np.isfinite(found[:, 0, 0]), [True, False, True, False])


def test_no_match_names_the_nearest_image():
    with pytest.raises(
        SourceError,
        match=r"'marks.csv' match no frame: stamps must be equal to the nanosecond, and the "
        r'image nearest to stamp_ns 207 is 7 ns away',
    ):
        match(labels([207, 307], [[1, 2], [3, 4]]))


def test_labels_without_a_frame_are_skipped_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING, logger='keypoint_perception'):
        found = match(labels([100, 200, 470], [[1, 2], [3, 4], [5, 6]]))
    assert np.isfinite(found[:, 0, 0]).sum() == 2
    assert 'skipped 1 of 3 labelled stamps, which match no frame' in caplog.text
    assert 'stamp_ns 470, 70 ns from the nearest image' in caplog.text


@pytest.mark.parametrize('position', [(79.6, 5), (-0.6, 5), (5, 39.6), (5, -0.6)])
def test_label_outside_the_image(position):
    with pytest.raises(
        SourceError, match=r"1 labels outside the image; the first is 'hand' .* 80x40 image of"
    ):
        match(labels([100, 200], [[1, 2], position]))


def test_label_on_the_edge_of_the_image():
    assert np.isfinite(match(labels([100, 200], [[79.5, 39.5], [-0.5, -0.5]]))).sum() == 4


def test_label_is_compared_with_its_own_image():
    sizes = np.array([[40, 80], [80, 40], [40, 80], [40, 80]])
    with pytest.raises(SourceError, match='in the 40x80 image of stamp_ns 200'):
        match(labels([100, 200], [[60, 2], [60, 2]]), sizes=sizes)


def test_one_labelled_frame_is_not_enough():
    with pytest.raises(SourceError, match=r'label 1 frame of the recording; expected at least 2'):
        match(labels([100], [[1, 2]]))


def test_empty_annotations():
    with pytest.raises(SourceError, match=r"'marks.csv' label no frame"):
        match(labels([], []))
