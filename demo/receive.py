"""
Receive keypoints as a controller would and write them to a file.

    python -m demo.receive --topic /perception_node/keypoints --model MODEL --out keypoints.csv

Keypoints with stamp 0 belong to the lead-in of :mod:`demo.replay` and are not written. A line on
stdin with the stamp of the last image (ns) announces the end: the process then exits as soon as
the keypoints of that image have arrived, or after a quiet period.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
import select
import sys
import time

from demo.replay import LEAD_IN_STAMP_NS
from examples.session import run_ros, spin_until
from keypoint_perception.frames.annotations import KeypointWriter
from keypoint_perception.manifest import read_manifest
from keypoint_perception.ros.messages import from_point_cloud
import numpy as np
import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2

# After this time without keypoints, none are in transit any more.
QUIET_S = 5.0


class Receiver:
    """Writes received keypoints and their arrival times."""

    def __init__(self, rows: KeypointWriter, arrivals, names: tuple[str, ...], image: str) -> None:
        self.answered = False
        self._seen: set[int] = set()
        self.last_stamp_ns: int | None = None
        self.last_arrival_s = time.monotonic()
        self._rows = rows
        self._arrivals = arrivals
        self._names = names
        self._image = image

    @property
    def count(self) -> int:
        """Return the number of images whose keypoints have arrived."""
        return len(self._seen)

    def take(self, cloud: PointCloud2) -> None:
        """Write the keypoints of one image."""
        arrived_ns = time.monotonic_ns()
        stamp = cloud.header.stamp
        stamp_ns = stamp.sec * 10**9 + stamp.nanosec
        if not self.answered:
            self.answered = True
            print(json.dumps({'event': 'answered'}), flush=True)
        if stamp_ns == LEAD_IN_STAMP_NS:
            return
        self.last_stamp_ns = stamp_ns
        self.last_arrival_s = time.monotonic()
        if stamp_ns in self._seen:
            return  # two images with the same stamp are ambiguous
        self._seen.add(stamp_ns)
        points = from_point_cloud(cloud)
        keypoints = np.stack([points['u'], points['v'], points['confidence']], axis=-1)
        self._rows.write(stamp_ns, self._image, self._names, keypoints)
        self._arrivals.writerow((stamp_ns, arrived_ns))


def receive(args: argparse.Namespace) -> None:
    """Write keypoints until the last image is answered."""
    names = read_manifest(args.model).keypoint_names
    node = rclpy.create_node('receive')
    with KeypointWriter(args.out) as rows, args.arrivals.open('w', newline='') as stream:
        arrivals = csv.writer(stream, lineterminator='\n')
        arrivals.writerow(('stamp_ns', 'arrived_ns'))
        receiver = Receiver(rows, arrivals, names, args.image)
        node.create_subscription(PointCloud2, args.topic, receiver.take, QoSProfile(depth=100))
        spin_until(
            node, lambda: node.count_publishers(args.topic) > 0, f'keypoints on {args.topic}'
        )
        print(json.dumps({'event': 'matched'}), flush=True)
        final_ns: int | None = None
        while True:
            rclpy.spin_once(node, timeout_sec=0.1)
            if final_ns is None and select.select([sys.stdin], [], [], 0)[0]:
                final_ns = int(sys.stdin.readline() or 0)
                receiver.last_arrival_s = time.monotonic()
            quiet = time.monotonic() - receiver.last_arrival_s > QUIET_S
            if final_ns is not None and (receiver.last_stamp_ns == final_ns or quiet):
                break
    print(json.dumps({'event': 'done', 'frames': receiver.count}), flush=True)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--topic', default='/perception_node/keypoints')
    parser.add_argument('--image', default='/camera/image', help='image topic for the CSV')
    parser.add_argument('--model', type=Path, required=True)
    parser.add_argument('--out', type=Path, required=True, help='keypoint CSV')
    parser.add_argument('--arrivals', type=Path, required=True, help='CSV of the arrival times')
    args = parser.parse_args()
    run_ros(lambda: receive(args))


if __name__ == '__main__':
    main()
