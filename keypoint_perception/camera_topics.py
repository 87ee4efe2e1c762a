"""
Which camera_info belongs to an image topic.

As in image_transport and elsewhere in ROS, it is the sibling of the image topic without its
transport: ``/cam/image_raw/compressed`` and ``/cam/image_raw`` have ``/cam/camera_info``.
"""

from __future__ import annotations

# Names that image_transport's plugins append.
TRANSPORTS = ('compressed', 'compressedDepth', 'theora', 'ffmpeg', 'zstd', 'draco')


def base_topic(image_topic: str) -> str:
    """Return an image topic without its transport."""
    parent, _, name = image_topic.rpartition('/')
    return parent if parent and name in TRANSPORTS else image_topic


def camera_info_topics(image_topic: str) -> list[str]:
    """Return where the camera_info of an image topic may be, the usual place first."""
    base = base_topic(image_topic)
    return [f'{base.rpartition("/")[0]}/camera_info', f'{base}/camera_info']


def is_rectified(image_topic: str) -> bool:
    """Return whether a topic's name says that image_proc has rectified its images."""
    return base_topic(image_topic).rpartition('/')[2].startswith('image_rect')
