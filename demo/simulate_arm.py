"""
Generate the recording of the demo: a robot arm that moves a cube, seen by one camera.

For maintainers; the recording ships with the repository. Requires MuJoCo and software OpenGL:

    pip install 'mujoco<4' && apt install libosmesa6
    MUJOCO_GL=osmesa python demo/simulate_arm.py

The motion is kinematic: smooth joint motions through random poses, and pick-and-place motions from
inverse kinematics. Every label is therefore exact, and the same seed generates the same recording
wherever the renderer is the same.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
import shutil

import cv2
import mujoco
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

HERE = Path(__file__).parent
TOPIC = '/camera/image/compressed'
HEIGHT, WIDTH = 120, 160
RATE_HZ = 10
EPISODES = 9
FRAMES_PER_EPISODE = 120
EPISODE_GAP_NS = 20_000_000_000
FIRST_STAMP_NS = 1_767_225_600_000_000_000
JPEG_QUALITY = 90

ARM = ('yaw', 'shoulder', 'elbow', 'wrist', 'roll')
LABELS = ('elbow', 'wrist', 'hand', 'finger_left', 'finger_right', 'cube')
OPEN, CLOSED = 0.016, 0.0
CUBE_HALF = 0.028
HOME = np.radians([0.0, -15.0, 95.0, 60.0, 0.0])


def noise(rng: np.random.Generator, size: int, octaves: int) -> np.ndarray:
    """Return smooth random values in [0, 1] with detail at several scales, (size, size)."""
    total = np.zeros((size, size), np.float32)
    for octave in range(1, octaves + 1):
        coarse = rng.random((2**octave + 1, 2**octave + 1), np.float32)
        total += cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) / 1.5**octave
    return (total - total.min()) / np.ptp(total)


def textures(rng: np.random.Generator) -> dict[str, bytes]:
    """Return a wooden table and a plastered wall as PNG files."""
    size = 512
    grain = np.sin(40 * noise(rng, size, 3) + np.linspace(0, 90, size)[:, None]) * 0.5 + 0.5
    wood = 0.7 * noise(rng, size, 5) + 0.3 * grain
    table = np.array([96, 128, 158]) + wood[..., None] * np.array([38, 42, 44]) - 20
    plaster = noise(rng, size, 6)
    wall = np.array([150, 142, 128]) + plaster[..., None] * np.array([52, 50, 56]) - 26
    stripes = (np.arange(size) // 64 % 2)[None, :, None] * np.array([14, 10, 6])
    images = {'table.png': table, 'wall.png': wall - stripes}
    return {
        name: cv2.imencode('.png', np.clip(image, 0, 255).astype(np.uint8))[1].tobytes()
        for name, image in images.items()
    }


class Workcell:
    """The arm, its cube and its camera."""

    def __init__(self, rng: np.random.Generator) -> None:
        path = HERE / 'arm.xml'
        self.model = mujoco.MjModel.from_xml_string(path.read_text(), textures(rng))
        self.data = mujoco.MjData(self.model)
        self.renderer = mujoco.Renderer(self.model, HEIGHT, WIDTH)
        self.rng = rng
        self.arm = [self.model.joint(name).qposadr[0] for name in ARM]
        self.fingers = [self.model.joint(f'finger_{s}').qposadr[0] for s in ('left', 'right')]
        self.cube = self.model.joint('cube').qposadr[0]
        self.limits = np.array([self.model.joint(name).range for name in ARM])
        self.in_hand: tuple[np.ndarray, np.ndarray] | None = None

    def pose(self, joints: np.ndarray, opening: float) -> None:
        """Set the arm's pose; a grasped cube moves with it."""
        self.data.qpos[self.arm] = joints
        self.data.qpos[self.fingers] = opening
        mujoco.mj_kinematics(self.model, self.data)
        if self.in_hand is not None:
            offset, rotation = self.in_hand
            hand = self.data.site('grip')
            turned = hand.xmat.reshape(3, 3)
            quaternion = np.empty(4)
            mujoco.mju_mat2Quat(quaternion, (turned @ rotation).ravel())
            self.place_cube(hand.xpos + turned @ offset, quaternion)
        mujoco.mj_forward(self.model, self.data)

    def place_cube(self, position: np.ndarray, quaternion: np.ndarray) -> None:
        """Place the cube."""
        self.data.qpos[self.cube : self.cube + 3] = position
        self.data.qpos[self.cube + 3 : self.cube + 7] = quaternion

    def grasp(self) -> None:
        """Attach the cube to the hand in its current pose."""
        hand, cube = self.data.site('grip'), self.data.site('cube')
        turned = hand.xmat.reshape(3, 3).T
        self.in_hand = (turned @ (cube.xpos - hand.xpos), turned @ cube.xmat.reshape(3, 3))

    def reach(self, target: np.ndarray) -> np.ndarray:
        """Solve for joints with the grip at ``target``, pointing down, by least squares."""
        joints = HOME.copy()
        joints[0] = np.arctan2(target[1], target[0])
        jacobian_p = np.empty((3, self.model.nv))
        jacobian_r = np.empty((3, self.model.nv))
        site = self.model.site('grip').id
        held, self.in_hand = self.in_hand, None
        dofs = [self.model.joint(name).dofadr[0] for name in ARM[:4]]
        for _ in range(200):
            self.pose(joints, OPEN)
            hand = self.data.site('grip')
            pointing = hand.xmat.reshape(3, 3)[:, 2]
            error = np.concatenate([target - hand.xpos, 0.3 * np.cross(pointing, [0, 0, -1.0])])
            mujoco.mj_jacSite(self.model, self.data, jacobian_p, jacobian_r, site)
            jacobian = np.vstack([jacobian_p, 0.3 * jacobian_r])[:, dofs]
            damped = jacobian.T @ jacobian + 1e-4 * np.eye(4)
            joints[:4] += np.clip(np.linalg.solve(damped, jacobian.T @ error), -0.2, 0.2)
            joints = np.clip(joints, *self.limits.T)
        self.in_hand = held
        return joints

    def picture(self) -> np.ndarray:
        """Render the camera image with sensor noise, (H, W, 3) uint8 RGB."""
        self.renderer.update_scene(self.data, camera='workcell')
        image = self.renderer.render().astype(np.float32)
        image += self.rng.normal(0.0, 0.7, image.shape)
        return np.clip(image.round(), 0, 255).astype(np.uint8)

    def project(self, site: str) -> tuple[float, float]:
        """Project a site into the image: u, v in px; integers are pixel centres."""
        camera = self.data.camera('workcell')
        local = camera.xmat.reshape(3, 3).T @ (self.data.site(site).xpos - camera.xpos)
        focal_px = HEIGHT / 2 / np.tan(np.radians(self.model.camera('workcell').fovy[0]) / 2)
        right, up = focal_px * local[:2] / -local[2]
        return WIDTH / 2 - 0.5 + right, HEIGHT / 2 - 0.5 - up


