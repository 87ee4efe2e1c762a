"""The joints of a robot as a tree: what it may not be, and the order in which links are placed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from keypoint_perception.robot.robot_description import (
    quoted,
    RobotDescription,
    RobotJoint,
)


def order_joints(
    links: Collection[str], joints: Sequence[RobotJoint]
) -> tuple[tuple[RobotJoint, ...], str]:
    """
    Return the joints, parents first, and the link at the root.

    :raises ValueError: if a link is missing, has two parents, or the links are no single tree;
        the message is a reason
    """
    parent_of: dict[str, RobotJoint] = {}
    names = set[str]()
    for joint in joints:
        if joint.name in names:
            raise ValueError(f'joint {joint.name!r} is there twice')
        names.add(joint.name)
        for end, link in (('parent', joint.parent), ('child', joint.child)):
            if link not in links:
                raise ValueError(f'joint {joint.name!r} has the {end} {link!r}, which is no link')
        if joint.child in parent_of:
            first = parent_of[joint.child]
            raise ValueError(
                f'link {joint.child!r} has two parents, {first.parent!r} by joint {first.name!r} '
                f'and {joint.parent!r} by joint {joint.name!r}'
            )
        parent_of[joint.child] = joint
    roots = [link for link in links if link not in parent_of]
    if len(roots) > 1:
        raise ValueError(
            f'it has {len(roots)} links without a parent ({quoted(roots)}), where one is the base'
        )
    children: dict[str, list[RobotJoint]] = {}
    for joint in joints:
        children.setdefault(joint.parent, []).append(joint)
    ordered, waiting = list[RobotJoint](), roots[:]
    while waiting:
        for joint in children.get(waiting.pop(0), ()):
            ordered.append(joint)
            waiting.append(joint.child)
    if len(ordered) < len(joints):
        placed = {joint.child for joint in ordered}
        loop = [joint.name for joint in joints if joint.child not in placed]
        raise ValueError(f'its joints form a loop ({quoted(loop)})')
    return tuple(ordered), roots[0]


def check_mimics(robot: RobotDescription) -> Iterator[str]:
    """
    Yield a sentence for each joint that mimics one that itself mimics another.

    :raises ValueError: if a joint mimics one that is none, or in a circle
    """
    for joint in robot.joints:
        chain = [joint.name]
        followed = joint
        while followed.mimic is not None:
            name = followed.mimic.joint
            if name not in robot.joint_of:
                raise ValueError(
                    f'joint {followed.name!r} mimics {name!r}, which is no joint of the robot'
                )
            if name in chain:
                raise ValueError(f'joints mimic each other in a circle: {", ".join(chain)}')
            chain.append(name)
            followed = robot.joint_of[name]
        if len(chain) > 2:
            yield (
                f'joint {joint.name!r} mimics {chain[1]!r}, which itself mimics another '
                f'(robot_state_publisher does not follow that): {" follows ".join(chain)} is '
                'used; let it mimic the last one.'
            )
