"""
Film the loop: image, keypoints, the controlled point with its path, and the target.

    python -m examples.film --video closed_loop.mp4 --picture closed_loop.jpg

Images, keypoints and landmarks are paired by their stamps, which are equal. The image that is
written at the end shows the last frame on the left and the paths to all targets on the right. A
line on stdin ends the film.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import select
import sys

import cv2
from examples.session import run_ros, spin_until
from examples.truth import DIAGONAL_PX
from geometry_msgs.msg import PointStamped
from keypoint_perception.drawing import draw_keypoints
from keypoint_perception.errors import PerceptionError
from keypoint_perception.ros.messages import from_point_cloud, to_rgb
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from sensor_msgs.msg import Image, PointCloud2

SCALE = 2
RATE_HZ = 15.0
WITHIN_PX = 0.03 * DIAGONAL_PX
# Frames that wait for their keypoints and landmarks.
WAITING = 60
WHITE, DARK, GOLD, GREEN = (255, 255, 255), (20, 20, 20), (255, 205, 40), (60, 220, 120)


def enlarged(uv) -> tuple[int, int]:
    """Convert image coordinates, px, to the canvas, which is SCALE times larger."""
    u, v = ((p + 0.5) * SCALE - 0.5 for p in uv)
    return round(float(u)), round(float(v))


def draw_line(canvas: np.ndarray, places: list, colour, width: int = 2) -> None:
    """Draw a path through points (2,) px."""
    points = np.array([enlarged(uv) for uv in places], np.int32)
    if len(points) > 1:
        cv2.polylines(canvas, [points], False, DARK, width + 2, cv2.LINE_AA)
        cv2.polylines(canvas, [points], False, colour, width, cv2.LINE_AA)


def draw_target(canvas: np.ndarray, uv, colour=WHITE, name: str = '') -> None:
    """Draw a cross in a circle; the circle counts as reached."""
    centre = enlarged(uv)
    for ink, width in ((DARK, 4), (colour, 2)):
        cv2.circle(canvas, centre, round(WITHIN_PX * SCALE), ink, width, cv2.LINE_AA)
        cv2.drawMarker(canvas, centre, ink, cv2.MARKER_CROSS, 14, width, cv2.LINE_AA)
    if name:
        write(canvas, name, (centre[0] + round(WITHIN_PX * SCALE) + 4, centre[1] + 5), 0.5)


def write(canvas: np.ndarray, text: str, corner: tuple[int, int], size: float = 0.6) -> None:
    """Write text with a dark outline."""
    shifts = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]
    for dx, dy in [*shifts, (0, 0)]:
        place, ink = (corner[0] + dx, corner[1] + dy), DARK if dx or dy else WHITE
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)


def draw_scene(rgb, keypoints, tip, target, way, title: str) -> np.ndarray:
    """
    Return a frame of the film.

    :param rgb: (H, W, 3) uint8
    :param keypoints: u, v in px and confidence, (K, 3)
    :param tip: the same for the controlled point, (3,)
    :param target: (2,) px, None before the first
    :param way: positions (2,) px of the point since the target was set
    :return: (SCALE * H, SCALE * W, 3) uint8
    """
    canvas = draw_keypoints(rgb, keypoints, threshold=0.3, scale=SCALE)
    draw_line(canvas, way, GOLD)
    if target is not None:
        draw_target(canvas, target)
    if np.isfinite(tip[:2]).all():
        for ink, width in ((DARK, 5), (GOLD, 3)):
            cv2.circle(canvas, enlarged(tip[:2]), 11, ink, width, cv2.LINE_AA)
    write(canvas, title, (10, 24))
    return canvas


class Film(Node):
    """Pairs messages of equal stamps, draws them and writes the video."""

    def __init__(self, video: Path) -> None:
        super().__init__('film')
        self.count = 0
        self._part = video.with_name(f'.{video.stem}.part.mp4')
        self._video = video
        self._writer: cv2.VideoWriter | None = None
        self._waiting: dict[int, dict] = {}
        self.journeys: list[tuple[np.ndarray, list]] = []  # target and way
        self.last: tuple[np.ndarray, np.ndarray] | None = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(
            Image, 'image', lambda m: self._take('image', m), qos_profile_sensor_data
        )
        for name in ('keypoints', 'landmarks'):
            self.create_subscription(
                PointCloud2, name, lambda m, name=name: self._take(name, m), 10
            )
        self.create_subscription(PointStamped, '/servo_node/target', self._on_target, latched)

    def _on_target(self, target: PointStamped) -> None:
        self.journeys.append((np.array([target.point.x, target.point.y]), []))

    def _take(self, name: str, message) -> None:
        stamp = message.header.stamp
        stamp_ns = stamp.sec * 10**9 + stamp.nanosec
        frame = self._waiting.setdefault(stamp_ns, {})
        frame[name] = message
        if len(frame) == 3:
            del self._waiting[stamp_ns]
            self._draw(frame)
        while len(self._waiting) > WAITING:
            del self._waiting[min(self._waiting)]

    def _draw(self, frame: dict) -> None:
        rgb = to_rgb(frame['image'])
        points = from_point_cloud(frame['keypoints'])
        keypoints = np.stack([points['u'], points['v'], points['confidence']], axis=-1)
        seen = from_point_cloud(frame['landmarks'])[0]
        tip = np.array([seen['u'], seen['v'], seen['confidence']])
        target, way = self.journeys[-1] if self.journeys else (None, [])
        title = 'waiting'
        if target is not None:
            way.append(tip[:2])
            away = np.linalg.norm(tip[:2] - target) / DIAGONAL_PX * 100
            title = f'position {len(self.journeys)}: {away:.1f} % of the diagonal away'
        canvas = draw_scene(rgb, keypoints, tip, target, way, title)
        if self._writer is None:
            size = canvas.shape[1::-1]
            fourcc = cv2.VideoWriter_fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(self._part), fourcc, RATE_HZ, size)
            if not self._writer.isOpened():
                msg = (
                    f'This OpenCV build cannot write {str(self._video)!r}; install one with '
                    'ffmpeg support.'
                )
                raise PerceptionError(msg)
        self._writer.write(cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))
        self.last = (rgb, canvas)
        self.count += 1

    def finish(self) -> None:
        """Move the finished video to its final name."""
        if self._writer is not None:
            self._writer.release()
            self._part.replace(self._video)


def overview(rgb: np.ndarray, journeys: list[tuple[np.ndarray, list]]) -> np.ndarray:
    """Draw the paths to all targets, at the size of a video frame."""
    height, width = rgb.shape[:2]
    canvas = cv2.resize(rgb, (SCALE * width, SCALE * height), interpolation=cv2.INTER_LINEAR)
    canvas = np.ascontiguousarray((canvas * 0.6).astype(np.uint8))
    for _, way in journeys:
        draw_line(canvas, way, GOLD, 1)
    for number, (target, way) in enumerate(journeys, 1):
        reached = bool(way) and np.linalg.norm(way[-1] - target) <= WITHIN_PX
        draw_target(canvas, target, GREEN if reached else WHITE, str(number))
        if way:
            cv2.circle(canvas, enlarged(way[-1]), 5, GOLD, -1, cv2.LINE_AA)
    write(canvas, f'{len(journeys)} commanded positions', (10, 24))
    return canvas


def film(args: argparse.Namespace) -> None:
    """Film until stopped."""
    node = Film(args.video)
    spin_until(node, lambda: node.count > 0, 'image, keypoints and landmarks of one stamp')
    print(json.dumps({'event': 'matched'}), flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        rclpy.spin_once(node, timeout_sec=0.1)
    node.finish()
    rgb, canvas = node.last
    both = np.hstack([canvas, overview(rgb, node.journeys)])
    cv2.imwrite(
        str(args.picture), cv2.cvtColor(both, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )
    print(json.dumps({'event': 'written', 'count': node.count}), flush=True)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--video', type=Path, required=True, help='MP4 to write')
    parser.add_argument('--picture', type=Path, required=True, help='JPEG to write')
    args = parser.parse_args(rclpy.utilities.remove_ros_args(sys.argv)[1:])
    run_ros(lambda: film(args))


if __name__ == '__main__':
    main()