def random_pose(cell: Workcell, rng: np.random.Generator) -> np.ndarray:
    """Return joints for a random pose of the hand above the table."""
    low = np.radians([-75, -12, 55, 10, -80])
    high = np.radians([75, 45, 115, 90, 80])
    held, cell.in_hand = cell.in_hand, None
    while True:
        joints = rng.uniform(low, high)
        cell.pose(joints, OPEN)
        if cell.data.site('grip').xpos[2] > 0.10:
            cell.in_hand = held
            return joints


def random_spot(rng: np.random.Generator) -> np.ndarray:
    """Return a reachable and visible position for the cube on the table."""
    radius, angle = rng.uniform(0.30, 0.48), rng.uniform(-1.1, 0.9)
    return np.array([radius * np.cos(angle), radius * np.sin(angle), CUBE_HALF])


def plan(cell: Workcell, rng: np.random.Generator) -> list[tuple]:
    """Return the waypoints of an episode: (joints, opening, frames, action on arrival)."""
    steps = [(random_pose(cell, rng), OPEN, 12, '')]
    spot = cell.data.qpos[cell.cube : cell.cube + 3].copy()
    above = np.array([0, 0, 0.13])
    while sum(step[2] for step in steps) < FRAMES_PER_EPISODE + 12:
        place = random_spot(rng)
        turn = rng.uniform(-0.6, 0.6)

        def reached(target: np.ndarray, roll: float = 0.0) -> np.ndarray:
            return np.append(cell.reach(target)[:4], roll)

        steps += [
            (reached(spot + above, turn), OPEN, 13, ''),
            (reached(spot, turn), OPEN, 7, ''),
            (reached(spot, turn), CLOSED, 3, 'grasp'),
            (reached(spot + above), CLOSED, 7, ''),
            (random_pose(cell, rng), CLOSED, 14, ''),
            (reached(place + above, turn), CLOSED, 13, ''),
            (reached(place, turn), CLOSED, 7, ''),
            (reached(place, turn), OPEN, 3, 'release'),
            (reached(place + above), OPEN, 7, ''),
            (random_pose(cell, rng), OPEN, 14, ''),
        ]
        spot = place
    return steps


