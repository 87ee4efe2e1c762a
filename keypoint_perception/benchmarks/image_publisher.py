"""
The cameras of the benchmark: rgb8 images, best effort, to one node after another.

Its only argument is JSON: the topics of each node. Reports are lines of JSON: ``ready`` when each
topic has a subscriber; for each line of JSON on standard input, which holds the fields of
:class:`keypoint_perception.benchmarks.node_benchmark.Load` and a ``label``, ``sent`` as it goes
and ``done`` with the images sent to each node. The label becomes the images' frame_id.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
import json
import math
import sys
import time

from keypoint_perception.ros.installation import find_ros
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

REPORT_S = 0.5
# Between blocks at full speed: what is on its way to one node must not disturb the other.
PAUSE_S = 0.2


def main() -> None:
    """Publish what standard input asks for."""
    find_ros()
    run(lambda: serve(json.loads(sys.argv[1])))


def run(work: Callable[[], None]) -> None:
    """Do some work between ROS's start and end, whoever ends it."""
    rclpy.init()
    try:
        work()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():  # else a signal has ended ROS, at whatever line the process was
            raise
    finally:
        rclpy.try_shutdown()


def serve(topics: dict[str, list[str]]) -> None:
    """Publish to the topics of each node until standard input ends."""
    node = rclpy.create_node('benchmark_publisher')
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publishers = {
        name: [node.create_publisher(Image, topic, qos) for topic in cameras]
        for name, cameras in topics.items()
    }
    everyone = [publisher for cameras in publishers.values() for publisher in cameras]
    tell('publishing')
    wanted = json.loads(sys.stdin.readline() or '{"matched": false}')
    while wanted['matched'] and not all(p.get_subscription_count() for p in everyone):
        rclpy.spin_once(node, timeout_sec=0.05)
    tell('ready')
    for text in sys.stdin:  # a publisher that ends takes its shared memory along
        sent = publish(node, publishers, json.loads(text))
        tell('done', sent=sent, subscriptions=sum(p.get_subscription_count() for p in everyone))


def tell(event: str, **fields: object) -> None:
    """Report."""
    print(json.dumps({'event': event, **fields}), flush=True)


def publish(node, publishers: dict[str, list], load: dict) -> dict[str, dict]:
    """Send images to each node, in blocks that take turns; return how many and how fast."""
    image = noise(load['height'], load['width'])
    image.header.frame_id = load['label']
    sent, spent_s = dict.fromkeys(publishers, 0), dict.fromkeys(publishers, 0.0)
    reported_s = began_s = time.monotonic()
    for name in turns(load, list(publishers)):
        block_s = time.monotonic()
        for _ in pace(load, sent[name]):
            image.header.stamp = node.get_clock().now().to_msg()
            for publisher in publishers[name]:
                publisher.publish(image)
            sent[name] += 1
            if time.monotonic() - reported_s > REPORT_S:
                reported_s = time.monotonic()
                tell('sent', seconds=reported_s - began_s)
        spent_s[name] += time.monotonic() - block_s
    return {n: {'images': sent[n], 'hz': sent[n] / spent_s[n]} for n in publishers}


def turns(load: dict, names: list[str]) -> list[str]:
    """Return whose block it is, one after another."""
    counted = load['hz'] and load['frames']
    rounds = load['frames'] / load['block'] if counted else load['seconds'] / load['block_s']
    return names * math.ceil(rounds)


def pace(load: dict, sent: int) -> Iterator[None]:
    """
    Yield when the next image of a block is due.

    One that is late delays the next, as a camera would: two at once could not both be answered.
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
    time.sleep(max(0.0, due_s - time.monotonic()))  # the block's last image has its time too


def noise(height: int, width: int) -> Image:
    """Return an image in which every pixel differs from its neighbours."""
    image = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    pattern = bytes((17 * i * i + 31 * i) % 251 for i in range(4096))
    octets = array.array('B')
    octets.frombytes((pattern * (3 * height * width // len(pattern) + 1))[: 3 * height * width])
    image.data = octets
    return image


if __name__ == '__main__':
    main()
