"""Parameters are checked with a sentence; the table, the file and the launch file agree."""

from dataclasses import fields
import math
from pathlib import Path

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.perception.declared_parameters import check_names
from keypoint_perception.ros.perception.node_parameters import (
    BY_NAME,
    check_parameters,
    NodeParameters,
    PARAMETERS,
    table,
)
import pytest
import yaml

ROOT = Path(__file__).parents[3]


def test_table_and_checked_values_have_the_same_names():
    assert [f.name for f in fields(NodeParameters)] == list(BY_NAME)


def test_defaults_are_good():
    defaults = check_parameters({})
    for parameter in PARAMETERS:
        assert getattr(defaults, parameter.name) == parameter.default


def test_whole_numbers_are_good_for_doubles():
    assert check_parameters({'overlay_threshold': 1}).overlay_threshold == 1.0


def test_one_empty_name_is_no_name():
    assert check_parameters({'cameras': ['']}).cameras == ()
    assert check_parameters({'cameras': ['left', 'right']}).cameras == ('left', 'right')


@pytest.mark.parametrize(
    ('name', 'value', 'sentence'),
    [
        ('threads', -1, 'threads: must be a whole number from 0 to 256, got -1'),
        ('threads', 'many', "threads: must be a whole number from 0 to 256, got 'many'"),
        ('threads', 1.0, r'threads: must be a whole number from 0 to 256, got 1\.0'),
        ('threads', True, 'threads: must be a whole number from 0 to 256, got True'),
        ('engine', 'onnx', "engine: must be one of auto, .*, torch, got 'onnx'"),
        ('image_transport', 'theora', "must be one of raw, compressed, got 'theora'"),
        ('autostart', 'yes', "autostart: must be true or false, got 'yes'"),
        ('overlay_threshold', 1.5, r'a number from 0\.0 to 1\.0, got 1\.5'),
        ('silence_timeout', math.nan, 'silence_timeout: must be a number .* got nan'),
        ('model', 7, 'model: must be a text, got 7'),
        ('cameras', 'left', "cameras: must be different names of letters, .* got 'left'"),
        ('cameras', ['a', 'a'], 'cameras: must be different names'),
        ('cameras', ['a', ''], 'cameras: must be different names'),
        ('cameras', ['front left'], 'cameras: must be different names'),
    ],
)
def test_bad_values_are_refused(name, value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_parameters({name: value})


def test_misspelt_names_are_refused():
    with pytest.raises(ConfigError, match="'modle' is not known, 'model' is meant perhaps; known"):
        check_names(['modle'])


def test_names_for_other_nodes_are_left_alone():
    assert check_names(['robot_description', 'model']) == ['robot_description']


def test_readme_table_has_a_row_for_each_parameter():
    rows = table().splitlines()
    assert len(rows) == 2 + len(PARAMETERS)
    for row, parameter in zip(rows[2:], PARAMETERS, strict=True):
        assert row.startswith(f'| `{parameter.name}` | ')
        assert row.count('|') == 7


def test_shipped_file_holds_the_defaults():
    text = (ROOT / 'config' / 'perception.yaml').read_text()
    given = yaml.safe_load(text)['/**']['ros__parameters']
    assert set(given) | {'model', 'cameras'} == set(BY_NAME)
    assert given == {name: BY_NAME[name].default for name in given}
