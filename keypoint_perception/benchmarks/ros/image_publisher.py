"""
The cameras of the benchmark: publish rgb8 images, best effort, to one node after another.

The only argument is JSON: the topics by node. It reports ``publishing`` when the publishers exist
and ``ready`` when each has a subscriber. Each further line on standard input is JSON with the
fields of :class:`keypoint_perception.benchmarks.ros.node_benchmark.CameraLoad` and a ``label``,
which becomes the images' frame_id; it reports ``sent`` from time to time, then ``done`` with the
number of images sent to each node.
"""

from __future__ import annotations

import array
from collections.abc import Iterator, Mapping, Sequence
import json
import math
import sys
import time
from typing import Any

from keypoint_perception.benchmarks.ros.child_program import report, run_child
import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

REPORT_S = 0.5
# Between blocks at full speed, so that images in transit to one node do not disturb the other.
PAUSE_S = 0.2


def serve(topics: Mapping[str, Sequence[str]]) -> None:
    """Publish to the topics of each node until standard input ends."""
    node = rclpy.create_node('benchmark_publisher')
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publishers = {
        name: [node.create_publisher(Image, topic, qos) for topic in cameras]
        for name, cameras in topics.items()
    }
    everyone = [publisher for cameras in publishers.values() for publisher in cameras]
    report('publishing')
    request = json.loads(sys.stdin.readline() or '{"matched": false}')
    while request['matched'] and not all(p.get_subscription_count() for p in everyone):
        rclpy.spin_once(node, timeout_sec=0.05)
    report('ready')
    for line in sys.stdin:  # exit only at its end: a publisher takes its shared memory with it
        sent = publish(node, publishers, json.loads(line))
        report('done', sent=sent, subscriptions=sum(p.get_subscription_count() for p in everyone))


def publish(
    node: Node, publishers: Mapping[str, Sequence[Publisher]], load: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Send images to the nodes in alternating blocks; return number and rate for each node."""
    image = noise(load['height'], load['width'])
    image.header.frame_id = load['label']
    sent, spent_s = dict.fromkeys(publishers, 0), dict.fromkeys(publishers, 0.0)
    reported_s = started_s = time.monotonic()
    for name in turns(load, list(publishers)):
        block_s = time.monotonic()
        for _ in pace(load, sent[name]):
            image.header.stamp = node.get_clock().now().to_msg()
            for publisher in publishers[name]:
                publisher.publish(image)
            sent[name] += 1
            if time.monotonic() - reported_s > REPORT_S:
                reported_s = time.monotonic()
                report('sent', seconds=reported_s - started_s)
        spent_s[name] += time.monotonic() - block_s
    return {n: {'images': sent[n], 'hz': sent[n] / spent_s[n]} for n in publishers}


def turns(load: Mapping[str, Any], names: list[str]) -> list[str]:
    """Return the node of each block, in order."""
    counted = load['hz'] and load['frames']
    total, block = ('frames', 'block') if counted else ('seconds', 'block_s')
    rounds: float = load[total] / load[block]
    return names * math.ceil(rounds)


def pace(load: Mapping[str, Any], sent: int) -> Iterator[None]:
    """
    Yield when the next image of a block is due.

    A late image delays the following ones, as in a camera: a node could not answer two at once.
    """
    period_s = 1 / load['hz'] if load['hz'] else 0.0
    if not period_s:
        time.sleep(PAUSE_S)
    due_s = time.monotonic()
    end_s = due_s + load['block_s']
    left = min(load['block'], load['frames'] - sent) if period_s and load['frames'] else None
    while due_s < end_s if left is None else left > 0:
        time.sleep(max(0.0, due_s - time.monotonic()))
        yield
        left = None if left is None else left - 1
        due_s = max(due_s + period_s, time.monotonic())
    time.sleep(max(0.0, due_s - time.monotonic()))  # the period of the block's last image


def noise(height: int, width: int) -> Image:
    """Return an image in which every pixel differs from its neighbours."""
    image = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    pattern = bytes((17 * i * i + 31 * i) % 251 for i in range(4096))
    octets = pattern * (3 * height * width // len(pattern) + 1)
    image.data = array.array('B', octets[: 3 * height * width])
    return image


if __name__ == '__main__':
    run_child(lambda: serve(json.loads(sys.argv[1])))
