"""Types named on the network: what is installed is found, and nothing else is ever imported."""

import os
import subprocess
import sys

from keypoint_perception.errors import ConfigError
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

# What a foreign publisher could have imported from the directory in which the recorder runs.
NAMES = ('evil', 'listed')
ASK = """
import sys
from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.message_definitions import message_class, message_definition
for name in sys.argv[1:]:
    try:
        print(message_class(name).__module__, bool(message_definition(name)))
    except ConfigError as error:
        print(error)
"""


def test_type_that_is_not_installed_is_named(ros_domain):
    from keypoint_perception.ros.message_definitions import message_class, message_definition

    with pytest.raises(ConfigError, match=r'radar_msgs/msg/Scan is not installed.*radar-msgs'):
        message_class('radar_msgs/msg/Scan')
    with pytest.raises(ConfigError, match='sensor_msgs/msg/NoSuch is not installed'):
        message_class('sensor_msgs/msg/NoSuch')
    assert message_definition('radar_msgs/msg/Scan') == ''


@pytest.mark.parametrize(
    'name',
    [
        '', 'sensor_msgs/Image', 'os/msg/', 'std_srvs/srv/Trigger_Request', 'a.b/msg/X',
        '../share/std_msgs/msg/String', 'std_msgs/msg/String/msg/String', 'std_msgs/msg/_string',
        'std_msgs/msg/String\n', 'ſtd_msgs/msg/String', '\x1b[2J/msg/X',
    ],
)  # fmt: skip
def test_text_that_is_no_type_is_refused(ros_domain, name):
    from keypoint_perception.ros.message_definitions import message_class, message_definition

    with pytest.raises(ConfigError) as caught:
        message_class(name)
    assert str(caught.value) == (
        f'{name!r} is no message type; only types such as std_msgs/msg/String are recorded.'
    )
    assert message_definition(name) == ''


def test_nothing_is_imported_from_where_the_program_runs(ros_domain, tmp_path):
    for name in (*NAMES, 'sensor_msgs'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text(f'print("{name} was imported")')
        (tmp_path / name / 'msg.py').write_text('class X: pass')
    index = tmp_path / 'prefix' / 'share' / 'ament_index' / 'resource_index' / 'rosidl_interfaces'
    index.mkdir(parents=True)
    (index / 'listed').touch()  # a prefix that lists a package without its Python part
    prefixes = os.pathsep.join([str(tmp_path / 'prefix'), os.environ['AMENT_PREFIX_PATH']])
    types = ('evil/msg/X', 'listed/msg/X', 'sensor_msgs/msg/Image', 'json/msg/X')
    answer = subprocess.run(
        [sys.executable, '-c', ASK, *types],
        cwd=tmp_path,
        env=os.environ | {'AMENT_PREFIX_PATH': prefixes},
        capture_output=True,
        text=True,
        check=True,
    )
    evil, listed, image, json = answer.stdout.splitlines()
    assert evil.startswith('The message type evil/msg/X is not installed on this machine')
    assert listed.startswith('The message type listed/msg/X is not installed')
    assert image == 'sensor_msgs.msg._image True'
    assert json.startswith('The message type json/msg/X is not installed')
