"""
End a node together with the ``ros2 launch`` that started it.

``ros2 launch`` stops its nodes on Ctrl-C, but not on SIGTERM, as systemd and containers send, nor
when it is killed (ros2/launch issue 666): the nodes keep running, and the next launch collides
with them. The launch files of this package therefore set a variable, by which their nodes ask the
kernel for a signal when their parent ends. Nodes started in any other way outlive their parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

VARIABLE = 'KEYPOINT_PERCEPTION_END_WITH_LAUNCH'
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_launch() -> None:
    """Receive SIGTERM when the parent ends, if the launch file requests it."""
    if os.environ.pop(VARIABLE, ''):
        end_with_parent(signal.SIGTERM)


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel signal this process when its parent ends, even by SIGKILL (Linux only)."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
