"""
The controller of the benchmark: notes when each cloud arrives, and what the node says of itself.

Its arguments are the topics. Reports are lines of JSON: ``ready`` when each topic has a
publisher; for each line on standard input, ``arrived``: for each topic the label, the stamp and
the arrival of every cloud since the last time, and the values of the newest diagnostics.
"""

from __future__ import annotations

import queue
import sys
import threading

from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.benchmarks.image_publisher import run, tell
from keypoint_perception.ros.installation import find_ros
import rclpy
from sensor_msgs.msg import PointCloud2


def main() -> None:
    """Receive until standard input ends."""
    find_ros()
    run(lambda: serve(sys.argv[1:]))


def serve(topics: list[str]) -> None:
    """Receive, and report when asked, until standard input ends."""
    node = rclpy.create_node('benchmark_receiver')
    arrived = {topic: [] for topic in topics}
    told: dict[str, str] = {}

    def note(topic: str, cloud: PointCloud2) -> None:
        stamp = cloud.header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        now_ns = node.get_clock().now().nanoseconds
        arrived[topic].append((cloud.header.frame_id, stamp_ns, now_ns))

    def listen(message: DiagnosticArray) -> None:
        told.update((v.key, v.value) for status in message.status for v in status.values)

    for topic in arrived:
        node.create_subscription(PointCloud2, topic, lambda c, topic=topic: note(topic, c), 10)
    node.create_subscription(DiagnosticArray, '/diagnostics', listen, 10)
    while not all(node.count_publishers(topic) for topic in arrived):
        rclpy.spin_once(node, timeout_sec=0.05)
    tell('ready')
    asked: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read_lines, args=(asked,), daemon=True).start()
    while True:
        rclpy.spin_once(node, timeout_sec=0.05)
        while not asked.empty():
            if not asked.get():
                return
            tell('arrived', clouds=arrived, diagnostics=told)
            for clouds in arrived.values():
                clouds.clear()


def read_lines(asked: queue.Queue[str]) -> None:
    """Hand over each line of standard input, and an empty one at its end."""
    for line in sys.stdin:
        asked.put(line)
    asked.put('')


if __name__ == '__main__':
    main()
