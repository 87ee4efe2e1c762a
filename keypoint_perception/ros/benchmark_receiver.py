"""
The controller of the benchmark: notes when each cloud arrives after its image's stamp.

Prints ``ready`` when each topic has a publisher, and at the end of standard input the latencies
in milliseconds by topic, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading

from keypoint_perception.ros.benchmark_publisher import MEASURED
from keypoint_perception.ros.installation import find_ros
import rclpy
from sensor_msgs.msg import PointCloud2


def main() -> None:
    """Receive until standard input ends."""
    find_ros()
    rclpy.init()
    node = rclpy.create_node('benchmark_receiver')
    latencies_ms = {topic: [] for topic in sys.argv[1:]}

    def note(topic: str, cloud: PointCloud2) -> None:
        now = node.get_clock().now().nanoseconds
        stamp = cloud.header.stamp
        if cloud.header.frame_id == MEASURED:
            age_ns = now - stamp.sec * 1_000_000_000 - stamp.nanosec
            latencies_ms[topic].append(age_ns / 1e6)

    for topic in latencies_ms:
        node.create_subscription(PointCloud2, topic, lambda c, topic=topic: note(topic, c), 10)
    while not all(node.count_publishers(topic) for topic in latencies_ms):
        rclpy.spin_once(node, timeout_sec=0.05)
    print('ready', flush=True)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        rclpy.spin_once(node, timeout_sec=0.05)
    print(json.dumps(latencies_ms), flush=True)
    rclpy.shutdown()


if __name__ == '__main__':
    main()
