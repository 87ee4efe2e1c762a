"""Parameters are checked with a sentence; the shipped file holds their defaults."""

import math
from pathlib import Path

from keypoint_perception.errors import ConfigError
from keypoint_perception.geometry.geometry_settings import GeometrySettings
from keypoint_perception.geometry.point_filter import FilterSettings
from keypoint_perception.ros.perception.engine_loading import EngineSpec
from keypoint_perception.ros.perception.node_parameters import (
    check_names,
    NodeParameters,
    PARAMETERS,
)
from keypoint_perception.settings import from_parameters
import pytest
import yaml

ROOT = Path(__file__).parents[3]


def test_whole_numbers_are_good_for_doubles():
    assert from_parameters(NodeParameters, {'overlay_threshold': 1}).overlay_threshold == 1.0


def test_one_empty_name_is_no_name():
    assert from_parameters(NodeParameters, {'cameras': ['']}).cameras == ()
    given = {'cameras': ['left', 'right']}
    assert from_parameters(NodeParameters, given).cameras == ('left', 'right')


def test_parameters_reach_the_settings_they_belong_to():
    parameters = from_parameters(
        NodeParameters,
        {
            'model': '/x',
            'engine': 'torch',
            'depth': True,
            'depth_radius': 3,
            'depth_tolerance': 0.25,
            'depth_wait': 15,
            'undistort': True,
            'filter': 'one_euro',
            'filter_beta': 7.0,
            'filter_gap': 0.125,
        },
    )
    assert parameters.engine_spec == EngineSpec('/x', 'torch')
    smoothing = FilterSettings('one_euro', beta=7.0, gap_s=0.125)
    assert parameters.geometry == GeometrySettings(
        depth=True,
        depth_radius=3,
        depth_tolerance_s=0.25,
        depth_wait_ms=15.0,
        undistort=True,
        filter=smoothing,
    )
    plain = NodeParameters().geometry
    assert (plain.needs_calibration, plain.filter.kind) == (False, 'none')


@pytest.mark.parametrize(
    ('name', 'value', 'sentence'),
    [
        ('threads', -1, 'threads: must be an integer from 0 to 256, got -1'),
        ('threads', 'many', "threads: must be an integer from 0 to 256, got 'many'"),
        ('threads', 1.0, r'threads: must be an integer from 0 to 256, got 1\.0'),
        ('threads', True, 'threads: must be an integer from 0 to 256, got True'),
        ('engine', 'onnx', "engine: must be one of auto, .*, torch, got 'onnx'"),
        ('image_transport', 'theora', "must be one of raw, compressed, got 'theora'"),
        ('autostart', 'yes', "autostart: must be true or false, got 'yes'"),
        ('overlay_threshold', 1.5, r'a number from 0 to 1, got 1\.5'),
        ('silence_timeout', math.nan, 'silence_timeout: must be a number .* got nan'),
        ('model', 7, 'model: must be text, got 7'),
        ('cameras', 'left', "cameras: must be a list of distinct names of letters, .* got 'left'"),
        ('cameras', ['a', 'a'], 'cameras: must be a list of distinct names'),
        ('cameras', ['a', ''], 'cameras: must be a list of distinct names'),
        ('cameras', ['front left'], 'cameras: must be a list of distinct names'),
    ],
)
def test_bad_values_are_refused(name, value, sentence):
    with pytest.raises(ConfigError, match=sentence):
        from_parameters(NodeParameters, {name: value})


def test_misspelt_names_are_refused():
    with pytest.raises(ConfigError, match="'modle' is not known; did you mean 'model'"):
        check_names(['modle'])


def test_names_for_other_nodes_are_left_alone():
    assert check_names(['robot_description', 'model']) == ['robot_description']


def test_shipped_file_holds_the_defaults():
    text = (ROOT / 'config' / 'perception.yaml').read_text()
    given = yaml.safe_load(text)['/**']['ros__parameters']
    assert set(given) | {'model', 'cameras'} == set(PARAMETERS)
    assert given == {name: PARAMETERS[name].default for name in given}