def ease(fraction: float) -> float:
    """Return the minimum-jerk profile from 0 to 1."""
    return fraction**3 * (10 - 15 * fraction + 6 * fraction**2)


def motion(cell: Workcell, rng: np.random.Generator):
    """Move the arm through one episode; yield after every frame."""
    cell.in_hand = None
    cell.place_cube(random_spot(rng), np.array([1.0, 0, 0, 0]))
    joints, opening, frames = random_pose(cell, rng), OPEN, 0
    for target, target_opening, length, arrival in plan(cell, rng):
        for i in range(1, length + 1):
            share = ease(i / length)
            cell.pose(
                joints + share * (target - joints), opening + share * (target_opening - opening)
            )
            yield
            frames += 1
            if frames == FRAMES_PER_EPISODE:
                return
        joints, opening = target, target_opening
        if arrival == 'grasp':
            cell.grasp()
        elif arrival == 'release':
            cell.in_hand = None


def record(out: Path, annotations: Path, *, seed: int) -> int:
    """Write the recording and its labels; return the number of frames."""
    rng = np.random.default_rng(seed)
    cell = Workcell(rng)
    lamp = cell.model.light('lamp').diffuse.copy()
    types = get_typestore(Stores.ROS2_JAZZY)
    compressed = types.types['sensor_msgs/msg/CompressedImage']
    header = types.types['std_msgs/msg/Header']
    time = types.types['builtin_interfaces/msg/Time']
    stamp_ns, count = FIRST_STAMP_NS, 0
    shutil.rmtree(out, ignore_errors=True)
    with (
        Writer(out, version=9, storage_plugin=StoragePlugin.MCAP) as bag,
        annotations.open('w', newline='') as stream,
    ):
        topic = bag.add_connection(TOPIC, compressed.__msgtype__, typestore=types)
        table = csv.writer(stream, lineterminator='\n')
        table.writerow(('stamp_ns', 'keypoint', 'u', 'v'))
        for _ in range(EPISODES):
            cell.model.light('lamp').diffuse[:] = lamp * rng.uniform(0.85, 1.1)
            for _ in motion(cell, rng):
                bgr = cv2.cvtColor(cell.picture(), cv2.COLOR_RGB2BGR)
                jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
                stamp = time(*divmod(stamp_ns, 1_000_000_000))
                message = compressed(header(stamp, 'camera_optical_frame'), 'jpeg', jpeg.ravel())
                bag.write(topic, stamp_ns, types.serialize_cdr(message, compressed.__msgtype__))
                for name in LABELS:
                    u, v = cell.project(name)
                    if -0.5 <= u < WIDTH - 0.5 and -0.5 <= v < HEIGHT - 0.5:
                        table.writerow((stamp_ns, name, f'{u:.2f}', f'{v:.2f}'))
                stamp_ns += 1_000_000_000 // RATE_HZ
                count += 1
            stamp_ns += EPISODE_GAP_NS
    return count


def main() -> None:
    """Generate the recording where the demo expects it."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--out', type=Path, default=HERE / 'arm')
    parser.add_argument('--annotations', type=Path, default=HERE / 'arm_annotations.csv')
    parser.add_argument('--seed', type=int, default=7)
    args = parser.parse_args()
    count = record(args.out, args.annotations, seed=args.seed)
    size_mb = sum(path.stat().st_size for path in args.out.iterdir()) / 1e6
    print(f'{count} frames, {size_mb:.1f} MB in {args.out}; labels in {args.annotations}')


if __name__ == '__main__':
    main()
