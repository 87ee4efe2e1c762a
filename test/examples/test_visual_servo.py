"""The controller's mathematics, on an arm whose Jacobian is known."""

from __future__ import annotations

from examples.visual_servo import Exploration, ImageJacobian, JointHistory, Progress, Servo
import numpy as np
import pytest

LIMITS = np.array([[-1.7, 0.8], [0.35, 2.1], [-1.2, 1.2]])
LENGTHS = (90.0, 75.0, 55.0)


def tip(joints: np.ndarray) -> np.ndarray:
    """Return where a planar arm's tip is on a picture that is turned, mirrored and squeezed."""
    angles = np.cumsum(joints)
    x, y = np.dot(LENGTHS, np.cos(angles)), np.dot(LENGTHS, np.sin(angles))
    return np.array([160 + 0.8 * x + 0.3 * y, 120 + 0.2 * x - 0.7 * y])


def jacobian(joints: np.ndarray) -> np.ndarray:
    steps = 1e-6 * np.eye(3)
    return np.array([(tip(joints + s) - tip(joints - s)) / 2e-6 for s in steps]).T


def test_moves_give_the_jacobian_by_least_squares():
    matrix = np.array([[3.0, -1.0, 0.5], [0.0, 2.0, 4.0]])
    moves = np.array([[0.1, 0, 0], [0, 0.2, 0], [0, 0, -0.1], [0.1, 0.1, 0.1]])
    found = ImageJacobian.from_moves(moves, moves @ matrix.T)
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-12)


def test_broydens_update_corrects_along_the_move_only():
    estimate = ImageJacobian(np.zeros((2, 3)), alpha=0.5)
    assert estimate.update(np.array([0.2, 0.0, 0.0]), np.array([4.0, -2.0]))
    # half of 4 / 0.2 and -2 / 0.2 in the column of the joint that moved
    np.testing.assert_allclose(estimate.matrix, [[10.0, 0, 0], [-5.0, 0, 0]])


def test_observations_that_say_nothing_are_left_out():
    estimate = ImageJacobian(np.ones((2, 3)), least_rad=0.02, most_px=25.0)
    assert not estimate.update(np.array([0.01, 0.01, 0.0]), np.array([4.0, 4.0]))
    assert not estimate.update(np.array([0.1, 0.0, 0.0]), np.array([26.0, 0.0]))
    np.testing.assert_array_equal(estimate.matrix, np.ones((2, 3)))


def test_a_move_takes_its_share_of_the_error_away():
    servo = Servo(LIMITS, gain=1.0, fastest=10.0, damping=1e-3, centring=0.0)
    joints = np.array([-0.5, 1.2, 0.0])
    matrix = np.array([[100.0, 0.0, 0.0], [0.0, 50.0, 0.0]])
    move = servo.move(matrix, np.array([10.0, -5.0]), joints, 0.5)
    np.testing.assert_allclose(move, [0.05, -0.05, 0.0], atol=1e-6)


def test_the_fastest_joint_keeps_the_speed_and_the_direction_stays():
    servo = Servo(LIMITS, gain=1.0, fastest=0.5, damping=1e-3, centring=0.0)
    matrix = np.array([[100.0, 0.0, 0.0], [0.0, 100.0, 0.0]])
    move = servo.move(matrix, np.array([200.0, 100.0]), np.array([-0.5, 1.2, 0.0]), 0.1)
    np.testing.assert_allclose(move, [0.05, 0.025, 0.0], atol=1e-6)


def test_a_joint_at_its_limit_stays_and_others_do_its_work():
    servo = Servo(LIMITS, gain=1.0, fastest=10.0, damping=1e-3, centring=0.0, margin=0.0)
    matrix = np.array([[100.0, 100.0, 0.0], [0.0, 0.0, 100.0]])
    joints = np.array([0.8, 1.2, 0.0])
    move = servo.move(matrix, np.array([10.0, 0.0]), joints, 1.0)
    np.testing.assert_allclose(move, [0.0, 0.1, 0.0], atol=1e-5)
    np.testing.assert_allclose(servo.move(matrix, np.array([-10.0, 0]), joints, 1.0)[0], -0.05)


def test_joints_that_are_free_go_to_the_middle_and_the_point_stays():
    servo = Servo(LIMITS, damping=1e-3, centring=0.2)
    joints = np.array([0.3, 0.6, 1.0])
    exact = jacobian(joints)
    move = servo.move(exact, np.zeros(2), joints, 1.0)
    assert np.linalg.norm(exact @ move) < 1e-3
    centre = LIMITS.mean(axis=1)
    assert np.linalg.norm(joints + move - centre) < np.linalg.norm(joints - centre)


