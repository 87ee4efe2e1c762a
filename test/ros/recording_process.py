"""Records /numbers into a directory and says what a killed process would keep, to be killed."""

import sys

from keypoint_perception.ros import recording
from keypoint_perception.ros.installation import find_ros

find_ros()
from keypoint_perception.ros.recorder import Recorder  # noqa: E402
import rclpy  # noqa: E402

FLUSH_S = 0.02
recording.FLUSH_S = FLUSH_S
recording.POLL_S = FLUSH_S


def main() -> None:
    """Say ``safe N`` whenever N has grown."""
    rclpy.init(args=['--ros-args', '--disable-rosout-logs', '--log-level', 'warn'])
    node = rclpy.create_node('recording_process')
    recorder = Recorder(node, topics=['/numbers'], out=sys.argv[1])
    recorder.start()
    said = 0
    while True:
        rclpy.spin_once(node, timeout_sec=FLUSH_S)
        safe = recorder.summary().safe
        if safe > said:
            said = safe
            print(f'safe {safe}', flush=True)


if __name__ == '__main__':
    main()
