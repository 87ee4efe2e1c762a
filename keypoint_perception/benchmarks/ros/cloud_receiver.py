"""
The receiver of the benchmark: records the arrival of each cloud, and the nodes' diagnostics.

Its arguments are the topics. It reports ``ready`` when each topic has a publisher, and for each
line on standard input ``arrived``: label, stamp and arrival of each cloud since the last report,
by topic, and the latest diagnostic values.
"""

from __future__ import annotations

from functools import partial
import queue
import sys
import threading

from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.benchmarks.ros.child_program import report, run_child
import rclpy
from sensor_msgs.msg import PointCloud2


def serve(topics: list[str]) -> None:
    """Receive clouds, and report them on request, until standard input ends."""
    node = rclpy.create_node('benchmark_receiver')
    arrived: dict[str, list[tuple[str, int, int]]] = {topic: [] for topic in topics}
    diagnostics: dict[str, str] = {}

    def on_cloud(topic: str, cloud: PointCloud2) -> None:
        stamp = cloud.header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        now_ns = node.get_clock().now().nanoseconds
        arrived[topic].append((cloud.header.frame_id, stamp_ns, now_ns))

    def on_diagnostics(message: DiagnosticArray) -> None:
        diagnostics.update((v.key, v.value) for status in message.status for v in status.values)

    for topic in arrived:
        node.create_subscription(PointCloud2, topic, partial(on_cloud, topic), 10)
    node.create_subscription(DiagnosticArray, '/diagnostics', on_diagnostics, 10)
    while not all(node.count_publishers(topic) for topic in arrived):
        rclpy.spin_once(node, timeout_sec=0.05)
    report('ready')
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()
    while True:
        rclpy.spin_once(node, timeout_sec=0.05)
        while not requests.empty():
            if not requests.get():
                return
            report('arrived', clouds=arrived, diagnostics=diagnostics)
            for clouds in arrived.values():
                clouds.clear()


def read_requests(requests: queue.Queue[str]) -> None:
    """Queue each line of standard input, and an empty one at its end."""
    for line in sys.stdin:
        requests.put(line)
    requests.put('')


if __name__ == '__main__':
    run_child(lambda: serve(sys.argv[1:]))
