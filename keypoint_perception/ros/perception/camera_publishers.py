"""What a camera publishes: clouds of keypoints and landmarks, the overlay, markers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from keypoint_perception.cdr import MessageHeader
from keypoint_perception.drawing import draw_keypoints, Edge
from keypoint_perception.encodings import EncodedImage
from keypoint_perception.geometry.point_locator import LocatedPoints
from keypoint_perception.point_cloud import serialise_point_cloud
from keypoint_perception.ros.messages import to_header, to_image
import numpy as np
from rclpy.event_handler import PublisherEventCallbacks, UnsupportedEventTypeError
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2

# Deep enough for recorders; a controller subscribes with a depth of its own.
KEYPOINTS_QOS = QoSProfile(depth=10)
OVERLAY_QOS = QoSProfile(depth=1)


class CameraPublishers:
    """
    The publishers of one camera.

    :param prefix: of the topics, as ``~/left``
    :param markers: whether to offer ``markers``, which need depth
    :param on_matched: called when subscribers come or go, where the RMW implementation reports it
    """

    def __init__(
        self, node: LifecycleNode, prefix: str, markers: bool, on_matched: Callable[[], None]
    ) -> None:
        self._node = node
        self._prefix = prefix
        self._on_matched = on_matched
        self._all: list[LifecyclePublisher] = []
        self._keypoints = self._create(PointCloud2, 'keypoints', KEYPOINTS_QOS)
        self._overlay = self._create(Image, 'overlay', OVERLAY_QOS)
        self._landmarks: LifecyclePublisher | None = None
        self._markers: LifecyclePublisher | None = None
        if markers:
            from visualization_msgs.msg import MarkerArray

            self._markers = self._create(MarkerArray, 'markers', OVERLAY_QOS)

    def _create(self, kind: type, name: str, qos: QoSProfile) -> LifecyclePublisher:
        topic = f'{self._prefix}/{name}'
        create = partial(self._node.create_lifecycle_publisher, kind, topic, qos)
        publisher: LifecyclePublisher
        try:
            events = PublisherEventCallbacks(matched=lambda matched: self._on_matched())
            publisher = create(event_callbacks=events)
        except UnsupportedEventTypeError:
            publisher = create()
        self._all.append(publisher)
        return publisher

    def enable_landmarks(self) -> None:
        """Create the topic of landmarks."""
        if self._landmarks is None:
            self._landmarks = self._create(PointCloud2, 'landmarks', KEYPOINTS_QOS)
            if self._keypoints.is_activated:  # transitions reach existing publishers only
                self._landmarks.on_activate(None)

    @property
    def topics(self) -> str:
        """Return the names of the topics, as text."""
        return ' or '.join(publisher.topic_name for publisher in self._all)

    def have_subscribers(self) -> bool:
        return any(publisher.get_subscription_count() for publisher in self._all)

    def publish(
        self,
        header: MessageHeader,
        image: EncodedImage,
        keypoints: LocatedPoints,
        landmarks: LocatedPoints,
        skeleton: Sequence[Edge],
        threshold: float,
    ) -> None:
        """
        Publish the keypoints of an image; runs in the inference thread.

        :param image: as it was sent; only the overlay converts it to RGB
        :param threshold: confidence below which a point is drawn as a ring, or has no marker
        """
        self._keypoints.publish(_serialise(header, keypoints))
        if len(landmarks.points) and self._landmarks is not None:
            self._landmarks.publish(_serialise(header, landmarks))
        if self._overlay.get_subscription_count():
            rgb, points = image.to_rgb(), keypoints.image_points
            drawn = draw_keypoints(rgb, points, threshold=threshold, skeleton=skeleton)
            self._overlay.publish(to_image(to_header(header), drawn))
        if self._markers is not None and self._markers.get_subscription_count():
            from keypoint_perception.ros.markers import to_markers

            spheres = _xyz_and_confidence(keypoints), _xyz_and_confidence(landmarks)
            self._markers.publish(to_markers(to_header(header), *spheres, skeleton, threshold))

    def destroy(self) -> None:
        for publisher in self._all:
            self._node.destroy_lifecycle_publisher(publisher)


def _serialise(header: MessageHeader, points: LocatedPoints) -> bytes:
    return serialise_point_cloud(header, points.points, points.xyz, points.velocities)


def _xyz_and_confidence(located: LocatedPoints) -> np.ndarray:
    assert located.xyz is not None, 'markers are published with depth only'
    return np.column_stack([located.xyz, located.points[:, 2]])
