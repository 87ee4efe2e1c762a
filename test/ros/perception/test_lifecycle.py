"""Without autostart, a lifecycle manager leads the node through its states."""

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from sensor_msgs.msg import Image, PointCloud2

NODE = '/perception_node'


@pytest.fixture(scope='module')
def node(start_node):
    return start_node(autostart=False, model='/nowhere', remaps={'image': '/cam/image'})


def change(peer, transition: int) -> tuple[bool, str]:
    """Return whether a transition succeeded, and the state afterwards."""
    request = ChangeState.Request(transition=Transition(id=transition))
    success = peer.call(ChangeState, f'{NODE}/change_state', request).success
    state = peer.call(GetState, f'{NODE}/get_state', GetState.Request()).current_state.label
    return success, state


def set_parameter(peer, name: str, **value) -> str:
    """Return why a parameter was refused, or nothing."""
    parameter = Parameter(name=name, value=ParameterValue(**value))
    request = SetParameters.Request(parameters=[parameter])
    (result,) = peer.call(SetParameters, f'{NODE}/set_parameters', request).results
    return '' if result.successful else result.reason


def test_failed_configure_leaves_the_node_alive(peer, node):
    diagnoses = peer.collect(DiagnosticArray, '/diagnostics')
    peer.diagnosed('unconfigured: waiting for a lifecycle manager', diagnoses, node)
    assert change(peer, Transition.TRANSITION_CONFIGURE) == (False, 'unconfigured')
    assert node.count("model not loaded: '/nowhere' is not a model directory") == 1
    peer.diagnosed("model not loaded: '/nowhere' is not", diagnoses, node)


def test_bad_values_are_rejected_while_running(peer, node):
    text = {'type': 4, 'string_value': 'onnx'}
    assert 'engine: must be one of auto' in set_parameter(peer, 'engine', **text)
    told = set_parameter(peer, 'engine', type=4, string_value='torch')
    assert told == 'engine: torch can be chosen only when the node starts: `-p engine:=torch`.'


def test_requests_that_raise_in_rclpy_are_answered_and_logged_once(peer, node):
    for transition in (Transition.TRANSITION_ACTIVATE, 99, 99):
        assert change(peer, transition) == (False, 'unconfigured')
    said = 'Transition 99 asked of /perception_node/change_state failed: .* not registered'
    assert node.count(said) == 1, node.output
    parameters = [
        Parameter(name='lazy', value=ParameterValue(type=77)),
        Parameter(name='lazy', value=ParameterValue(type=1, bool_value=True)),
        Parameter(name='', value=ParameterValue(type=255)),
    ]
    request = SetParameters.Request(parameters=parameters)
    results = peer.call(SetParameters, f'{NODE}/set_parameters', request).results
    assert [result.successful for result in results] == [False, True, False]
    assert results[0].reason == '77 is not a valid Parameter.Type.'
    request = SetParametersAtomically.Request(parameters=parameters)
    result = peer.call(
        SetParametersAtomically, f'{NODE}/set_parameters_atomically', request
    ).result
    assert (result.successful, result.reason) == (False, '77 is not a valid Parameter.Type.')
    assert 'Traceback' not in node.output
    assert 'a bug' not in node.output


def test_complete_lifecycle(peer, node, model_dir, make_image):
    text = {'type': 4, 'string_value': str(model_dir)}
    assert set_parameter(peer, 'model', **text) == ''
    clouds = peer.collect(PointCloud2, f'{NODE}/keypoints')
    publisher = peer.publisher(Image, '/cam/image', matched=False)
    heard = publisher.get_subscription_count
    count = peer.node.count_publishers

    assert change(peer, Transition.TRANSITION_CONFIGURE) == (True, 'inactive')
    assert heard() == 0
    for sec in (1, 2):  # twice, as a manager does after a fault
        assert change(peer, Transition.TRANSITION_ACTIVATE) == (True, 'active')
        peer.spin_until(lambda: heard() == 1, 'a subscription', node)
        peer.spin_until(lambda: count(f'{NODE}/keypoints'), 'a publisher of clouds', node)
        clouds.clear()
        peer.publish_until(lambda: clouds, publisher, make_image(sec), 'keypoints', node)
        assert clouds[0].header.stamp.sec == sec
        assert change(peer, Transition.TRANSITION_DEACTIVATE) == (True, 'inactive')
        peer.spin_until(lambda: heard() == 0, 'the end of the subscription', node)
    assert change(peer, Transition.TRANSITION_CLEANUP) == (True, 'unconfigured')
    # more than the library's own choice, which is at most 4
    assert set_parameter(peer, 'threads', type=2, integer_value=5) == ''
    assert change(peer, Transition.TRANSITION_CONFIGURE) == (True, 'inactive')
    assert node.count(r'loaded .* into onnxruntime .*\b5 threads\b') == 1
    assert change(peer, Transition.TRANSITION_INACTIVE_SHUTDOWN) == (True, 'finalized')
    assert node.stop() == 0
    assert 'Traceback' not in node.output
