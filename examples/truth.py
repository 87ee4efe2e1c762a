"""
The ground truth of the simulated arm's tip, for labels and scores.

    python -m examples.truth --out truth.csv

It is used for labelling and scoring only, never by the controller.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
import select
import sys

from examples.session import run_ros, spin_until
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.annotations import read_annotations
from keypoint_perception.ros.messages import from_point_cloud
import numpy as np
import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2

TOPIC = '/arm/truth'
NAME = 'tip'
SIZE = (320, 240)
DIAGONAL_PX = float(np.hypot(*SIZE))
HEADER = ('stamp_ns', 'keypoint', 'u', 'v')


def read_truth(cloud: PointCloud2) -> tuple[int, np.ndarray]:
    """Return the stamp in ns and the tip's position, (2,) px."""
    stamp, tip = cloud.header.stamp, from_point_cloud(cloud)[0]
    return stamp.sec * 10**9 + stamp.nanosec, np.array([tip['u'], tip['v']], float)


def in_picture(uv: np.ndarray, border_px: float = 0.0) -> np.ndarray:
    """Return which positions (..., 2) are inside the image by a margin."""
    last = np.array(SIZE) - 1
    return ((uv >= border_px) & (uv <= last - border_px)).all(axis=-1)


def label_frames(truth: Path, stamps_ns: list[int], out: Path, count: int) -> int:
    """
    Label a few recorded frames as a person would: evenly spaced, in whole pixels.

    :param truth: CSV written by this program
    :param stamps_ns: stamps of the recorded frames
    :param out: annotation file to write
    :return: the number of frames that were labelled
    :raises SourceError: if the recording and the truth have too few stamps in common
    """
    known = read_annotations(truth)
    seen = np.isin(known.stamps_ns, stamps_ns) & in_picture(known.uv[:, 0])
    if seen.sum() < count:
        msg = (
            f'Only {seen.sum()} of {len(stamps_ns)} recorded frames show the tip, expected '
            f'{count} to label; record for longer.'
        )
        raise SourceError(msg)
    chosen = np.flatnonzero(seen)[np.linspace(0, seen.sum() - 1, count).round().astype(int)]
    with out.open('w', newline='') as stream:
        table = csv.writer(stream, lineterminator='\n')
        table.writerow(HEADER)
        for place in chosen:
            table.writerow((known.stamps_ns[place], NAME, *known.uv[place, 0].round().astype(int)))
    return len(chosen)


def write_truth(out: Path) -> None:
    """Write the tip's position at every image's stamp until a line arrives on stdin."""
    node = rclpy.create_node('truth')
    count = 0
    with out.open('w', newline='') as stream:
        table = csv.writer(stream, lineterminator='\n')
        table.writerow(HEADER)

        def take(cloud: PointCloud2) -> None:
            nonlocal count
            stamp_ns, (u, v) = read_truth(cloud)
            table.writerow((stamp_ns, NAME, f'{u:.2f}', f'{v:.2f}'))
            count += 1

        node.create_subscription(PointCloud2, TOPIC, take, QoSProfile(depth=100))
        spin_until(node, lambda: count > 0, f'the arm on {TOPIC}')
        print(json.dumps({'event': 'matched'}), flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            rclpy.spin_once(node, timeout_sec=0.1)
    print(json.dumps({'event': 'written', 'count': count}), flush=True)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--out', type=Path, required=True, help='annotation CSV')
    args = parser.parse_args()
    run_ros(lambda: write_truth(args.out))


if __name__ == '__main__':
    main()
