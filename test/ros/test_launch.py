"""The launch file starts the node as `ros2 launch` does."""

import os
from pathlib import Path
import signal
import sys
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# What `ros2 launch` does with a launch file and its arguments.
LAUNCH = """
import sys
from launch import LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
service = LaunchService(argv=sys.argv[2:])
arguments = [tuple(a.split(':=', 1)) for a in sys.argv[2:]]
source = AnyLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    IncludeLaunchDescription(source, launch_arguments=arguments)
)
sys.exit(service.run())
"""
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def test_dds_profile_has_room_for_images():
    profile = ElementTree.parse(ROOT / 'config' / 'fastdds_large_images.xml').getroot()
    name = '{http://www.eprosima.com}'
    sizes = [int(e.text) for e in profile.iter(f'{name}segment_size')]
    assert sizes == [64 * 1024 * 1024]
    assert [e.text for e in profile.iter(f'{name}type')] == ['SHM', 'UDPv4']


def test_rviz_shows_the_topics_of_the_node():
    rviz = yaml.safe_load((ROOT / 'config' / 'perception.rviz').read_text())
    displays = rviz['Visualization Manager']['Displays']
    topics = {d['Class'].split('/')[1]: d['Topic']['Value'] for d in displays}
    assert topics == {
        'Image': '/perception_node/overlay',
        'MarkerArray': '/perception_node/markers',
        'PointCloud2': '/perception_node/keypoints',
    }


@pytest.fixture(scope='module')
def prefix(tmp_path_factory, ros_domain):
    """Return an ament prefix with this package as a build would install it."""
    pytest.importorskip('launch_ros', reason='launch_ros is not installed: no ROS installation')
    prefix = tmp_path_factory.mktemp('prefix')
    marker = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    marker.mkdir(parents=True)
    (marker / 'keypoint_perception').touch()
    share = prefix / 'share' / 'keypoint_perception'
    share.mkdir()
    for folder in ('launch', 'config', 'examples'):
        (share / folder).symlink_to(ROOT / folder)
    programs = prefix / 'lib' / 'keypoint_perception'
    programs.mkdir(parents=True)
    for name in ('perception_node', 'recorder_node'):
        program = programs / name
        program.write_text(
            f'#!{sys.executable}\nimport sys\n'
            f'from keypoint_perception.ros.{name} import main\nsys.exit(main())\n'
        )
        program.chmod(0o755)
    return prefix


@pytest.fixture
def launch(prefix, start, monkeypatch):
    """Start a launch file with arguments: ``launch('model:=...', file='record')``."""
    before = os.environ['AMENT_PREFIX_PATH']
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{prefix}{os.pathsep}{before}')
    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    files = prefix / 'share' / 'keypoint_perception' / 'launch'

    def launch_file(*arguments, file='perception'):
        return start('-c', LAUNCH, str(files / f'{file}.launch.py'), *arguments)

    return launch_file


def test_launched_node_publishes_keypoints(peer, launch, model_dir, make_image):
    from sensor_msgs.msg import Image, PointCloud2

    launched = launch(f'model:={model_dir}', 'image:=/cam/image', 'namespace:=arm')
    launched.wait_for('DDS profile: .*config/fastdds_large_images.xml')
    launched.wait_for('listening to /cam/image')
    clouds = peer.collect(PointCloud2, '/arm/perception_node/keypoints')
    publisher = peer.publisher(Image, '/cam/image')
    peer.publish_until(lambda: clouds, publisher, make_image(5), 'keypoints', launched)
    assert clouds[0].header.stamp.sec == 5
    assert launched.stop() == 0
    launched.wait_for('process has finished cleanly')


def test_own_dds_profile_is_kept(launch, monkeypatch):
    own = str(ROOT / 'config' / 'fastdds_large_images.xml')
    monkeypatch.setenv(PROFILE_VARIABLES[0], own)
    launched = launch('model:=/nowhere', 'dds_profile:=/other.xml')
    launched.wait_for(f'DDS profile: keeping {PROFILE_VARIABLES[0]}={own}; dds_profile is ignored')
    launched.wait_for(r'process has died \[pid \d+, exit code 2')
    launched.wait()


