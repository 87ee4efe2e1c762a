"""
The camera of the benchmark: rgb8 images at a fixed rate, best effort, to one topic after another.

Prints ``ready`` when each topic has a subscriber and waits for a line on standard input; then
prints ``sent N`` as it goes, and ``done``.
"""

from __future__ import annotations

import argparse
import array
import sys
import time

from keypoint_perception.ros.installation import find_ros
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

WARM_UP = 'warm-up'
MEASURED = 'measured'


def main() -> None:
    """Publish until all images are sent."""
    arguments = parse()
    find_ros()
    rclpy.init()
    node = rclpy.create_node('benchmark_publisher')
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publishers = [node.create_publisher(Image, topic, qos) for topic in arguments.topics]
    while not all(publisher.get_subscription_count() for publisher in publishers):
        rclpy.spin_once(node, timeout_sec=0.05)
    print('ready', flush=True)
    sys.stdin.readline()
    for label, frames in ((WARM_UP, arguments.warm_up), (MEASURED, arguments.frames)):
        publish(node, publishers, arguments, label, frames)
        print(f'{label} done', flush=True)
    sys.stdin.readline()  # a publisher that ends takes its shared memory along
    rclpy.shutdown()


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('topics', nargs='+')
    parser.add_argument('--frames', type=int, required=True, help='images a topic')
    parser.add_argument('--warm-up', type=int, required=True, help='images a topic before')
    parser.add_argument('--block', type=int, required=True, help='images in a row to one topic')
    parser.add_argument('--hz', type=float, required=True)
    parser.add_argument('--height', type=int, required=True)
    parser.add_argument('--width', type=int, required=True)
    return parser.parse_args()


def publish(node, publishers, arguments, label: str, frames: int) -> None:
    """Send ``frames`` images to each topic, in blocks that take turns."""
    image = noise(arguments.height, arguments.width)
    image.header.frame_id = label
    turns = [
        publisher
        for start in range(0, frames, arguments.block)
        for publisher in publishers
        for _ in range(start, min(frames, start + arguments.block))
    ]
    due = time.monotonic()
    for sent, publisher in enumerate(turns, start=1):
        time.sleep(max(0.0, due - time.monotonic()))
        due += 1 / arguments.hz
        image.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(image)
        if sent % round(max(1.0, arguments.hz)) == 0:
            print(f'sent {sent}', flush=True)


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
