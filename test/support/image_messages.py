"""Images as they are received."""

from keypoint_perception.cdr import ImageMessage, MessageHeader
from keypoint_perception.images import open_message


def open_image(encoding, data, *, is_bigendian=False, **fields):
    """Return the image of a message with these fields."""
    fields |= {'encoding': encoding, 'data': memoryview(data), 'is_bigendian': is_bigendian}
    return open_message(ImageMessage(MessageHeader(0, 0, ''), **fields))
