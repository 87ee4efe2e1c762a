"""JSON files are bounded in size and depth, with a reason for each refusal."""

import os

from keypoint_perception.json_files import MAX_DEPTH, parse_json, read_json
from keypoint_perception.limits import VARIABLE
import pytest


def test_a_file_is_read(tmp_path):
    (tmp_path / 'a.json').write_text('{"a": [1, {"b": null}]}')
    assert read_json(tmp_path / 'a.json') == {'a': [1, {'b': None}]}


@pytest.mark.parametrize('pair', ['[]', '{}'])
def test_depth_is_bounded_below_the_depth_that_python_can_read(pair):
    def nested(depth):
        return (pair[0] + '"a":' * (pair == '{}')) * (depth - 1) + pair + pair[1] * (depth - 1)

    parse_json(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 500, 100_000):
        with pytest.raises(ValueError, match='nested more than 64 deep'):
            parse_json(nested(depth))


@pytest.mark.parametrize('text', ['', '{', '\x00', '1' * 5000, b'\xff'])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r'.'):
        parse_json(text)


def test_a_large_file_names_the_limit_that_accepts_it(tmp_path, monkeypatch):
    path = tmp_path / 'a.json'
    path.write_text('"' + 'a' * 3_000_000 + '"')
    monkeypatch.setenv(VARIABLE, 'max_json_mb=2')
    with pytest.raises(ValueError, match=r'it has 3 MB, expected 2 or less') as refusal:
        read_json(path)
    monkeypatch.setenv(VARIABLE, str(refusal.value).rpartition(f'{VARIABLE}=')[2])
    assert len(read_json(path)) == 3_000_000


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / 'a.json')
    with pytest.raises(ValueError, match='not a regular file'):
        read_json(tmp_path / 'a.json')
