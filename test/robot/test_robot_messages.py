"""Messages of robots, against what another library serialises, and damaged ones."""

from keypoint_perception.errors import EncodingError
from keypoint_perception.robot.robot_messages import (
    read_joint_state,
    read_string,
    read_transforms,
)
import pytest
from robot_bags import RobotBag, START_NS


def serialised(bag, message):
    write = bag.types.serialize_ros1 if bag.ros1 else bag.types.serialize_cdr
    return bytes(write(message, message.__msgtype__))


@pytest.fixture(params=[False, True], ids=['ros2', 'ros1'])
def bag(request):
    return RobotBag(images=0, ros1=request.param)


def test_joint_states(bag):
    data = serialised(bag, bag.joint_state(START_NS + 7, ['a', 'long_name'], [1.5, -2.5]))
    message = read_joint_state(data, ros1=bag.ros1)
    assert message.header.stamp_ns == START_NS + 7
    assert (message.names, message.positions) == (('a', 'long_name'), (1.5, -2.5))


def test_transforms(bag):
    edges = [('w', 'base', (1, 2, 3), (0, 0, 0, 1)), ('base', 'c', (4, 5, 6), (1, 0, 0, 0))]
    data = serialised(bag, bag.transforms(*edges, stamp_ns=START_NS))
    found = read_transforms(data, ros1=bag.ros1)
    assert [
        (t.header.frame_id, t.child_frame_id, t.translation, t.rotation) for t in found
    ] == edges


def test_texts(bag):
    assert read_string(serialised(bag, bag.text('<robot/>')), ros1=bag.ros1) == b'<robot/>'


def test_truncated_messages_are_refused(bag):
    state = bag.joint_state(0, ['a', 'b'], [1.0, 2.0])
    edges = bag.transforms(('w', 'base', (1, 2, 3), (0, 0, 0, 1)))
    # a joint state goes on after the positions
    for message, read, end in ((state, read_joint_state, 12), (edges, read_transforms, 0)):
        data = serialised(bag, message)
        for count in range(len(data) - end):
            with pytest.raises(EncodingError, match='truncated'):
                read(data[:count], ros1=bag.ros1)


def test_a_claim_of_many_entries_is_refused(bag):
    head = b'' if bag.ros1 else b'\0\1\0\0'
    with pytest.raises(EncodingError, match='claims 4294967295 entries'):
        read_transforms(head + b'\xff' * 4, ros1=bag.ros1)
