"""A URDF is read as ROS reads it, and every fault of one is named."""

import math

from keypoint_perception.errors import SourceError
from keypoint_perception.robot.urdf import parse_urdf, read_urdf
import numpy as np
import pytest
from robot_bags import URDF


def parse(text):
    return parse_urdf(text.encode(), 'URDF')


def joint(name, parent, child, kind='continuous', inside=''):
    ends = f'<parent link="{parent}"/><child link="{child}"/>'
    return f'<joint name="{name}" type="{kind}">{ends}{inside}</joint>'


def robot(*joints, links='abc'):
    return (
        f'<robot name="r">{"".join(f"<link name={c!r}/>" for c in links)}{"".join(joints)}</robot>'
    )


def test_the_arm_is_read():
    arm = parse(URDF)
    assert (arm.name, arm.root) == ('planar', 'base')
    assert [j.name for j in arm.joints] == ['shoulder', 'elbow', 'slide', 'finger_joint']
    shoulder, elbow, _, finger = arm.joints
    assert (shoulder.kind, shoulder.lower, shoulder.upper) == ('revolute', -2, 2)
    assert (elbow.kind, elbow.lower, elbow.upper) == ('continuous', -math.inf, math.inf)
    np.testing.assert_array_equal(elbow.axis, [0, 0, 1])
    np.testing.assert_array_equal(elbow.origin[:3, 3], [0.4, 0, 0])
    np.testing.assert_allclose(finger.origin[:3, 0], [0, 1, 0], atol=1e-9)
    assert (finger.mimic.joint, finger.mimic.multiplier, finger.mimic.offset) == (
        'slide',
        -0.5,
        0.01,
    )


def test_parents_are_placed_first_whatever_the_order():
    tree = parse(robot(joint('k', 'b', 'c'), joint('j', 'a', 'b')))
    assert [j.name for j in tree.joints] == ['j', 'k']


def test_angles_are_about_fixed_axes():
    origin = '<origin xyz="1 2 3" rpy="0.3 -0.5 1.1"/>'
    (found,) = parse(robot(joint('j', 'a', 'b', inside=origin), links='ab')).joints
    cos, sin = np.cos([0.3, -0.5, 1.1]), np.sin([0.3, -0.5, 1.1])
    x = np.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    y = np.array([[cos[1], 0, sin[1]], [0, 1, 0], [-sin[1], 0, cos[1]]])
    z = np.array([[cos[2], -sin[2], 0], [sin[2], cos[2], 0], [0, 0, 1]])
    np.testing.assert_allclose(found.origin[:3, :3], z @ y @ x, atol=1e-12)
    np.testing.assert_array_equal(found.origin[:3, 3], [1, 2, 3])
    np.testing.assert_array_equal(found.axis, [1, 0, 0])  # the default


def test_collision_geometry_is_read():
    geometry = (
        '<collision><origin xyz="0 0 1"/><geometry><box size="1 2 3"/></geometry></collision>'
        '<collision><geometry><cylinder radius="0.1" length="2"/></geometry></collision>'
        '<collision><geometry><sphere radius="0.2"/></geometry></collision>'
        '<collision><geometry><mesh filename="package://p/m.stl"/></geometry></collision>'
    )
    link = parse(f'<robot name="r"><link name="a">{geometry}</link></robot>').links['a']
    assert [(c.kind, c.size) for c in link] == [
        ('box', (1, 2, 3)),
        ('cylinder', (0.1, 2)),
        ('sphere', (0.2,)),
        ('mesh', (1, 1, 1)),
    ]
    assert link[0].origin[2, 3] == 1
    assert link[3].file == 'package://p/m.stl'


