"""Forward kinematics: joints that follow others, and what is not known."""

from keypoint_perception.robot.kinematics import place_links
from keypoint_perception.robot.urdf import parse_urdf
import numpy as np
import pytest
from robot_bags import URDF

ARM = parse_urdf(URDF.encode(), 'URDF')
CHAIN = """<robot name="r"><link name="a"/><link name="b"/><link name="c"/><link name="d"/>
<joint name="j" type="prismatic"><parent link="a"/><child link="b"/><axis xyz="0 0 1"/></joint>
<joint name="k" type="prismatic"><parent link="a"/><child link="c"/><axis xyz="0 1 0"/>
<mimic joint="j" multiplier="2" offset="1"/></joint>
<joint name="l" type="prismatic"><parent link="a"/><child link="d"/>
<mimic joint="k" multiplier="3" offset="5"/></joint></robot>"""


def test_joints_turn_and_slide_for_all_times():
    positions = {
        'shoulder': np.array([0, np.pi / 2]),
        'elbow': np.array([np.pi / 2, np.pi / 2]),
        'slide': np.array([0.1, 0.2]),
    }
    links = place_links(ARM, positions)
    np.testing.assert_allclose(links['fore'][:, :3, 3], [[0.4, 0, 0.1], [0, 0.4, 0.1]], atol=1e-12)
    np.testing.assert_allclose(
        links['tip'][:, :3, 3], [[0.4, 0.4, 0.1], [-0.5, 0.4, 0.1]], atol=1e-12
    )
    np.testing.assert_allclose(links['tip'][0, :3, 0], [0, 1, 0], atol=1e-12)


def test_a_mimic_follows_unless_it_was_measured():
    zeros = {name: np.zeros(1) for name in ('shoulder', 'elbow')} | {'slide': np.array([0.1])}
    followed = place_links(ARM, zeros)['finger'][0, :3, 3]
    np.testing.assert_allclose(followed, [0.7, 0.05 + 0.01 - 0.05, 0.1], atol=1e-9)
    measured = place_links(ARM, zeros | {'finger_joint': np.array([0.02])})['finger'][0, :3, 3]
    np.testing.assert_allclose(measured, [0.7, 0.07, 0.1], atol=1e-9)


def test_a_mimic_of_a_mimic_multiplies_through():
    links = place_links(parse_urdf(CHAIN.encode(), 'URDF'), {'j': np.array([0.5])})
    assert links['c'][0, 1, 3] == pytest.approx(2 * 0.5 + 1)
    assert links['d'][0, 0, 3] == pytest.approx(3 * (2 * 0.5 + 1) + 5)


def test_what_is_after_an_unknown_joint_is_left_out():
    links = place_links(ARM, {'shoulder': np.zeros(1), 'slide': np.zeros(1)})
    assert list(links) == ['base', 'upper']
