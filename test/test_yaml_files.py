"""YAML is read within bounds of size, depth and number of values."""

from __future__ import annotations

import os

from keypoint_perception.limits import VARIABLE
from keypoint_perception.yaml_files import parse_yaml, read_yaml_file
import pytest


def test_plain_values_are_read(tmp_path):
    path = tmp_path / 'plain.yaml'
    path.write_bytes(b'\xef\xbb\xbfa: {b: 1}\nc: {b: x, "": 2}\nd: [1.5, null, &unused yes]\n')
    value = {'a': {'b': 1}, 'c': {'b': 'x', '': 2}, 'd': [1.5, None, True]}
    assert read_yaml_file(path) == value
    assert parse_yaml('') is None
    assert parse_yaml(f'"{"1" * 2000}"') == '1' * 2000


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('a: &a [x, x]\nb: [*a, *a]', r'^line 2 has the alias \*a; write the value itself$'),
        ('a: &a [*a]', r'^line 1 has the alias \*a'),
        ('a: &a {x: 1}\nb: {<<: *a}', r'^line 2 has the alias \*a'),
        ('a: !!python/object/apply:os.getcwd []', r'^line 1 has the tag tag:yaml.org,2002:python'),
        ('a:\n  b: 1\n  c: 2\n  b: 3', r"^line 4 has the key 'b' again; keep one$"),
        ('[' * 1_000_000, r'^line 1 is nested more than 32 deep$'),
        ('- 1\n' * 200_001, r'^line 200000 exceeds the 200000 values that are read$'),
        ('a: 1' + ':59' * 100_000, r'^line 1 has a number of 300001 characters$'),
        ('a: [1', r"^line .: .*expected ',' or ']'"),
        ('a: 1\n--- 2', r'^line 2: but found another document$'),
        ('a: \0', r'^unacceptable character #x0000'),
    ],
)
def test_the_rest_is_refused_with_its_line(text, reason):
    with pytest.raises(ValueError, match=reason) as raised:
        parse_yaml(text)
    assert '\n' not in str(raised.value)


def test_files_are_judged_before_they_are_read(tmp_path, monkeypatch):
    path = tmp_path / 'large.yaml'
    path.write_text('#' * 2_100_000)
    remedy = f'{VARIABLE}=max_yaml_mb=3'
    with pytest.raises(ValueError, match=f'it has 2.1 MB, expected 2 or less; .* set {remedy}'):
        read_yaml_file(path)
    monkeypatch.setenv(VARIABLE, 'max_yaml_mb=3')
    assert read_yaml_file(path) is None
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(ValueError, match='it is not a regular file'):
        read_yaml_file(tmp_path / 'pipe')
    path.write_bytes(b'a: \xe9')
    with pytest.raises(ValueError, match=r'utf-8.*position 3'):
        read_yaml_file(path)
