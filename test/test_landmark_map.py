"""Named points on disk, and what they are."""

import json

from keypoint_perception.errors import ModelError
from keypoint_perception.landmark_map import Landmarks, read_landmarks, write_landmarks
from keypoint_perception.model_directory import LANDMARKS_NAME
import numpy as np
import pytest

# two keypoints, two names: hand = (v of kp0, 2 u of kp1) + (1, 2), base stands at (7, 8)
HAND = np.zeros((2, 2, 2))  # out, keypoint, in
HAND[0, 0, 1], HAND[1, 1, 0] = 1, 2
NAMED = Landmarks(
    ('hand', 'base'),
    weights=np.stack([HAND, np.zeros((2, 2, 2))]),
    offset=np.array([[1.0, 2.0], [7.0, 8.0]]),
    trust=np.array([[0.5, 1.0], [0.0, 0.0]]),
    trust_offset=np.array([0.0, 0.9]),
    network_sha256='ab',
    report={'points': [{'name': 'hand', 'explained': None}]},
)


def test_sums_by_hand():
    keypoints = np.array([[[10, 20, 0.4], [30, 40, 0.3]], [[0, 0, 1], [0, 0, 1]]], np.float32)
    found = NAMED.apply(keypoints)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], [[21, 62, 0.5], [7, 8, 0.9]])
    # 0.5 + 1 is more than 1
    np.testing.assert_allclose(found[1], [[1, 2, 1.0], [7, 8, 0.9]])


def test_written_landmarks_are_read(tmp_path):
    assert read_landmarks(tmp_path) is None
    assert write_landmarks(tmp_path, NAMED) == tmp_path / LANDMARKS_NAME
    again = read_landmarks(tmp_path)
    assert (again.names, again.network_sha256, again.report) == (
        NAMED.names,
        'ab',
        NAMED.report,
    )
    for name in ('weights', 'offset', 'trust', 'trust_offset'):
        np.testing.assert_array_equal(getattr(again, name), getattr(NAMED, name))


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'format_version': 9}, 'has format 9, this package reads 1'),
        ({'names': ['hand']}, r'has 1 names and arrays of .*, expected \[\(1, 2, 2, 2\)'),
        ({'offset': [[1, 2], [3, 1e999]]}, 'finite numbers'),
        ({'trust': 'no'}, 'cannot be read'),
        ({'trust': 1.0}, 'has 2 names and arrays of'),
        ({'report': json.loads('[' * 99 + ']' * 99)}, 'nested more than 64 deep'),
        ({'offset': [[10**400, 0], [0, 0]]}, 'cannot be read'),
    ],
)
def test_invalid_files_are_refused(tmp_path, changes, sentence):
    path = write_landmarks(tmp_path, NAMED)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=sentence):
        read_landmarks(tmp_path)


def test_a_file_that_is_not_json_is_refused(tmp_path):
    (tmp_path / LANDMARKS_NAME).write_text('{')
    with pytest.raises(ModelError, match='delete it, run `export`, then `landmarks` again'):
        read_landmarks(tmp_path)