def test_exploration_waits_for_every_pose_and_finds_the_jacobian():
    home = np.array([0.5, 1.0, 0.0])
    exploration = Exploration(home, LIMITS, step_rad=0.01, near_rad=0.001, pictures=2)
    joints, found, goals = home, None, []
    while found is None:
        if not any(np.array_equal(exploration.goal, goal) for goal in goals):
            goals.append(exploration.goal)
        joints = joints + np.clip(exploration.goal - joints, -0.004, 0.004)
        found = exploration.observe(joints, tip(joints))
    # away from the upper limit of the first joint, which is the nearer one
    np.testing.assert_allclose(goals[1] - home, [-0.01, 0, 0])
    assert len(goals) == 4
    np.testing.assert_allclose(found.matrix, jacobian(home), rtol=0.02, atol=1.0)


def test_exploration_goes_on_when_a_joint_is_blocked():
    home = np.array([-0.5, 1.0, 0.0])
    exploration = Exploration(home, LIMITS, pictures=1, patience=5)
    for _ in range(100):
        joints = exploration.goal.copy()
        joints[2] = 0.0  # does not move
        found = exploration.observe(joints, tip(joints))
        if found is not None:
            break
    np.testing.assert_allclose(found.matrix[:, 2], 0.0, atol=1e-9)
    np.testing.assert_allclose(found.matrix[:, :2], jacobian(home)[:, :2], rtol=0.2, atol=10)


class FakeArm:
    """Joints that go where they are told at once, and a tip that is seen with noise."""

    def __init__(self, seed: int) -> None:
        self.joints = LIMITS.mean(axis=1)
        self.rng = np.random.default_rng(seed)

    def see(self) -> np.ndarray:
        return tip(self.joints) + self.rng.normal(0, 0.5, 2)

    def explore(self) -> ImageJacobian:
        exploration, found = Exploration(self.joints, LIMITS, pictures=1), None
        while found is None:
            self.joints = self.joints + np.clip(exploration.goal - self.joints, -0.05, 0.05)
            found = exploration.observe(self.joints, self.see())
        return found


@pytest.mark.parametrize('seed', range(3))
def test_the_loop_closes_on_a_curved_arm_with_noise(seed):
    arm, servo, progress, away = FakeArm(seed), Servo(LIMITS), Progress(), []
    estimate = arm.explore()
    for _ in range(10):
        target = tip(arm.rng.uniform(LIMITS[:, 0] + 0.1, LIMITS[:, 1] - 0.1))
        last, seen = arm.joints, arm.see()
        progress.restart()
        for _ in range(450):  # 30 s at 15 pictures a second
            uv = arm.see()
            if estimate.update(arm.joints - last, uv - seen):
                last, seen = arm.joints, uv
            distance = np.linalg.norm(target - uv)
            if distance > 3 and progress.is_stuck(distance, 1 / 15):
                estimate = arm.explore()
                last, seen = arm.joints, arm.see()
                progress.restart()
            move = servo.move(estimate.matrix, target - uv, arm.joints, 1 / 15)
            arm.joints = arm.joints + move
            assert (arm.joints >= LIMITS[:, 0]).all()
            assert (arm.joints <= LIMITS[:, 1]).all()
        away.append(np.linalg.norm(tip(arm.joints) - target))
    assert max(away) < 4.0, away


def test_what_comes_no_nearer_is_stuck():
    progress = Progress(patience_s=1.0, share=0.9)
    assert not any(progress.is_stuck(away, 0.5) for away in (100.0, 89.0, 81.0, 81.0))
    # 81 is not below 0.9 x 89, so 1 s has passed since; from 80.1 on it would have been nearer
    assert progress.is_stuck(81.0, 0.1)
    assert not progress.is_stuck(80.0, 0.1)
    progress.restart()
    assert not progress.is_stuck(500.0, 0.5)


def test_angles_are_those_of_the_pictures_time():
    history = JointHistory(length=3, slack_s=0.2)
    assert history.at(0) is None
    for stamp, angle in ((100, 1.0), (200, 2.0), (300, 4.0), (400, 8.0)):
        history.add(stamp, np.array([angle, -angle]))
    np.testing.assert_array_equal(history.at(350), [6.0, -6.0])
    np.testing.assert_array_equal(history.at(300), [4.0, -4.0])
    np.testing.assert_array_equal(history.at(10_000), [8.0, -8.0])
    assert history.at(199) is None, 'only three readings are kept'
    assert history.at(400 + 200_000_001) is None, 'a picture long after the last reading'


def test_a_clock_that_goes_back_starts_anew():
    history = JointHistory()
    history.add(500, np.array([1.0]))
    history.add(100, np.array([2.0]))
    np.testing.assert_array_equal(history.latest, [2.0])
    np.testing.assert_array_equal(history.at(100), [2.0])
    assert history.at(99) is None
