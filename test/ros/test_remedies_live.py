"""Advice of the running node: who does what the sentence says has it working."""

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from advice import named
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image, PointCloud2
from std_srvs.srv import Trigger

NODE = '/robot1/perception_node'
PROGRAM = ('-m', 'keypoint_perception.ros.perception_node', '--ros-args', '-r', '__ns:=/robot1')


def test_parameters_topics_and_states(start, peer, model_dir, make_image, tmp_path):
    file = tmp_path / 'parameters.yaml'
    text = f'{{ros__parameters: {{model: {model_dir}, silence_timeout: 0.1, lazy: false}}}}'
    file.write_text(f'perception_node: {text}')
    command = (*PROGRAM, '--params-file', str(file))
    publisher = peer.publisher(Image, '/cam/image', matched=False)

    node = start(*command)
    assert node.wait() == 2
    name = named('which is ([^:]+): name it there', node.output)
    file.write_text(f'{name}: {text}')
    node = start(*command)
    node.wait_for('no publisher on /robot1/image .* remap with')

    def change(*transitions):
        for transition in transitions:
            request = ChangeState.Request(transition=Transition(id=transition))
            assert peer.call(ChangeState, f'{NODE}/change_state', request).success

    def set_cameras() -> str:
        value = ParameterValue(type=9, string_array_value=['left'])
        request = SetParameters.Request(parameters=[Parameter(name='cameras', value=value)])
        (result,) = peer.call(SetParameters, f'{NODE}/set_parameters', request).results
        assert result.successful == (not result.reason)
        return result.reason

    def reload():
        return peer.call(Trigger, f'{NODE}/reload', Trigger.Request())

    assert 'deactivate and clean up first' in set_cameras()
    change(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
    assert set_cameras() == ''
    assert 'configure it first' in reload().message
    change(Transition.TRANSITION_CONFIGURE)
    assert reload().success
    assert node.stop() == 0

    topic = named('image topics: ([^;]+);', node.output)
    remap = named('remap with `-r (.+)`', node.output).replace('TOPIC', topic)
    node = start(*command, '-r', remap)
    clouds = peer.collect(PointCloud2, f'{NODE}/keypoints')
    peer.publish_until(lambda: clouds, publisher, make_image(1), 'keypoints', node)
    assert node.stop() == 0
