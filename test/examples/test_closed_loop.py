"""The one command: it says what is missing, and whatever stops it, nothing stays behind."""

from __future__ import annotations

import os
from pathlib import Path
import signal

from keypoint_perception.errors import ConfigError
import pytest

ROOT = Path(__file__).parents[2]


def running_with(text: str) -> list[int]:
    """Return the processes that have a text in their environment."""
    found = []
    for path in Path('/proc').glob('[0-9]*/environ'):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has just ended, or is another user's
    return [pid for pid in found if pid != os.getpid()]


def test_no_robot_is_commanded_by_accident(monkeypatch, tmp_path):
    from examples.closed_loop import alone

    monkeypatch.setenv('ROS_DOMAIN_ID', '0')
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    chosen = alone(tmp_path)
    assert 1 <= int(chosen['ROS_DOMAIN_ID']) <= 100
    assert chosen['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'


def test_only_its_own_bag_is_removed(tmp_path):
    from examples.closed_loop import make_room

    (tmp_path / 'bag').mkdir()
    with pytest.raises(ConfigError, match=r"bag' exists but was not made by this program"):
        make_room(tmp_path)
    assert (tmp_path / 'bag').is_dir()
    (tmp_path / 'truth.csv').touch()
    make_room(tmp_path)
    assert not (tmp_path / 'bag').exists()


def test_a_missing_simulator_is_one_sentence(start, tmp_path):
    code = (
        "import sys; sys.modules['pybullet'] = None; from examples.closed_loop import main; main()"
    )
    process = start('-c', code, '--out', str(tmp_path))
    assert process.wait() == 2
    assert 'Traceback' not in process.output
    assert process.count('^error: The simulator PyBullet cannot be imported') == 1


def test_an_interrupted_recording_leaves_nothing_running(start, tmp_path):
    pytest.importorskip('pybullet', reason='PyBullet is not installed: extra `examples`')
    process = start('-m', 'examples.closed_loop', '--out', str(tmp_path))
    process.wait_for('recording /camera/image')
    assert len(running_with(str(tmp_path / 'ros_log'))) >= 4
    assert process.stop(signal.SIGINT) == 130
    assert running_with(str(tmp_path / 'ros_log')) == []
    assert 'Traceback' not in process.output


def test_a_part_that_fails_is_named(start, tmp_path):
    pytest.importorskip('pybullet', reason='PyBullet is not installed: extra `examples`')
    (tmp_path / 'model').mkdir()
    process = start('-m', 'examples.closed_loop', '--keep-model', '--out', str(tmp_path))
    process.wait_for('== 3/3 close the loop')
    process.wait_for('^error: perception_node ended with exit code 2: .*manifest')
    assert process.wait() == 2
    assert 'Traceback' not in process.output
    assert running_with(str(tmp_path / 'ros_log')) == []