def test_arguments_take_precedence_over_the_file(launch, tmp_path):
    path = tmp_path / 'own.yaml'
    path.write_text('/**:\n  ros__parameters:\n    model: /in_file\n    threads: 1000\n')
    launched = launch(f'params_file:={path}', 'model:=7', 'dds_profile:=')
    launched.wait_for('DDS profile: none')
    launched.wait_for('threads: must be an integer from 0 to 256, got 1000')
    path.write_text('/**:\n  ros__parameters:\n    model: /in_file\n')
    launched = launch(f'params_file:={path}', 'model:=7', 'autostart:=true')
    launched.wait_for("model not loaded: '7' is not a model directory")
    launched = launch(f'params_file:={path}')
    launched.wait_for("model not loaded: '/in_file' is not a model directory")
    launched.wait()


def test_missing_dds_profile_is_reported(launch):
    launched = launch('model:=/nowhere', 'dds_profile:=/nowhere.xml')
    launched.wait_for("dds_profile: '/nowhere.xml' is no file; give a Fast DDS profile")
    launched.wait()


def test_a_loop_is_closed(prefix, launch, start, peer, model_dir):
    from rclpy.qos import DurabilityPolicy
    from sensor_msgs.msg import JointState, PointCloud2
    from std_msgs.msg import String

    del launch  # but not the environment that it set
    pytest.importorskip('pybullet', reason='PyBullet is not installed: extra `examples`')
    path = prefix / 'share' / 'keypoint_perception' / 'launch' / 'closed_loop.launch.py'
    launched = start('-c', LAUNCH, str(path), f'model:={model_dir}', 'landmark:=kp1')
    states = peer.collect(JointState, '/joint_states')
    clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
    latched = DurabilityPolicy.TRANSIENT_LOCAL
    statuses = peer.collect(String, '/servo_node/status', durability=latched)
    peer.spin_until(lambda: states and clouds and statuses, 'all three', launched)
    assert statuses[0].data == 'waiting'
    # the arm's time, which begins at 1 s
    assert clouds[0].header.stamp.sec < 1000
    assert launched.stop() == 0
    launched.wait_for('process has finished cleanly', count=3)


def test_cameras_have_their_topics(peer, launch, model_dir, make_image):
    from sensor_msgs.msg import Image, PointCloud2

    launched = launch(
        f'model:={model_dir}',
        'cameras:=left,right',
        'images:=/l/image_raw,/r/image_raw',
        file='multi_camera',
    )
    clouds = peer.collect(PointCloud2, '/perception_node/right/keypoints')
    publisher = peer.publisher(Image, '/r/image_raw')
    peer.publish_until(lambda: clouds, publisher, make_image(5), 'keypoints', launched)
    assert launched.stop() == 0


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['cameras:=left,right', 'images:=/l'], r'images: 1 topics for 2 cameras \(left, right\)'),
        (['cameras:=[]'], 'cameras: no camera given; expected names, e.g. cameras:=left,right'),
    ],
)
def test_wrong_number_of_topics_is_reported(launch, arguments, sentence):
    launched = launch(*arguments, file='multi_camera')
    launched.wait_for(sentence)
    launched.wait()


def test_launched_recorder_ends_with_its_recording(peer, launch, tmp_path):
    from std_msgs.msg import Header

    path = tmp_path / 'run'
    launched = launch(
        'topics:=numbers,/others', f'out:={path}', 'max_messages:=2', 'disk_floor:=0',
        'namespace:=arm', file='record',
    )  # fmt: skip
    publisher = peer.publisher(Header, '/arm/numbers')
    peer.publish_until(lambda: launched.count('recording ended'), publisher, Header(), 'the end')
    assert launched.wait() == 0
    assert launched.count('process has finished cleanly')
    assert (path / 'metadata.yaml').is_file()


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_node_ends_with_its_launch(peer, launch, tmp_path, how):
    """`ros2 launch` does not end its nodes on SIGTERM, and cannot on SIGKILL."""
    launched = launch('topics:=/numbers', f'out:={tmp_path / "run"}', file='record')
    peer.spin_until(lambda: 'recorder' in peer.node.get_node_names(), 'the node', launched)
    launched.stop(how)
    peer.spin_until(lambda: 'recorder' not in peer.node.get_node_names(), 'its end', launched)
