"""One camera of the node: where its images come from, where its keypoints go, and its counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from typing import NamedTuple

from keypoint_perception.cdr import ImageHeader, ReceivedCompressedImage, ReceivedImage
from keypoint_perception.drawing import draw_keypoints
from keypoint_perception.encodings import EncodedImage
from keypoint_perception.errors import EncodingError
from keypoint_perception.inference.estimator import Estimate, Estimator
from keypoint_perception.ros.messages import serialise_point_cloud, to_header, to_image
from keypoint_perception.ros.perception.geometry_input import geometry_topics, GeometryInput
from keypoint_perception.ros.perception.image_input import image_topic, ImageInput
from keypoint_perception.ros.perception.node_statistics import NodeStatistics, Times, UNKNOWN
from keypoint_perception.ros.perception.point_locator import (
    GeometrySettings,
    LocatedPoints,
    PointLocator,
)
import numpy as np
from rclpy.event_handler import PublisherEventCallbacks, UnsupportedEventTypeError
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2

# A recording replayed with its old stamps, or a simulator's clock, says nothing of latency.
SAME_CLOCK_MS = 3_600_000.0
# Every message reaches whoever records them; who controls by them keeps the newest himself.
KEYPOINTS_QOS = QoSProfile(depth=10)
OVERLAY_QOS = QoSProfile(depth=1)


PLAIN = GeometrySettings()


class Arrival(NamedTuple):
    """
    An image, the camera that it is from, and when it came.

    :param at_s: as :func:`time.perf_counter` tells it
    """

    camera: Camera
    image: ReceivedImage | ReceivedCompressedImage
    at_s: float


class Camera:
    """
    One camera, from its topic to its topics.

    Its publishers live as long as the camera; its subscription lives while it is active and, if
    it is lazy, while somebody listens to one of its topics.

    :param name: names its topics, as ``left`` in ``left/image`` and ``~/left/keypoints``; empty
        for the only camera of a node
    :param transport: ``raw`` or ``compressed``
    :param put: hands an image to the inference thread; returns whether an older one of this
        camera was thrown away for it
    :param geometry: what is done with points besides finding them
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        *,
        transport: str,
        put: Callable[[Arrival], bool],
        geometry: GeometrySettings = PLAIN,
    ) -> None:
        self.name = name
        self.health = NodeStatistics()
        self.overlay_threshold = 0.5
        self._node = node
        self._transport = transport
        self._put = put
        self._input: ImageInput | None = None
        self._active = False
        self._lazy = True
        self._model: Estimator | None = None
        self._last_stamp_ns: int | None = None
        self._jumped = False
        self._closed = False
        self._publishers: list[LifecyclePublisher] = []
        self._clouds = self._publisher(PointCloud2, 'keypoints', KEYPOINTS_QOS)
        self._overlays = self._publisher(Image, 'overlay', OVERLAY_QOS)
        self._landmarks: LifecyclePublisher | None = None
        self._markers: LifecyclePublisher | None = None
        if geometry.depth:
            from visualization_msgs.msg import MarkerArray

            self._markers = self._publisher(MarkerArray, 'markers', OVERLAY_QOS)
        self._geometry_topics = geometry_topics(node, self.source) if geometry.calibrated else {}
        self._geometry_input: GeometryInput | None = None
        self.geometry = PointLocator(geometry, self._geometry_topics, self.note)

    def _publisher(self, kind: type, name: str, qos: QoSProfile) -> LifecyclePublisher:
        """Return a publisher whose listeners wake the camera."""
        create = partial(self._node.create_lifecycle_publisher, kind, self.output(name), qos)
        try:
            events = PublisherEventCallbacks(matched=lambda matched: self.update())
            publisher = create(event_callbacks=events)
        except UnsupportedEventTypeError:
            publisher = create()  # who looks after the camera calls update now and then
        self._publishers.append(publisher)
        return publisher

    def offer_landmarks(self) -> None:
        """Have a topic for named points, from now on."""
        if self._landmarks is None:
            self._landmarks = self._publisher(PointCloud2, 'landmarks', KEYPOINTS_QOS)
            if self._clouds.is_activated:  # a transition reaches only the publishers of before
                self._landmarks.on_activate(None)

    def source(self, name: str) -> str:
        """Return the camera's own topic of a name, as ``left/image`` of ``image``."""
        return f'{self.name}/{name}' if self.name else name

    def output(self, name: str) -> str:
        """Return the node's topic of a name for this camera, as ``~/left/keypoints``."""
        return f'~/{self.source(name)}'

    @property
    def input(self) -> ImageInput | None:
        """Return the subscription; None while the camera is not listened to."""
        return self._input

    @property
    def topic(self) -> str:
        """Return the topic of the images, whether listened to or not."""
        return image_topic(self._node, self.source('image'), self._transport)

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the topics that a recording of the camera is made of."""
        return (self.topic, *self._geometry_topics.values())

    @property
    def outputs(self) -> str:
        """Return the topics that wake the camera, for people."""
        return ' or '.join(publisher.topic_name for publisher in self._publishers)

    def activate(self, *, lazy: bool) -> None:
        """
        Work from now on.

        :param lazy: listen to images only while somebody listens to one of the topics
        """
        self._active, self._lazy = True, lazy
        self.update()

    def deactivate(self) -> None:
        """Listen no more."""
        self._active = False
        self.update()

    def update(self) -> None:
        """Subscribe to the images, or give the subscription back, as things are now."""
        wanted = self._active and (not self._lazy or self._heard())
        if wanted and self._input is None:
            self.health.restart()
            self._input = ImageInput(
                self._node, self.source('image'), self._transport, self._receive, self.health
            )
            if self.geometry.settings.calibrated:
                self.geometry.wait_anew()
                self._geometry_input = GeometryInput(
                    self._node, self._geometry_topics, self.geometry
                )
        elif self._input is not None and not wanted:
            self._input.close()
            self._input = None
            if self._geometry_input is not None:
                self._geometry_input.close()
                self._geometry_input = None
        if self._input is not None:
            self._input.match(self.health.lost_share())
        if self._geometry_input is not None:
            self._geometry_input.match()

    def _heard(self) -> bool:
        return any(publisher.get_subscription_count() for publisher in self._publishers)

    def _receive(self, serialised: bytes) -> None:
        """Hand the newest image over, in the executor's thread."""
        if self._input is None:
            return  # taken before the subscription was destroyed
        at_s = time.perf_counter()
        try:
            image = self._input.read(serialised)
        except EncodingError as error:
            self.health.received(len(serialised))
            self.refuse('broken message', str(error))
            return
        except Exception as error:  # whatever a message holds, the node lives on
            self.health.received(len(serialised))
            self.refuse_unexpected(error)
            return
        self.health.received(len(serialised), self._age_ms(image.header))
        if self._put(Arrival(self, image, at_s)):
            self.health.dropped()

    def jump(self) -> None:
        """Take note, from whatever thread, that the clock has jumped back."""
        self._jumped = True

    def _follow(self, header: ImageHeader, model: Estimator) -> None:
        """Forget what was before another model, and before the time went back."""
        last_ns, self._last_stamp_ns = self._last_stamp_ns, header.stamp_ns
        jumped, self._jumped = self._jumped or header.stamp_ns < (last_ns or 0), False
        if jumped:
            self.health.jumped_back()
        if jumped or model is not self._model:
            self._model = model
            self.geometry.reset()

    def publish(
        self, arrival: Arrival, image: EncodedImage, estimate: Estimate, model: Estimator
    ) -> None:
        """
        Publish the keypoints of an image, in the inference thread.

        :param image: as it was sent; only the overlay needs all of its colours
        :param model: what they are from; another one may have other points
        """
        image_header = arrival.image.header
        self._follow(image_header, model)
        count, named = len(estimate.keypoints), len(estimate.landmarks)
        every = np.concatenate(estimate) if named else estimate.keypoints
        located = self.geometry.locate(image_header, image.image_hw, every)
        keypoints, landmarks = located.rows(slice(count)), located.rows(slice(count, None))
        self._clouds.publish(_serialised(image_header, keypoints))
        if named and self._landmarks is not None:
            self._landmarks.publish(_serialised(image_header, landmarks))
        if self._overlays.get_subscription_count():
            header, threshold = to_header(image_header), self.overlay_threshold
            drawn = draw_keypoints(
                image.to_rgb(), keypoints.seen, threshold=threshold, skeleton=model.skeleton
            )
            self._overlays.publish(to_image(header, drawn))
        if self._markers is not None and self._markers.get_subscription_count():
            self._publish_markers(image_header, keypoints, landmarks, model)

    def _publish_markers(
        self, header, keypoints: LocatedPoints, landmarks: LocatedPoints, model
    ) -> None:
        from keypoint_perception.ros.markers import to_markers

        both = [np.column_stack([p.xyz, p.points[:, 2]]) for p in (keypoints, landmarks)]
        threshold = self.overlay_threshold
        markers = to_markers(
            to_header(header), *both, skeleton=model.skeleton, threshold=threshold
        )
        self._markers.publish(markers)

    def _age_ms(self, header: ImageHeader) -> float:
        """Return how old a stamp is; NaN where it is of another clock."""
        age_ms = (self._node.get_clock().now().nanoseconds - header.stamp_ns) / 1e6
        return age_ms if abs(age_ms) < SAME_CLOCK_MS else UNKNOWN

    def answered(self, arrival: Arrival, times: Times) -> None:
        """Count an answered image."""
        self.health.published(times._replace(latency=self._age_ms(arrival.image.header)))

    def refuse(self, kind: str, sentence: str) -> None:
        """Count an image that cannot be used; the first of its kind is logged."""
        if self._closed or not self._node.context.ok():
            return  # what fails at the end fails because it is the end
        if self.health.refused(kind, sentence):
            of = f' of {self.name}' if self.name else ''
            self._node.get_logger().error(
                f'image{of} left out ({kind}): {sentence} Further ones are only counted, in '
                '/diagnostics.'
            )

    def refuse_unexpected(self, error: Exception) -> None:
        """Count an image that a library could not take."""
        self.refuse('unexpected error', f'{type(error).__name__}: {error}.')

    def note(self, kind: str, sentence: str) -> None:
        """Count an image that cannot be used wholly; the first of its kind is logged."""
        if self._closed or not self._node.context.ok():
            return
        if self.health.noted(kind, sentence):
            of = f' of {self.name}' if self.name else ''
            self._node.get_logger().warning(
                f'image{of}, {kind}: {sentence} Further ones are only counted, in /diagnostics.'
            )

    def close(self) -> None:
        """Give back the publishers; an image that is still in work is not answered."""
        self._closed = True
        self.deactivate()
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)


def _serialised(header: ImageHeader, points: LocatedPoints) -> bytes:
    return serialise_point_cloud(header, points.points, points.xyz, points.velocities)
