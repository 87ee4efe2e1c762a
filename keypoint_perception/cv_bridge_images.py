"""Encodings of ``sensor_msgs/Image`` that only cv_bridge knows, where it is installed."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
import logging
import os
import subprocess
import sys

from keypoint_perception.cdr import ImageMessage
from keypoint_perception.encodings import EncodedImage, MOST_QUOTED, PACKED
from keypoint_perception.errors import EncodingError
from keypoint_perception.seen_messages import SeenMessages
import numpy as np

TRIAL = """
from types import SimpleNamespace as Message
from cv_bridge import CvBridge
message = Message(encoding='mono8', height=1, width=1, step=1, is_bigendian=0, data=b'7')
assert CvBridge().imgmsg_to_cv2(message, 'rgb8').tolist() == [[[55, 55, 55]]], 'wrong pixels'
kind = CvBridge().encoding_to_dtype_with_channels('rgb16')
assert kind == ('uint16', 3), f'it takes rgb16 for {kind}, as if made for another OpenCV'
"""
TRIAL_S = 30

log = logging.getLogger('keypoint_perception')
_notices = SeenMessages()


@cache
def find_cv_bridge() -> tuple[bool, str]:
    """
    Return whether there is a cv_bridge that works, and what is wrong with one that does not.

    One that was made for another NumPy or OpenCV raises, aborts or confuses types: another process
    tries it first.
    """
    if find_spec('cv_bridge') is None:
        return False, ''
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    command = [sys.executable, '-c', TRIAL]
    try:
        trial = subprocess.run(command, env=environment, capture_output=True, timeout=TRIAL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, f'the cv_bridge that is installed cannot be tried ({error})'
    said = trial.stderr.decode(errors='replace').strip().split('\n')[-1][:200]
    reason = f'the cv_bridge that is installed does not work ({said or trial.returncode})'
    return trial.returncode == 0, reason if trial.returncode else ''


def open_by_cv_bridge(message: ImageMessage) -> EncodedImage:
    """
    Return the image of a message whose encoding this package lacks.

    :raises EncodingError: if cv_bridge lacks it too, or the size is wrong
    """
    from cv_bridge import CvBridge

    bridge, encoding = CvBridge(), message.encoding
    try:
        dtype, channels = bridge.encoding_to_dtype_with_channels(encoding)
        kind = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
        strides = (message.step, channels * kind.itemsize, kind.itemsize)
        if (kind.itemsize == 1 and '16' in encoding) or message.step < message.width * strides[1]:
            raise ValueError(f'{dtype} with a step of {message.step} bytes')
        shape = (message.height, message.width, channels)
        pixels = np.ndarray(shape, kind, message.data, strides=strides).astype(dtype, order='C')
        if kind.name in ('uint8', 'uint16') and channels in (3, 4):
            order = 'rgb' if encoding.startswith('rgb') else 'bgr'
            layout = PACKED[f'{order}8' if channels == 3 else f'{order}a8'].in_bytes(kind.itemsize)
        else:
            plain = {'is_bigendian': 0, 'step': pixels[0].nbytes, 'data': pixels.data.cast('B')}
            pixels = bridge.imgmsg_to_cv2(message._replace(**plain), 'rgb8')
            layout = PACKED['rgb8']
    except Exception as error:  # those of cv_bridge have no common base
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
        msg = (
            f'Encoding {encoding[:MOST_QUOTED]!r} is not supported, and cv_bridge cannot convert '
            f'such an image ({reason}); set the camera driver to another encoding.'
        )
        raise EncodingError(msg) from error
    if _notices.is_new(encoding):
        log.warning('Images in %s are converted by cv_bridge.', encoding)
    return EncodedImage(layout, (pixels,))
