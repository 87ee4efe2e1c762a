"""
A small simulated arm, seen by one camera: PyBullet's dynamics and its software renderer.

It needs neither OpenGL nor a screen. The arm (``arm.urdf``) has three vertical joints, so its tip
moves in a plane above the table. The camera views the table from one side, so neither the plane
nor the joints are aligned with the image axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keypoint_perception.errors import PerceptionError
import numpy as np

MODEL = Path(__file__).with_name('arm.urdf')
STEP_S = 1 / 240
# Objects in the scene: half extents in m, position in m, colour. The table fills the image.
ROOM = (
    ((1.5, 1.5, 0.02), (0.2, 0.0, -0.02), (0.62, 0.50, 0.38, 1)),
    ((0.30, 0.22, 0.002), (0.42, -0.12, 0.002), (0.70, 0.68, 0.60, 1)),
    ((0.08, 0.05, 0.04), (-0.20, 0.36, 0.04), (0.45, 0.42, 0.55, 1)),
    ((0.05, 0.05, 0.05), (0.62, 0.36, 0.05), (0.62, 0.60, 0.30, 1)),
    ((0.06, 0.09, 0.02), (-0.16, -0.30, 0.02), (0.35, 0.45, 0.45, 1)),
)


class SimulatorError(PerceptionError):
    """The simulator is missing, or its model cannot be used."""


@dataclass(frozen=True)
class Camera:
    """
    A pinhole camera without distortion.

    :param eye: its position, m
    :param target: the point it looks at, m
    :param fov_deg: vertical field of view
    :param size: width and height, px
    """

    eye: tuple[float, float, float] = (0.10, -0.63, 1.06)
    target: tuple[float, float, float] = (0.15, -0.04, 0.08)
    fov_deg: float = 50.0
    size: tuple[int, int] = (320, 240)

    @property
    def focal_px(self) -> float:
        """Return the focal length, px, equal in both directions."""
        return self.size[1] / 2 / float(np.tan(np.radians(self.fov_deg) / 2))

    @property
    def axes(self) -> np.ndarray:
        """Return the world directions right, down and forward as the rows of (3, 3)."""
        forward = np.subtract(self.target, self.eye)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward])

    def to_optical(self, point) -> np.ndarray:
        """Transform a world point to the optical frame (x right, y down, z forward), m."""
        return self.axes @ np.subtract(point, self.eye)

    def project(self, point) -> tuple[float, float]:
        """
        Project a world point into the image.

        :return: u, v in px; integers are pixel centres
        """
        x, y, z = self.to_optical(point)
        width, height = self.size
        scale = self.focal_px / z
        return float((width - 1) / 2 + scale * x), float((height - 1) / 2 + scale * y)


class Arm:
    """
    The arm in its scene.

    :param joints: initial angles, rad; the middle of the limits by default
    :raises SimulatorError: if PyBullet is not installed
    """

    def __init__(self, camera: Camera | None = None, joints: np.ndarray | None = None) -> None:
        bullet = load_bullet()
        self.camera = Camera() if camera is None else camera
        self._bullet = bullet
        self._world = bullet.connect(bullet.DIRECT)
        bullet.setGravity(0, 0, -9.81, physicsClientId=self._world)
        bullet.setTimeStep(STEP_S, physicsClientId=self._world)
        self._furnish()
        flags = bullet.URDF_USE_MATERIAL_COLORS_FROM_MTL
        self._body = bullet.loadURDF(
            str(MODEL), useFixedBase=True, flags=flags, physicsClientId=self._world
        )
        self._read_joints()
        self._views = self._camera_matrices()
        self.place(self.limits.mean(axis=1) if joints is None else joints)

    def _furnish(self) -> None:
        for half, place, colour in ROOM:
            shape = self._bullet.createVisualShape(
                self._bullet.GEOM_BOX,
                halfExtents=half,
                rgbaColor=colour,
                specularColor=(0.1, 0.1, 0.1),
                physicsClientId=self._world,
            )
            self._bullet.createMultiBody(
                baseVisualShapeIndex=shape, basePosition=place, physicsClientId=self._world
            )

    def _read_joints(self) -> None:
        count = self._bullet.getNumJoints(self._body, physicsClientId=self._world)
        found = [
            self._bullet.getJointInfo(self._body, i, physicsClientId=self._world)
            for i in range(count)
        ]
        moving = [joint for joint in found if joint[2] == self._bullet.JOINT_REVOLUTE]
        self.names = tuple(joint[1].decode() for joint in moving)
        self.limits = np.array([joint[8:10] for joint in moving])  # (J, 2) rad
        self.forces = [joint[10] for joint in moving]
        self.fastest = [joint[11] for joint in moving]
        self._indices = [joint[0] for joint in moving]
        self._tip = next(joint[0] for joint in found if joint[1] == b'tip')

    def _camera_matrices(self) -> dict:
        width, height = self.camera.size
        return {
            'viewMatrix': self._bullet.computeViewMatrix(
                self.camera.eye, self.camera.target, (0, 0, 1)
            ),
            'projectionMatrix': self._bullet.computeProjectionMatrixFOV(
                self.camera.fov_deg, width / height, 0.05, 5.0
            ),
        }

    @property
    def joints(self) -> np.ndarray:
        """Return the joint angles, (J,) rad."""
        states = self._bullet.getJointStates(
            self._body, self._indices, physicsClientId=self._world
        )
        return np.array([state[0] for state in states])

    @property
    def tip(self) -> np.ndarray:
        """Return the tip's position in the world, (3,) m."""
        state = self._bullet.getLinkState(
            self._body, self._tip, computeForwardKinematics=True, physicsClientId=self._world
        )
        return np.array(state[4])

    def place(self, joints: np.ndarray) -> None:
        """Set the joints instantly, at rest."""
        for index, angle in zip(self._indices, joints, strict=True):
            self._bullet.resetJointState(self._body, index, angle, physicsClientId=self._world)
        self.command(joints)

    def command(self, joints: np.ndarray) -> None:
        """Set the motor targets, rad, clipped to the limits."""
        goals = np.clip(joints, self.limits[:, 0], self.limits[:, 1])
        for index, goal, force, speed in zip(
            self._indices, goals, self.forces, self.fastest, strict=True
        ):
            self._bullet.setJointMotorControl2(
                self._body,
                index,
                self._bullet.POSITION_CONTROL,
                targetPosition=goal,
                force=force,
                maxVelocity=speed,
                physicsClientId=self._world,
            )

    def advance(self, seconds: float) -> None:
        """Advance the simulation."""
        for _ in range(round(seconds / STEP_S)):
            self._bullet.stepSimulation(physicsClientId=self._world)

    def picture(self) -> np.ndarray:
        """Render the camera image, (H, W, 3) uint8 RGB."""
        width, height = self.camera.size
        rgba = self._bullet.getCameraImage(
            width,
            height,
            **self._views,
            lightDirection=(-0.4, -0.6, 1.4),
            shadow=0,
            renderer=self._bullet.ER_TINY_RENDERER,
            physicsClientId=self._world,
        )[2]
        return np.ascontiguousarray(np.reshape(rgba, (height, width, 4))[..., :3], np.uint8)

    def close(self) -> None:
        """Release the simulator."""
        self._bullet.disconnect(physicsClientId=self._world)


def load_bullet():
    """
    Return PyBullet.

    :raises SimulatorError: if it is not installed
    """
    try:
        import pybullet
    except ImportError as error:
        msg = (
            f'The simulator PyBullet cannot be imported ({error}); install it with '
            "`pip install -e '.[examples]'`, on Python 3.10 or 3.11; there are no other wheels."
        )
        raise SimulatorError(msg) from error
    return pybullet