LOOP = [joint('j', 'a', 'b'), joint('k', 'b', 'c'), joint('l', 'c', 'b')]
MIMICS = '<mimic joint="{}"/>'


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('<robot', r'is no XML'),
        ('', r'is no XML'),
        ('<model name="r"/>', r'outermost element is <model>, not <robot>'),
        ('<robot name="r"/>', r'has no link'),
        ('<!DOCTYPE r [<!ENTITY a "b">]><robot name="&a;"/>', r'line 1 has a DOCTYPE'),
        ('<robot name="${n}"/>', r'a xacro file; expand it: `ros2 run xacro xacro FILE > robot'),
        (robot('<xacro:arm/>').replace('<robot', '<robot xmlns:xacro="x"'), r'a xacro file'),
        ('<a>' * 65, r'nested more than 64 deep'),
        (robot(joint('j', 'z', 'b'), links='b'), r"'j' has the parent 'z', which is no link"),
        (robot(joint('j', 'b', 'z'), links='b'), r"'j' has the child 'z', which is no link"),
        (robot(joint('j', '', 'b')), r"joint 'j' has no parent link"),
        (robot(joint('j', 'a', 'c'), joint('k', 'b', 'c')), r"'c' has two parents, 'a' by joint"),
        (robot(joint('j', 'a', 'b')), r'2 links without a parent \(a, c\)'),
        (robot(joint('j', 'a', 'b'), joint('k', 'b', 'a'), links='abc'), r'form a loop \(j, k\)'),
        (robot(joint('j', 'a', 'b'), joint('j', 'a', 'c')), r"joint 'j' is there twice"),
        (robot(links='aa'), r"link 'a' is there twice"),
        (robot(joint('j', 'a', 'b', 'floating'), links='ab'), r"'floating', which joint st"),
        (robot(joint('j', 'a', 'b', inside='<axis xyz="0 0 0"/>'), links='ab'), r'axis of zeros'),
        (robot(joint('j', 'a', 'b', inside='<origin xyz="nan 0 0"/>'), links='ab'), r'nan 0 0'),
        (robot(joint('j', 'a', 'b', inside='<origin rpy="0 0"/>'), links='ab'), r'expected 3 num'),
        (robot(joint('j', 'a', 'b', inside=MIMICS.format('x')), links='ab'), r"mimics 'x', whi"),
        (
            robot(
                joint('j', 'a', 'b', inside=MIMICS.format('k')),
                joint('k', 'b', 'c', inside=MIMICS.format('j')),
            ),
            r'mimic each other in a circle: j, k',
        ),
    ],
)  # fmt: skip
def test_a_fault_is_named(text, problem):
    with pytest.raises(
        SourceError, match=rf'URDF cannot be used \(.*{problem}.*expected the URDF'
    ):
        parse(text)


def test_a_mimic_of_a_mimic_is_followed_and_told(caplog):
    text = robot(
        joint('j', 'a', 'b'),
        joint('k', 'b', 'c', inside='<mimic joint="j" multiplier="2" offset="1"/>'),
        joint('l', 'c', 'd', inside='<mimic joint="k" multiplier="3" offset="5"/>'),
        links='abcd',
    )
    parse(text)
    assert "joint 'l' mimics 'k', which itself mimics another" in caplog.text
    assert 'l follows k follows j is used' in caplog.text


def test_a_urdf_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / 'robot.urdf'
    path.write_bytes(b' ' * 50_000_000)
    with pytest.raises(SourceError, match=r'it has 50 MB, expected 8 or less; .*max_urdf_mb=50'):
        read_urdf(path)
    with pytest.raises(SourceError, match='it has 50 MB, expected 8 or less'):
        parse_urdf(path.read_bytes(), 'URDF')


def test_many_elements_are_refused(monkeypatch):
    monkeypatch.setattr('keypoint_perception.robot.safe_xml.MOST_ELEMENTS', 3)
    with pytest.raises(SourceError, match='exceeds the 3 elements'):
        parse(robot())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r'robot.urdf. cannot be read \(No such file'):
        read_urdf(tmp_path / 'robot.urdf')
