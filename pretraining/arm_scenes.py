"""
Scenes of arms in space: PyBullet's software renderer, in front of painted backgrounds.

The arms are chains of random boxes, cylinders and spheres, and models that PyBullet brings. The
Franka Panda is left out, so that recordings of it measure a robot never seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import math
from typing import Any

from examples.arm import load_bullet
import numpy as np

from pretraining.motion import swing
from pretraining.picture import Picture, POINTS
from pretraining.textures import background, colour

Array = np.ndarray
Rng = np.random.Generator

MODELS = (
    'kuka_iiwa/model.urdf',
    'xarm/xarm6_robot.urdf',
    'xarm/xarm6_with_gripper.urdf',
    'laikago/laikago.urdf',
    'quadruped/minitaur.urdf',
)
SUPERSAMPLED = 2


@contextmanager
def arm_scene(rng: Rng, hw: tuple[int, int]) -> Iterator[ArmScene]:
    """
    Make a scene in a world of its own.

    :param hw: of the final images; rendered images are twice as large
    :raises SimulatorError: if PyBullet is not installed
    """
    bullet = load_bullet()
    world = bullet.connect(bullet.DIRECT)
    try:
        yield ArmScene(rng, bullet, world, hw)
    finally:
        bullet.disconnect(world)


class ArmScene:
    """
    An arm, some boxes, a camera and a light.

    :ivar place: the background, (H, W, 3) float32 in [0, 1]
    """

    def __init__(self, rng: Rng, bullet: Any, world: int, hw: tuple[int, int]) -> None:
        self._rng, self._bullet, self._world = rng, bullet, world
        self._hw = (hw[0] * SUPERSAMPLED, hw[1] * SUPERSAMPLED)
        self.place = background(rng, self._hw)
        self._arm = self._random_arm() if rng.random() < 0.6 else self._known_arm()
        count = bullet.getNumJoints(self._arm, physicsClientId=world)
        joints = [bullet.getJointInfo(self._arm, i, physicsClientId=world) for i in range(count)]
        self._joints = [
            (joint[0], *_limits(joint))
            for joint in joints
            if joint[2] in (bullet.JOINT_REVOLUTE, bullet.JOINT_PRISMATIC)
        ]
        self._boxes = [self._box() for _ in range(rng.integers(0, 4))]
        self._size = self._extent()
        self._views = self._camera()
        self._lens = _matrices(self._views)
        self._light = (rng.normal(0, 1), rng.normal(0, 1), 1.0)
        self._ambient = rng.uniform(0.3, 0.7)
        self._points = self._random_points()

    def clip(self, times: Array) -> Iterator[Picture]:
        """Yield the frames of a clip; ``times`` in s."""
        rng, bullet, world = self._rng, self._bullet, self._world
        paths = [swing(rng, times) for _ in self._joints]
        for box in self._boxes:
            self._put(box, rng.uniform(-0.7, 0.7, 2), rng.uniform(0, math.pi))
        pushed = self._boxes[0] if self._boxes and rng.random() < 0.5 else None
        track = [0.6 * swing(rng, times) for _ in range(3)]
        for frame in range(len(times)):
            for (index, low, high), path in zip(self._joints, paths, strict=True):
                value = low + (high - low) * (0.5 + 0.4 * path[frame])
                bullet.resetJointState(self._arm, index, value, physicsClientId=world)
            if pushed is not None:
                x, y, turn = (float(values[frame]) for values in track)
                self._put(pushed, np.array([x, y]), 2 * turn)
            rgb, depth, owner = self._render()
            shown = (owner >= 0)[..., None]
            yield Picture(np.where(shown, rgb, self.place), self._seen(depth, owner))

    def _put(self, box: int, place: Array, angle: float) -> None:
        """Put a box on the floor; ``place`` is in sizes of the arm."""
        turned = self._bullet.getQuaternionFromEuler((0, 0, angle))
        place = (*(place * self._size).tolist(), 0.03 * self._size)
        self._bullet.resetBasePositionAndOrientation(
            box, place, turned, physicsClientId=self._world
        )

    def _known_arm(self) -> int:
        import pybullet_data

        rng, bullet = self._rng, self._bullet
        bullet.setAdditionalSearchPath(pybullet_data.getDataPath(), physicsClientId=self._world)
        name = str(rng.choice(MODELS))
        body = int(bullet.loadURDF(name, useFixedBase=True, physicsClientId=self._world))
        if rng.random() < 0.7:  # painted anew
            base = colour(rng)
            for link in range(-1, bullet.getNumJoints(body, physicsClientId=self._world)):
                shade = base if rng.random() < 0.7 else colour(rng)
                self._paint(body, link, shade)
        return body

    def _paint(self, body: int, link: int, shade: Array) -> None:
        rgba = (*(float(c) for c in shade), 1)
        self._bullet.changeVisualShape(body, link, rgbaColor=rgba, physicsClientId=self._world)

    def _random_arm(self) -> int:
        """Make a chain of 2 to 6 links with joints about random axes."""
        rng, bullet, world = self._rng, self._bullet, self._world
        count, size = int(rng.integers(2, 7)), rng.uniform(0.15, 0.3)
        base = colour(rng)
        shapes, places, axes = [], [], []
        reach = 0.05
        for index in range(count + 2):
            finger = index >= count
            length = size * rng.uniform(0.6, 1.4) * (0.4 if finger else 1)
            wide = size * rng.uniform(0.12, 0.3) * (0.3 if finger else 0.9**index)
            shade = base if rng.random() < 0.5 else colour(rng)
            shapes.append(self._shape(length, wide, shade))
            aside = (0.0 if not finger else wide * (1.5 if index == count else -1.5), 0.0)
            places.append((*aside, reach))
            axes.append([(0, 0, 1), (0, 1, 0), (1, 0, 0)][0 if index == 0 else rng.integers(3)])
            reach = length if not finger else reach
        parents = [*range(count), count, count]  # 0 is the base
        number = len(shapes)
        foot = self._shape(0.05, size * 0.5, colour(rng))
        return int(
            bullet.createMultiBody(
                baseMass=0,
                baseVisualShapeIndex=foot,
                linkMasses=[1] * number,
                linkCollisionShapeIndices=[-1] * number,
                linkVisualShapeIndices=shapes,
                linkPositions=places,
                linkOrientations=[(0, 0, 0, 1)] * number,
                linkInertialFramePositions=[(0, 0, 0)] * number,
                linkInertialFrameOrientations=[(0, 0, 0, 1)] * number,
                linkParentIndices=parents,
                linkJointTypes=[bullet.JOINT_REVOLUTE] * number,
                linkJointAxis=axes,
                physicsClientId=world,
            )
        )

    def _shape(self, length: float, wide: float, shade: Array) -> int:
        """Return a shape that stands on its joint."""
        bullet, rgba = self._bullet, (*(float(c) for c in shade), 1)
        middle = (0, 0, length / 2)
        kind = self._rng.choice(['box', 'cylinder', 'capsule'])
        options: dict[str, Any] = {'rgbaColor': rgba, 'visualFramePosition': middle}
        options['physicsClientId'] = self._world
        if kind == 'box':
            half = (wide / 2, wide / 2 * self._rng.uniform(0.5, 1.5), length / 2)
            return int(bullet.createVisualShape(bullet.GEOM_BOX, halfExtents=half, **options))
        shape = bullet.GEOM_CYLINDER if kind == 'cylinder' else bullet.GEOM_CAPSULE
        return int(bullet.createVisualShape(shape, radius=wide / 2, length=length, **options))

    def _box(self) -> int:
        half = tuple(self._rng.uniform(0.02, 0.07, 3).tolist())
        rgba = (*(float(c) for c in colour(self._rng)), 1)
        bullet, world = self._bullet, self._world
        shape = bullet.createVisualShape(
            bullet.GEOM_BOX, halfExtents=half, rgbaColor=rgba, physicsClientId=world
        )
        return int(bullet.createMultiBody(baseVisualShapeIndex=shape, physicsClientId=world))

    def _extent(self) -> float:
        """Return about how far the arm reaches from its base, m."""
        bullet, world, far = self._bullet, self._world, 0.3
        for index, low, high in self._joints:
            middle = (low + high) / 2
            bullet.resetJointState(self._arm, index, middle, physicsClientId=world)
            state = bullet.getLinkState(
                self._arm, index, computeForwardKinematics=True, physicsClientId=world
            )
            far = max(far, float(np.linalg.norm(state[4])))
        return far

    def _camera(self) -> dict[str, Any]:
        rng, bullet, size = self._rng, self._bullet, self._size
        around, above = rng.uniform(0, 2 * math.pi), rng.uniform(0.05, 1.4)
        away = size * rng.uniform(2.2, 4.0)
        eye = away * np.array(
            [
                math.cos(around) * math.cos(above),
                math.sin(around) * math.cos(above),
                math.sin(above),
            ]
        )
        target = np.array([0, 0, size * rng.uniform(0.2, 0.6)]) + rng.normal(0, 0.1 * size, 3)
        height, width = self._hw
        view = bullet.computeViewMatrix(eye.tolist(), target.tolist(), (0, 0, 1))
        self._range = 0.05, 4 * away
        lens = bullet.computeProjectionMatrixFOV(rng.uniform(30, 55), width / height, *self._range)
        return {'viewMatrix': view, 'projectionMatrix': lens}

    def _render(self) -> tuple[Array, Array, Array]:
        """Return RGB, depth as OpenGL has it, and the body and link of each pixel or -1."""
        height, width = self._hw
        found = self._bullet.getCameraImage(
            width,
            height,
            **self._views,
            lightDirection=self._light,
            lightAmbientCoeff=self._ambient,
            shadow=0,
            renderer=self._bullet.ER_TINY_RENDERER,
            flags=self._bullet.ER_SEGMENTATION_MASK_OBJECT_AND_LINKINDEX,
            physicsClientId=self._world,
        )
        rgb = np.reshape(found[2], (height, width, 4))[..., :3].astype(np.float32) / 255
        depth, owner = (np.reshape(found[i], (height, width)) for i in (3, 4))
        return rgb, depth, owner

    def _random_points(self) -> list[tuple[int, Array]]:
        """Return points on surfaces: body and link as the renderer numbers them, and x, y, z."""
        rng, points = self._rng, list[tuple[int, Array]]()
        for box in self._boxes:
            self._put(box, rng.uniform(-0.7, 0.7, 2), rng.uniform(0, math.pi))
        while len(points) < POINTS:
            for index, low, high in self._joints:
                value = rng.uniform(low, high)
                self._bullet.resetJointState(self._arm, index, value, physicsClientId=self._world)
            _, depth, owner = self._render()
            seen = np.argwhere(owner >= 0)
            for _ in range(POINTS // 4):
                if not len(seen):
                    points.append((-2, np.zeros(3)))  # never visible
                    continue
                row, column = seen[rng.integers(len(seen))]
                number = int(owner[row, column])
                world = self._unproject(row, column, float(depth[row, column]))
                points.append((number, np.linalg.inv(self._frame(number)) @ world))
        return points[:POINTS]

    def _seen(self, depth: Array, owner: Array) -> Array:
        points = np.zeros((POINTS, 3), np.float32)
        height, width = self._hw
        frames = {number: self._frame(number) for number, _ in self._points if number >= 0}
        for index, (number, place) in enumerate(self._points):
            if number < 0:
                continue
            clip = self._lens @ frames[number] @ place
            x, y, z = clip[:3] / clip[3]
            column, row = (x + 1) / 2 * width - 0.5, (1 - y) / 2 * height - 0.5
            inside = 0 <= column < width - 0.5 and 0 <= row < height - 0.5
            shown = False
            if inside:
                pixel = round(row), round(column)
                near = abs(self._depth_m((z + 1) / 2) - self._depth_m(float(depth[pixel])))
                shown = owner[pixel] == number and near < 0.03 * self._size
            points[index] = (column + 0.5) / width, (row + 0.5) / height, shown
        return points

    def _depth_m(self, depth: float) -> float:
        near, far = self._range
        return near * far / (far - (far - near) * depth)

    def _unproject(self, row: int, column: int, depth: float) -> Array:
        height, width = self._hw
        x, y = (column + 0.5) / width * 2 - 1, 1 - (row + 0.5) / height * 2
        place = np.linalg.inv(self._lens) @ (x, y, 2 * depth - 1, 1)
        return np.asarray(place / place[3])

    def _frame(self, number: int) -> Array:
        """Return the pose of a link, as the renderer numbers it, in the world, (4, 4)."""
        bullet, world = self._bullet, self._world
        body, link = number & ((1 << 24) - 1), (number >> 24) - 1
        if link < 0:
            place, turn = bullet.getBasePositionAndOrientation(body, physicsClientId=world)
        else:
            state = bullet.getLinkState(
                body, link, computeForwardKinematics=True, physicsClientId=world
            )
            place, turn = state[4], state[5]
        pose = np.eye(4)
        pose[:3, :3] = np.reshape(bullet.getMatrixFromQuaternion(turn), (3, 3))
        pose[:3, 3] = place
        return pose


def _matrices(views: dict[str, Any]) -> Array:
    """Return the map from the world to OpenGL's clip space, (4, 4)."""
    view, lens = (np.reshape(views[name], (4, 4)).T for name in ('viewMatrix', 'projectionMatrix'))
    return np.asarray(lens @ view)


def _limits(joint: Any) -> tuple[float, float]:
    """Return the limits of a joint, at most a turn; wide ones where it has none."""
    low, high = joint[8:10]
    if not low < high:
        return -1.2, 1.2
    return max(low, -2.0), min(high, 2.0)
