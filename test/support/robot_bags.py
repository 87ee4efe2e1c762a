"""
Recordings of a planar arm before a camera that looks down on it.

The arm: base -(shoulder, revolute about z, 0.1 m above the base)- upper -(elbow, continuous about
z, 0.4 m along x)- fore -(slide, prismatic along x, 0.3 m along x)- tip, and beside it a finger
whose joint mimics the slide. The camera is 2 m above the base; its x is the base's, its y the
base's -y. So a point (x, y, z) of the base is at u = 79.5 + 100 x / (2 - z) and
v = 59.5 - 100 y / (2 - z).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores

URDF = """<?xml version="1.0"?>
<robot name="planar">
  <link name="base"/><link name="upper"/><link name="fore"/><link name="tip"/>
  <link name="finger"/>
  <joint name="shoulder" type="revolute">
    <parent link="base"/><child link="upper"/><origin xyz="0 0 0.1"/><axis xyz="0 0 1"/>
    <limit lower="-2" upper="2" effort="1" velocity="1"/>
  </joint>
  <joint name="elbow" type="continuous">
    <parent link="upper"/><child link="fore"/><origin xyz="0.4 0 0"/><axis xyz="0 0 2"/>
  </joint>
  <joint name="slide" type="prismatic">
    <parent link="fore"/><child link="tip"/><origin xyz="0.3 0 0"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="0.2" effort="1" velocity="1"/>
  </joint>
  <joint name="finger_joint" type="prismatic">
    <parent link="fore"/><child link="finger"/><origin xyz="0.3 0.05 0" rpy="0 0 1.5707963267949"/>
    <axis xyz="1 0 0"/><mimic joint="slide" multiplier="-0.5" offset="0.01"/>
  </joint>
</robot>
"""
IMAGE, INFO = '/cam/image_raw', '/cam/camera_info'
START_NS = 1_700_000_000_000_000_000
IMAGE_NS, JOINT_NS = 100_000_000, 10_000_000
HEIGHT, WIDTH = 120, 160
MATRIX = (100.0, 0, 79.5, 0, 100.0, 59.5, 0, 0, 1)
ABOVE = ((0.0, 0.0, 2.0), (1.0, 0.0, 0.0, 0.0))  # the camera in the base
JOINTS = ('shoulder', 'elbow', 'slide')


def angles_at(time_s: float) -> tuple[float, float, float]:
    """Return the positions of the joints, which change at constant rates."""
    return 0.5 * time_s - 0.2, 0.8 - 0.4 * time_s, 0.1 * time_s


def pixel_of(x: float, y: float, z: float) -> tuple[float, float]:
    """Return where the camera sees a point of the base."""
    return 79.5 + 100 * x / (2 - z), 59.5 - 100 * y / (2 - z)


class RobotBag:
    """
    Messages by topic, to be changed and written.

    :param images: number of images, 0.1 s apart
    :param delay_s: by how much the stamps of images are late
    """

    def __init__(self, images: int = 5, *, ros1: bool = False, delay_s: float = 0.0) -> None:
        self.ros1 = ros1
        self.types = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)
        if ros1:
            of_tf = 'geometry_msgs/TransformStamped[] transforms\n'
            self.types.register(get_types_from_msg(of_tf, 'tf2_msgs/msg/TFMessage'))
        self.rows: dict[str, list[tuple[int, object]]] = {}
        end_s = images * IMAGE_NS / 1e9
        self.add('/robot_description', START_NS, self.text(URDF))
        self.add('/tf_static', START_NS, self.transforms(('base', 'camera', *ABOVE)))
        for k in range(-5, round(end_s * 1e9 / JOINT_NS) + 5):
            positions = angles_at(k * JOINT_NS / 1e9)
            stamp_ns = START_NS + k * JOINT_NS
            self.add('/joint_states', stamp_ns, self.joint_state(stamp_ns, JOINTS, positions))
        for k in range(images):
            stamp_ns = START_NS + k * IMAGE_NS + round(delay_s * 1e9) + 3_000_000
            self.add(IMAGE, stamp_ns, self.image(stamp_ns))
            self.add(INFO, stamp_ns, self.camera_info(stamp_ns))

    def add(self, topic: str, time_ns: int, message: object) -> None:
        self.rows.setdefault(topic, []).append((time_ns, message))

    def write(self, path: Path, *, storage: str = 'mcap') -> Path:
        """Write the bag and return its path."""
        rows = [(t, topic, m) for topic, each in self.rows.items() for t, m in each]
        rows.sort(key=lambda row: row[0])
        connections: dict[str, object] = {}
        if self.ros1:
            writer = Writer1(path)
        else:
            plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
            writer = Writer(path, version=9, storage_plugin=plugin)
        serialise = self.types.serialize_ros1 if self.ros1 else self.types.serialize_cdr
        with writer:
            for time_ns, topic, message in rows:
                kind = message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=self.types)
                writer.write(connections[topic], time_ns, bytes(serialise(message, kind)))
        return path

    def header(self, stamp_ns: int, frame: str = '') -> object:
        stamp = self.types.types['builtin_interfaces/msg/Time'](*divmod(int(stamp_ns), 10**9))
        number = (0,) if self.ros1 else ()
        return self.types.types['std_msgs/msg/Header'](*number, stamp, frame)

    def text(self, text: str) -> object:
        return self.types.types['std_msgs/msg/String'](text)

    def joint_state(self, stamp_ns: int, names, positions) -> object:
        empty = np.zeros(0)
        return self.types.types['sensor_msgs/msg/JointState'](
            self.header(stamp_ns), list(names), np.array(positions, np.float64), empty, empty
        )

    def transforms(self, *edges, stamp_ns: int = START_NS) -> object:
        """Return a message of (parent, child, translation, quaternion)."""
        types = self.types.types
        found = []
        for parent, child, translation, rotation in edges:
            motion = types['geometry_msgs/msg/Transform'](
                types['geometry_msgs/msg/Vector3'](*translation),
                types['geometry_msgs/msg/Quaternion'](*rotation),
            )
            header = self.header(stamp_ns, parent)
            found.append(types['geometry_msgs/msg/TransformStamped'](header, child, motion))
        return types['tf2_msgs/msg/TFMessage'](found)

    def image(self, stamp_ns: int) -> object:
        pixels = np.zeros(HEIGHT * WIDTH, np.uint8)
        header = self.header(stamp_ns, 'camera')
        return self.types.types['sensor_msgs/msg/Image'](
            header, HEIGHT, WIDTH, 'mono8', 0, WIDTH, pixels
        )

    def camera_info(self, stamp_ns: int, k=MATRIX, d=()) -> object:
        types = self.types.types
        matrix, distortion = np.array(k, np.float64), np.array(d, np.float64)
        p = np.zeros(12)
        region = types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
        return types['sensor_msgs/msg/CameraInfo'](
            self.header(stamp_ns, 'camera'), HEIGHT, WIDTH, 'plumb_bob', distortion, matrix,
            np.eye(3).ravel(), p, 0, 0, region,
        )  # fmt: skip
