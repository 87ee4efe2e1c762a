"""
A node ends with the ``ros2 launch`` that started it.

``ros2 launch`` ends its nodes on Ctrl-C, but not when it is told to end by SIGTERM, as systemd and
containers do, nor when it is killed (ros2/launch issue 666): the nodes go on without it, and the
next launch finds them there. The launch files of this package ask their nodes by a variable to
have the kernel tell them of the end of their parent. A node that was started in another way lives
on without its parent as it should.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

VARIABLE = 'KEYPOINT_PERCEPTION_END_WITH_LAUNCH'
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_launch() -> None:
    """Have SIGTERM come when the parent ends, if the launch file asked for it."""
    if os.environ.pop(VARIABLE, ''):
        end_with_parent(signal.SIGTERM)


def end_with_parent(how: signal.Signals) -> None:
    """
    Have the kernel send this process a signal when its parent ends, even by SIGKILL (Linux).

    :param how: the signal
    """
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, how)
