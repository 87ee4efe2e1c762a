"""
Command ten positions one after another and score them by the true position of the tip.

    python -m examples.judge --truth truth.csv --out score.json --seed 0

A position counts as reached if the true tip is within 3 % of the image diagonal when the
controller reports arrival, or on timeout.
"""

from __future__ import annotations

import argparse
from collections import deque
import json
from pathlib import Path
import sys

from examples.session import run_ros, spin_until
from examples.truth import DIAGONAL_PX, in_picture, read_truth, TOPIC
from geometry_msgs.msg import PointStamped
from keypoint_perception.frames.annotations import read_annotations
import numpy as np
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String

WITHIN_PERCENT = 3.0
# Minimum distance of a position from the border and from the previous one, share of the diagonal.
BORDER_PERCENT = 4.0
APART_PERCENT = 15.0
# So long the controller has to say without a break that it has arrived, and so much of the time
# before the end is looked at.
ARRIVED_S = 1.0
LOOK_S = 0.5


def choose_targets(places: np.ndarray, count: int, seed: int) -> np.ndarray:
    """
    Choose positions to command among those the tip has visited, each far from the last.

    :param places: visited positions, (N, 2) px
    :return: (count, 2) px
    """
    rng = np.random.default_rng(seed)
    inside = places[in_picture(places, BORDER_PERCENT / 100 * DIAGONAL_PX)]
    targets = [inside[rng.integers(len(inside))]]
    while len(targets) < count:
        away = np.linalg.norm(inside - targets[-1], axis=1)
        far = inside[away >= min(APART_PERCENT / 100 * DIAGONAL_PX, away.max())]
        targets.append(far[rng.integers(len(far))])
    return np.array(targets)


def error_percent(places: np.ndarray, target: np.ndarray) -> float:
    """Return the median distance of positions (N, 2) px from a target, % of the diagonal."""
    away = np.linalg.norm(np.reshape(places, (-1, 2)) - target, axis=1)
    return float(np.median(away)) / DIAGONAL_PX * 100


class Judge:
    """Commands positions and measures the result."""

    def __init__(self, node: rclpy.node.Node) -> None:
        self.node = node
        self.status = ''
        self._since = 0.0
        self._tips: deque[tuple[float, np.ndarray]] = deque(maxlen=1000)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._targets = node.create_publisher(PointStamped, '/servo_node/target', latched)
        node.create_subscription(String, '/servo_node/status', self._on_status, latched)
        node.create_subscription(PointCloud2, TOPIC, self._on_truth, 10)

    def _now(self) -> float:
        """Return the time in s, simulated where available."""
        return self.node.get_clock().now().nanoseconds * 1e-9

    def _on_status(self, status: String) -> None:
        if status.data != self.status:
            self.status, self._since = status.data, self._now()

    def _on_truth(self, cloud: PointCloud2) -> None:
        self._tips.append((self._now(), read_truth(cloud)[1]))

    def wait_for_all(self) -> None:
        """Wait for the arm and the controller."""
        spin_until(self.node, lambda: self._tips, f'the arm on {TOPIC}')
        spin_until(
            self.node,
            lambda: self.status and self._targets.get_subscription_count() > 0,
            'a controller on /servo_node',
        )

    def _has_arrived(self, commanded: float) -> bool:
        begun = max(self._since, commanded)
        return self.status == 'reached' and self._now() - begun >= ARRIVED_S

    def command(self, target: np.ndarray, patience_s: float) -> dict:
        """Command a position, wait, and return the result."""
        message = PointStamped()
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.point.x, message.point.y = map(float, target)
        began = self._now()
        self._targets.publish(message)
        arrived = False
        while not arrived and self._now() - began < patience_s:
            rclpy.spin_once(self.node, timeout_sec=0.05)
            arrived = self._has_arrived(began)
        now = self._now()
        tips = [tip for at, tip in self._tips if now - at <= LOOK_S] or [self._tips[-1][1]]
        error = error_percent(np.array(tips), target)
        return {
            'target_px': target.round(1).tolist(),
            'tip_px': np.median(tips, axis=0).round(1).tolist(),
            'error_percent': round(error, 2),
            'seconds': round(now - began, 1),
            'controller': self.status,
            'success': error <= WITHIN_PERCENT,
        }


def judge(args: argparse.Namespace) -> None:
    """Command all positions and write the score."""
    known = read_annotations(args.truth)
    targets = choose_targets(known.uv[:, 0].astype(float), args.count, args.seed)
    referee = Judge(rclpy.create_node('judge'))
    referee.wait_for_all()
    print(json.dumps({'event': 'matched'}), flush=True)
    results = []
    for target in targets:
        results.append(referee.command(target, args.patience))
        print(json.dumps({'event': f'position {len(results)}'} | results[-1]), flush=True)
    score = {
        'success': sum(result['success'] for result in results),
        'positions': len(results),
        'within_percent': WITHIN_PERCENT,
        'mean_error_percent': round(float(np.mean([r['error_percent'] for r in results])), 2),
        'results': results,
    }
    args.out.write_text(json.dumps(score, indent=2) + '\n')
    print(json.dumps({'event': 'done'}), flush=True)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--truth', type=Path, required=True, help='CSV of the true tip positions')
    parser.add_argument('--out', type=Path, required=True, help='JSON to write')
    parser.add_argument('--count', type=int, default=10, help='positions')
    parser.add_argument('--patience', type=float, default=40.0, help='timeout per position, s')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(rclpy.utilities.remove_ros_args(sys.argv)[1:])
    run_ros(lambda: judge(args))


if __name__ == '__main__':
    main()
