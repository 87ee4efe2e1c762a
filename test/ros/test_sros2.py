"""The policy allows what the nodes do, as the graph shows it, and nothing that they do not."""

from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import pytest

POLICY = Path(__file__).parents[2] / 'sros2' / 'policy.xml'


def allowed(node, attribute):
    """Return the full names that a node is allowed."""
    policy = ElementTree.parse(POLICY).getroot()
    (profile,) = policy.iterfind(f".//enclave[@path='/{node}']/profiles/profile")
    rules = (rule for rule in profile if rule.get(attribute) == 'ALLOW')
    names = (element.text.replace('~', f'/{node}', 1) for rule in rules for element in rule)
    return {name if name.startswith('/') else f'/{name}' for name in names}


def denied(names, patterns):
    return [name for name in names if not any(fnmatchcase(name, p) for p in patterns)]


def test_the_tools_of_sros2_read_the_policy():
    """They take every node below ``enclaves``, and so a comment, for an enclave."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    enclaves = ElementTree.parse(POLICY, parser).getroot().find('enclaves')
    paths = ['/perception_node', '/recorder', '/keypoint_recorder']
    assert [enclave.get('path') for enclave in enclaves] == paths


def test_the_verb_record_may_do_what_the_recorder_may_do_without_its_services():
    own = {'/diagnostics', '/keypoint_recorder/start_recording'}
    own |= {'/keypoint_recorder/stop_recording'}
    for attribute in ('publish', 'subscribe', 'reply'):
        recorder = {
            name.replace('/recorder/', '/keypoint_recorder/')
            for name in allowed('recorder', attribute)
        }
        assert allowed('keypoint_recorder', attribute) == recorder - own


def graph(peer, node, process, *expected):
    """Return what a node publishes, subscribes to and answers, once the expected are there."""
    ask = peer.node

    def found():
        try:
            return [
                {name for name, _ in of(node, '/')}
                for of in (
                    ask.get_publisher_names_and_types_by_node,
                    ask.get_subscriber_names_and_types_by_node,
                    ask.get_service_names_and_types_by_node,
                )
            ]
        except ask_error():
            return [set(), set(), set()]

    peer.spin_until(lambda: set(expected) <= set.union(*found()), 'its topics', process)
    return found()


def ask_error():
    from rclpy._rclpy_pybind11 import NodeNameNonExistentError

    return NodeNameNonExistentError


def test_perception_node_may_do_what_it_does(peer, start_node, model_dir):
    node = start_node(model=model_dir, cameras='[left, right]', depth=True, lazy=False)
    published, subscribed, services = graph(
        peer, 'perception_node', node, '/left/image', '/right/depth', '/right/camera_info',
        '/perception_node/stop_recording',
    )  # fmt: skip
    assert denied(published, allowed('perception_node', 'publish')) == []
    assert denied(subscribed, allowed('perception_node', 'subscribe')) == []
    assert services == allowed('perception_node', 'reply')
    single = {'/perception_node/keypoints', '/perception_node/overlay', '/perception_node/markers'}
    assert denied(single, allowed('perception_node', 'publish')) == []
    assert denied({'/cmd_vel'}, allowed('perception_node', 'publish')) == ['/cmd_vel']


def test_recorder_may_do_what_it_does(peer, start_node, tmp_path):
    pytest.importorskip('mcap', reason='mcap, which writes bags, is not installed')
    from sensor_msgs.msg import Image

    node = start_node(
        module='keypoint_perception.ros.recorder_node', topics='[image]', out=tmp_path / 'run',
        disk_floor=0,
    )  # fmt: skip
    publisher = peer.publisher(Image, '/image')
    published, subscribed, services = graph(
        peer, 'recorder', node, '/image', '/diagnostics', '/recorder/stop_recording'
    )
    assert denied(published, allowed('recorder', 'publish')) == []
    assert denied(subscribed, allowed('recorder', 'subscribe')) == []
    assert services == allowed('recorder', 'reply')
    del publisher
