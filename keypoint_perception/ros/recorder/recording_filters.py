"""The recorder's filters: rate limit, motion gate, JPEG encoding."""

from __future__ import annotations

from collections import deque

from keypoint_perception.cdr import COMPRESSED_IMAGE_TYPE, read_compressed_image, read_image
from keypoint_perception.compressed import decode
from keypoint_perception.images import open_message
from keypoint_perception.ros.recorder.recording_queue import QueuedMessage
import numpy as np

# Jitter of a camera, as a share of its period; an image early by less is still kept.
RATE_TOLERANCE = 0.25
STAMPS_REMEMBERED = 64
SMALL_PX = 64
# Messages of several topics overtake each other by less; a clock that is back by more has jumped.
JUMP_NS = 1_000_000_000
DEEP = ('16', '32', '64')  # bits per channel in the names of encodings


class RateLimit:
    """
    Limits the image rate of each topic.

    An image is also kept if an image of the same stamp was kept on another topic, so that colour
    and depth remain paired.
    """

    def __init__(self, hz: float) -> None:
        self._period_ns = round(1e9 / hz)
        self._due_ns: dict[str, int] = {}
        self._kept: deque[int] = deque(maxlen=STAMPS_REMEMBERED)

    def keeps(self, topic: str, stamp_ns: int) -> bool:
        due = self._due_ns.get(topic, stamp_ns)
        early = due - stamp_ns
        if early > 2 * self._period_ns:  # the clock jumped back, as when a bag loops
            due = stamp_ns
        elif early > RATE_TOLERANCE * self._period_ns and stamp_ns not in self._kept:
            return False
        # Keep the phase of the limit, unless the camera is slower than the limit.
        in_phase = abs(stamp_ns - due) < self._period_ns
        self._due_ns[topic] = (due if in_phase else stamp_ns) + self._period_ns
        self._kept.append(stamp_ns)
        return True


class MotionGate:
    """
    Keeps the images of all topics while there is motion in one of them.

    An image is compared with the last one that showed motion, so that slow motion is detected as
    well; both are downscaled by area averaging, which suppresses noise.

    :param threshold: difference in grey levels that one downscaled pixel must exceed
    :param context_ns: time before and after motion for which images are kept
    """

    def __init__(self, threshold: float, context_ns: int) -> None:
        self._threshold = threshold
        self._context_ns = context_ns
        self._references: dict[str, np.ndarray] = {}
        self._before: list[QueuedMessage] = []
        self._moved_ns: int | None = None

    def admit(self, item: QueuedMessage) -> tuple[list[QueuedMessage], list[QueuedMessage]]:
        """
        Return the images to keep now, oldest first, and those rejected for good.

        :raises EncodingError: if the image cannot be decoded; it is not admitted
        """
        moves, rejected = self._moves(item), []
        if self._jumped_back(item.log_ns):
            rejected, self._before, self._moved_ns = self._before, [], None
        if moves:
            self._moved_ns = item.log_ns
        since_ns = item.log_ns - self._context_ns
        rejected += [before for before in self._before if before.log_ns < since_ns]
        self._before = [before for before in self._before if before.log_ns >= since_ns] + [item]
        if self._moved_ns is None or self._moved_ns < since_ns:
            return [], rejected
        kept, self._before = self._before, []
        return kept, rejected

    def _jumped_back(self, log_ns: int) -> bool:
        """Return whether the clock jumped back, as when a bag is played in a loop."""
        latest = max([i.log_ns for i in self._before] + [self._moved_ns or log_ns])
        return latest - log_ns > max(self._context_ns, JUMP_NS)

    def pending(self) -> list[QueuedMessage]:
        """Return the images that are neither kept nor rejected yet."""
        return list(self._before)

    def _moves(self, item: QueuedMessage) -> bool:
        small = small_grey(item.topic.info.msgtype, item.data)
        if small is None:
            return not self._references  # without any topic to judge, all images are kept
        name = item.topic.name
        reference = self._references.get(name)
        if reference is not None and reference.shape == small.shape:
            difference = np.abs(small.astype(np.int16) - reference).max()
            if difference <= self._threshold:
                return False
        self._references[name] = small
        return True


def is_deep(encoding: str) -> bool:
    """Return whether channels have more than 8 bits, as in depth images: unfit for JPEG."""
    return any(bits in encoding for bits in DEEP)


def small_grey(msgtype: str, data: bytes) -> np.ndarray | None:
    """
    Return an image in grey levels with a long side of :data:`SMALL_PX`, (h, w) uint8.

    :return: None for depth and other images of more than 8 bits
    :raises EncodingError: if it cannot be decoded
    """
    import cv2

    if msgtype == COMPRESSED_IMAGE_TYPE:
        compressed = read_compressed_image(data)
        if 'compressedDepth' in compressed.format:
            return None
        image = decode(compressed.data, cv2.IMREAD_REDUCED_GRAYSCALE_4)
    else:
        raw = read_image(data)
        if is_deep(raw.encoding):
            return None
        image = open_message(raw).to_rgb()
    height, width = image.shape[:2]
    scale = min(1.0, SMALL_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def to_jpeg(data: bytes, quality: int) -> bytes | None:
    """
    Return a serialised Image as a serialised CompressedImage with the same header.

    :param quality: 1 to 100
    :return: None for depth and other images of more than 8 bits
    :raises EncodingError: if the image cannot be decoded
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
    image = open_message(message).to_rgb()
    image = image[..., 0] if is_grey else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, octets = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    inner = 'mono8' if is_grey else 'bgr8'
    compressed = CompressedImage(header=to_header(message.header))
    compressed.format = f'{message.encoding}; jpeg compressed {inner}'
    compressed.data = array.array('B', octets.tobytes())
    return serialize_message(compressed)
