"""
Recorders of /numbers, one for each directory of the command line, to be killed.

They are forked from one process that has everything imported. It prints ``N pid PID`` for each,
``N safe COUNT`` whenever more messages would survive a kill, and ``N ended CODE``.
"""

import os
import signal
import sys

from keypoint_perception.ros.end_with_launch import end_with_parent
from keypoint_perception.ros.installation import find_ros
from keypoint_perception.ros.recorder import bag_recording

find_ros()
from keypoint_perception.ros.recorder.recorder import Recorder  # noqa: E402
import mcap.writer  # noqa: E402, F401
import rclpy  # noqa: E402
import sensor_msgs.msg  # noqa: E402, F401

FLUSH_S = 0.02
bag_recording.FLUSH_S = FLUSH_S
bag_recording.POLL_S = FLUSH_S


def say(*words: object) -> None:
    """Print a line in one piece."""
    os.write(1, (' '.join(map(str, words)) + '\n').encode())


def record(number: int, out: str) -> None:
    """Record until killed."""
    rclpy.init(args=['--ros-args', '--disable-rosout-logs', '--log-level', 'warn'])
    node = rclpy.create_node(f'recorder_{number}')
    recorder = Recorder(node, topics=['/numbers'], out=out)
    recorder.start()
    said = 0
    while True:
        rclpy.spin_once(node, timeout_sec=FLUSH_S)
        safe = recorder.summary().safe
        if safe > said:
            said = safe
            say(number, 'safe', safe)


def main() -> None:
    """Start the recorders and wait until they have ended."""
    numbers = {}
    for number, out in enumerate(sys.argv[1:]):
        pid = os.fork()
        if not pid:
            end_with_parent(signal.SIGKILL)  # none outlives the test
            record(number, out)
        numbers[pid] = number
        say(number, 'pid', pid)
    while numbers:
        pid, status = os.wait()
        say(numbers.pop(pid), 'ended', os.waitstatus_to_exitcode(status))


if __name__ == '__main__':
    main()
