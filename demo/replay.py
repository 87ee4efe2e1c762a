"""
Replay a recording as a camera: any SOURCE -> ``sensor_msgs/Image`` over DDS.

    python -m demo.replay demo/arm --image /camera/image --rate 30

Images keep the stamps of the recording; ``--sent`` lists when each was published. The process runs
until its stdin is closed, because images in transit live in its memory.

As with a real camera, images are never closer together than the rate allows: a late one delays the
next. With ``--lead-in`` the first image is published with stamp 0 until a line arrives on stdin,
because a publisher can discover a subscriber before that subscriber discovers the publisher.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import logging
from pathlib import Path
import select
import sys
import time

from builtin_interfaces.msg import Time
from examples.session import run_ros, spin_until
from keypoint_perception.commands.progress import show_progress
from keypoint_perception.frames.frame import Frame
from keypoint_perception.frames.source import count_frames, read_frames
from keypoint_perception.ros.messages import to_image
import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

FRAME_ID = 'camera_optical_frame'
LEAD_IN_STAMP_NS = 0


def to_message(frame: Frame) -> Image:
    """Return a frame as an rgb8 message."""
    sec, nanosec = divmod(frame.stamp_ns, 10**9)
    return to_image(Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=FRAME_ID), frame.image)


class Camera:
    """Publishes frames at a fixed rate, never two at once."""

    def __init__(self, publisher, rate_hz: float) -> None:
        self._publisher = publisher
        self._period_s = 1 / rate_hz
        self._due_s = time.monotonic()

    def show(self, frame: Frame) -> int:
        """Publish a frame when it is due; return the monotonic time, ns."""
        message = to_message(frame)
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        self._due_s = max(self._due_s, time.monotonic()) + self._period_s
        published_ns = time.monotonic_ns()
        self._publisher.publish(message)
        return published_ns


def replay(args: argparse.Namespace) -> None:
    """Publish the recording once there is a subscriber."""
    topics = [args.topic] if args.topic else []
    total = count_frames([args.source], topics)
    if args.limit:
        total = args.limit if total is None else min(total, args.limit)
    frames = itertools.islice(read_frames([args.source], topics), args.limit or None)
    node = rclpy.create_node('replay')
    publisher = node.create_publisher(Image, args.image, qos_profile_sensor_data)
    spin_until(
        node, lambda: publisher.get_subscription_count() > 0, f'a subscriber to {args.image}'
    )
    frames, camera = iter(frames), Camera(publisher, args.rate)
    first = next(frames)
    if args.lead_in:
        while not select.select([sys.stdin], [], [], 0)[0]:
            camera.show(first._replace(stamp_ns=LEAD_IN_STAMP_NS))
        sys.stdin.readline()
    stamp_ns, sent = None, 0
    with args.sent.open('w', newline='') as stream:
        table = csv.writer(stream, lineterminator='\n')
        table.writerow(('stamp_ns', 'published_ns'))
        frames = itertools.chain([first], frames)
        for frame in show_progress(frames, 'replaying', total=total):
            table.writerow((frame.stamp_ns, camera.show(frame)))
            stamp_ns, sent = frame.stamp_ns, sent + 1
    print(json.dumps({'event': 'sent', 'frames': sent, 'last_stamp_ns': stamp_ns}), flush=True)
    sys.stdin.read()


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('source')
    parser.add_argument('--topic', default='')
    parser.add_argument('--image', default='/camera/image')
    parser.add_argument('--rate', type=float, default=30.0, help='images per second')
    parser.add_argument('--limit', type=int, default=0, help='maximum number of images; 0: all')
    parser.add_argument(
        '--lead-in', action='store_true', help='publish the first image until told to start'
    )
    parser.add_argument('--sent', type=Path, required=True, help='CSV of the publication times')
    args = parser.parse_args()
    logging.basicConfig(format='%(message)s')
    run_ros(lambda: replay(args))


if __name__ == '__main__':
    main()
