"""What the recorder leaves out or makes smaller: rate, motion, JPEG."""

from __future__ import annotations

from collections import deque
import struct

from keypoint_perception.cdr import read_compressed_image, read_image
from keypoint_perception.compressed import decode
from keypoint_perception.ros.messages import to_rgb
from keypoint_perception.ros.recorder.recording_queue import Waiting
import numpy as np

RAW_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
IMAGE_TYPES = (RAW_TYPE, COMPRESSED_TYPE)
# A camera's intervals vary by less than this share; an image so much too early is still kept.
RATE_TOLERANCE = 0.25
STAMPS_REMEMBERED = 64
SMALL_PX = 64
# A clock that is back by more has jumped; messages of several topics overtake each other by less.
JUMP_NS = 1_000_000_000
DEEP = ('16', '32', '64')  # bits of a pixel's channel, as encodings name them


def stamp_of(data: bytes) -> int:
    """
    Return the stamp of a serialised message with a header, ns.

    :raises struct.error: if it is too short
    """
    order = '<' if len(data) > 1 and data[1] & 1 else '>'
    sec, nanosec = struct.unpack_from(f'{order}iI', data, 4)
    return sec * 1_000_000_000 + nanosec


class RateLimit:
    """
    Keeps so many images a second of each topic.

    An image whose stamp was kept on another topic is kept too, so that colour and depth stay
    pairs.

    :param hz: images a second and topic
    """

    def __init__(self, hz: float) -> None:
        self._period_ns = round(1e9 / hz)
        self._due_ns: dict[str, int] = {}
        self._kept: deque[int] = deque(maxlen=STAMPS_REMEMBERED)

    def keeps(self, topic: str, stamp_ns: int) -> bool:
        """Return whether to keep an image."""
        due = self._due_ns.get(topic, stamp_ns)
        early = due - stamp_ns
        if early > 2 * self._period_ns:  # the clock jumped back, as in a loop of a bag
            due = stamp_ns
        elif early > RATE_TOLERANCE * self._period_ns and stamp_ns not in self._kept:
            return False
        # In step with what is due, unless the camera is slower than the limit.
        in_step = abs(stamp_ns - due) < self._period_ns
        self._due_ns[topic] = (due if in_step else stamp_ns) + self._period_ns
        self._kept.append(stamp_ns)
        return True


class MotionGate:
    """
    Keeps the images of all topics while something moves in one of them.

    A picture is compared with the last one in which something moved, so that slow motion counts
    as well; both are scaled down, each place the mean of its area, so that noise does not.

    :param threshold: grey levels by which one place has to differ
    :param context_ns: how long before and after motion images are kept
    """

    def __init__(self, threshold: float, context_ns: int) -> None:
        self._threshold = threshold
        self._context_ns = context_ns
        self._references: dict[str, np.ndarray] = {}
        self._before: deque[Waiting] = deque()
        self._moved_ns: int | None = None

    def admit(self, item: Waiting) -> tuple[list[Waiting], list[Waiting]]:
        """
        Return the images that are to be kept now, oldest first, and those that never will be.

        :raises EncodingError: if the picture cannot be read; the image is not taken
        """
        moves, passed = self._moves(item), []
        if self._jumped_back(item.log_ns):
            passed = list(self._before)
            self._before.clear()
            self._moved_ns = None
        if moves:
            self._moved_ns = item.log_ns
        since_ns = None if self._moved_ns is None else item.log_ns - self._moved_ns
        self._before.append(item)
        if since_ns is not None and since_ns <= self._context_ns:
            kept = [i for i in self._before if item.log_ns - i.log_ns <= self._context_ns]
            gone = [i for i in self._before if item.log_ns - i.log_ns > self._context_ns]
            self._before.clear()
            return kept, passed + gone
        gone = passed
        while item.log_ns - self._before[0].log_ns > self._context_ns:
            gone.append(self._before.popleft())
        return [], gone

    def _jumped_back(self, log_ns: int) -> bool:
        """Return whether the clock jumped back, as in a loop of a bag, and not just a little."""
        latest = max([i.log_ns for i in self._before] + [self._moved_ns or log_ns])
        return latest - log_ns > max(self._context_ns, JUMP_NS)

    def left(self) -> list[Waiting]:
        """Return the images that wait for motion when recording ends."""
        return list(self._before)

    def _moves(self, item: Waiting) -> bool:
        small = small_grey(item.topic.origin.msgtype, item.data)
        if small is None:
            return not self._references  # where no topic can be judged, all is kept
        name = item.topic.name
        reference = self._references.get(name)
        if reference is not None and reference.shape == small.shape:
            difference = np.abs(small.astype(np.int16) - reference).max()
            if difference <= self._threshold:
                return False
        self._references[name] = small
        return True


def is_deep(encoding: str) -> bool:
    """Return whether pixels have more than 8 bits, as depth has: not to be seen nor to be JPEG."""
    return any(bits in encoding for bits in DEEP)


def small_grey(msgtype: str, data: bytes) -> np.ndarray | None:
    """
    Return a picture, scaled to a long side of :data:`SMALL_PX`, as grey levels, (h, w) uint8.

    :return: None for depth and other pictures that show no grey levels
    :raises EncodingError: if it cannot be read
    """
    import cv2

    if msgtype == COMPRESSED_TYPE:
        message = read_compressed_image(data)
        if 'compressedDepth' in message.format:
            return None
        octets = np.frombuffer(message.data, np.uint8)
        picture = decode(octets, message.format, cv2.IMREAD_REDUCED_GRAYSCALE_4)
    else:
        message = read_image(data)
        if is_deep(message.encoding):
            return None
        picture = to_rgb(message)
    height, width = picture.shape[:2]
    scale = min(1.0, SMALL_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def to_jpeg(data: bytes, quality: int) -> bytes | None:
    """
    Return a serialised Image as a serialised CompressedImage with the same header.

    :param quality: 1 to 100
    :return: None for depth and other pictures that JPEG would spoil
    :raises EncodingError: if the picture cannot be read
    """
    import array

    import cv2
    from keypoint_perception.ros.messages import to_header
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage

    message = read_image(data)
    if is_deep(message.encoding):
        return None
    is_grey = message.encoding in ('mono8', '8UC1')
    picture = to_rgb(message)
    picture = picture[..., 0] if is_grey else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, octets = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    inner = 'mono8' if is_grey else 'bgr8'
    compressed = CompressedImage(header=to_header(message.header))
    compressed.format = f'{message.encoding}; jpeg compressed {inner}'
    compressed.data = array.array('B', octets.tobytes())
    return serialize_message(compressed)
