"""recorder_node records by its parameters and its services."""

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('mcap', reason='mcap, which writes bags, is not installed')
MODULE = 'keypoint_perception.ros.recorder_node'


def test_services_start_and_stop_recordings(peer, start_node, tmp_path, messages_in):
    from diagnostic_msgs.msg import DiagnosticArray
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter
    from std_msgs.msg import Header
    from std_srvs.srv import Trigger

    node = start_node(
        module=MODULE, topics='[numbers]', directory=tmp_path / 'runs', autostart=False,
        disk_floor=0, rate=5,
    )  # fmt: skip
    reports = peer.collect(DiagnosticArray, '/diagnostics')
    none = peer.call(Trigger, '/recorder/stop_recording', Trigger.Request())
    assert (none.success, none.message) == (
        False, 'Nothing is being recorded; call ~/start_recording first.'
    )  # fmt: skip
    begun = peer.call(Trigger, '/recorder/start_recording', Trigger.Request())
    assert begun.success
    assert begun.message.startswith(str(tmp_path / 'runs' / 'recording_'))
    twice = peer.call(Trigger, '/recorder/start_recording', Trigger.Request())
    assert (twice.success, twice.message) == (
        False, f"'{begun.message}' is being recorded; stop it first."
    )  # fmt: skip
    publisher = peer.publisher(Header, '/numbers')
    for number in range(3):
        publisher.publish(Header(frame_id=str(number)))
    values = peer.diagnosed('recording .*: 3 messages', reports, node)
    assert values['/numbers received'] == values['/numbers written'] == '3'
    full = SetParameters.Request(
        parameters=[Parameter('disk_floor', value=1e9).to_parameter_msg()]
    )
    ended = peer.call(Trigger, '/recorder/stop_recording', Trigger.Request())
    assert ended.success
    assert ended.message.startswith(f'{begun.message}: 3 messages')
    assert messages_in(begun.message) == 3
    assert peer.call(SetParameters, '/recorder/set_parameters', full).results[0].successful
    refused = peer.call(Trigger, '/recorder/start_recording', Trigger.Request())
    assert (refused.success, 'MB left, less than disk_floor' in refused.message) == (False, True)
    assert node.stop() == 0


def test_node_records_from_its_start(peer, start_node, tmp_path, messages_in):
    from std_msgs.msg import Header

    path = tmp_path / 'run'
    node = start_node(module=MODULE, topics='[/numbers]', out=path, disk_floor=0)
    publisher = peer.publisher(Header, '/numbers')
    publisher.publish(Header())
    peer.spin_until(publisher.wait_for_all_acked, 'the acknowledgement', node)
    assert node.stop() == 0
    node.wait_for(r'recorded .*/run: 1 messages')
    assert messages_in(path) == 1


def test_node_ends_with_its_recording(peer, start_node, tmp_path, messages_in):
    from std_msgs.msg import Header

    path = tmp_path / 'run'
    limits = {'exit_at_end': True, 'max_messages': 1, 'disk_floor': 0}
    node = start_node(module=MODULE, topics='[/numbers]', out=path, **limits)
    publisher = peer.publisher(Header, '/numbers')
    publisher.publish(Header())
    peer.spin_until(publisher.wait_for_all_acked, 'the acknowledgement', node)
    assert node.wait() == 0
    node.wait_for('recording ended: ')
    assert messages_in(path) == 1


@pytest.mark.parametrize(
    ('parameters', 'sentence'),
    [
        (
            {'topics': '[/a]', 'jpeg': 200},
            'error: jpeg: must be an integer from 0 to 100, got 200.',
        ),
        (
            {'topics': '[/a]', 'rate': 'often'},
            "error: rate: must be a number from 0 to 10000, got 'often'.",
        ),
        (
            {'topics': '/a'},
            "error: topics: must be a list of text, such as [a, b], got '/a'.",
        ),
        (
            {'topics': '[/a]', 'out': '/never', 'disk_floor': 1e9},
            "error: the disk of '/' has ",
        ),
        ({}, 'error: No topic is given; expected at least one to record'),
    ],
)
def test_bad_parameters_are_refused(start_node, parameters, sentence):
    node = start_node(module=MODULE, **parameters)
    assert node.wait() == 2
    assert node.lines[-1].startswith(sentence)
