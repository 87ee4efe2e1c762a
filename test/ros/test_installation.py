"""ROS from wheels is found without sourcing; a sourced installation is left as it is."""

import importlib.machinery
import importlib.util
import os
from pathlib import Path
import sys

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.installation import dds_profile_in_use, find_ros, shipped_file
import pytest


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Make this environment look like one with ROS from wheels; return its prefix."""
    package = tmp_path / 'lib' / 'python3' / 'site-packages' / 'rclpy' / '__init__.py'
    marker = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'rclpy'
    for path in (package, marker):
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    place_rclpy(monkeypatch, package)
    return tmp_path


def place_rclpy(monkeypatch, path):
    spec = path and importlib.machinery.ModuleSpec('rclpy', None, origin=str(path))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: spec)


def test_wheels_are_found_without_a_prefix(wheels, monkeypatch):
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    find_ros()
    assert os.environ['AMENT_PREFIX_PATH'] == str(wheels)


def test_wheels_follow_a_workspace_and_are_added_once(wheels, monkeypatch):
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/ws/install/keypoint_perception')
    find_ros()
    find_ros()
    assert (
        os.environ['AMENT_PREFIX_PATH'] == f'/ws/install/keypoint_perception{os.pathsep}{wheels}'
    )


def test_sourced_installation_is_left_alone(wheels, monkeypatch):
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/ros/jazzy')
    place_rclpy(monkeypatch, Path('/opt/ros/jazzy/lib/python3.12/site-packages/rclpy/__init__.py'))
    find_ros()
    assert os.environ['AMENT_PREFIX_PATH'] == '/opt/ros/jazzy'


def test_environment_without_ros_in_its_index_is_no_prefix(wheels, monkeypatch):
    monkeypatch.setenv('AMENT_PREFIX_PATH', '/opt/ros/jazzy')
    (wheels / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'rclpy').unlink()
    find_ros()
    assert os.environ['AMENT_PREFIX_PATH'] == '/opt/ros/jazzy'


def test_missing_ros_is_reported_with_both_ways_to_install_it(monkeypatch):
    place_rclpy(monkeypatch, None)
    with pytest.raises(ConfigError, match=r'cannot find ROS 2 \(rclpy\); source .*pip install -e'):
        find_ros()


def test_shipped_files_are_found_in_an_installation_first(tmp_path, monkeypatch):
    name = 'fastdds_large_images.xml'
    installed = tmp_path / 'share' / 'keypoint_perception' / 'config' / name
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    assert shipped_file('config', name).is_file()  # the source tree's
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert shipped_file('config', name) == installed


def test_own_dds_profile_is_detected(monkeypatch):
    monkeypatch.delenv('FASTRTPS_DEFAULT_PROFILES_FILE', raising=False)
    monkeypatch.delenv('FASTDDS_DEFAULT_PROFILES_FILE', raising=False)
    assert dds_profile_in_use() is None
    monkeypatch.setenv('FASTDDS_DEFAULT_PROFILES_FILE', '/my.xml')
    assert dds_profile_in_use() == '/my.xml'
