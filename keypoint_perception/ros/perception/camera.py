"""One camera of the node: its subscriptions, its publishers and its statistics."""

from __future__ import annotations

from collections.abc import Callable, Collection
import time
from typing import NamedTuple

from keypoint_perception.cdr import CompressedImageMessage, ImageMessage, MessageHeader
from keypoint_perception.encodings import EncodedImage
from keypoint_perception.errors import EncodingError, EngineError
from keypoint_perception.geometry.geometry_settings import GeometrySettings
from keypoint_perception.geometry.point_locator import PointLocator
from keypoint_perception.inference.estimator import Estimate, Estimator
from keypoint_perception.ros.perception.camera_publishers import CameraPublishers
from keypoint_perception.ros.perception.geometry_input import geometry_topics, GeometryInput
from keypoint_perception.ros.perception.image_input import image_topic, ImageInput
from keypoint_perception.ros.perception.node_statistics import (
    Effect,
    NodeStatistics,
    StageTimes,
    UNKNOWN,
)
import numpy as np
from rclpy.lifecycle import LifecycleNode

# Stamps further off are of another clock (an old recording, a simulator): no latency is computed.
SAME_CLOCK_MS = 3_600_000.0
NO_GEOMETRY = GeometrySettings()


class QueuedImage(NamedTuple):
    """A received image, its camera, and when it arrived."""

    camera: Camera
    image: ImageMessage | CompressedImageMessage
    arrived_s: float  # by time.perf_counter


class Camera:
    """
    One camera, from its input topics to its output topics.

    Its publishers live as long as the camera; its subscriptions live while it is active and, if it
    is lazy, while one of its output topics has subscribers.

    :param name: prefix of its topics, as ``left`` in ``left/image`` and ``~/left/keypoints``;
        empty for the only camera of a node
    :param put: queues an image for the inference thread; returns whether it replaced an older
        image of this camera
    :param qos_overrides: names of the QoS overrides set by the user
    :ivar input: the image subscription; None while the camera is idle
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        *,
        transport: str,
        put: Callable[[QueuedImage], bool],
        geometry: GeometrySettings = NO_GEOMETRY,
        qos_overrides: Collection[str] = (),
    ) -> None:
        self.name = name
        self.statistics = NodeStatistics()
        self.overlay_threshold = 0.5
        self._node = node
        self._transport = transport
        self._put = put
        self._qos_overrides = qos_overrides
        self.input: ImageInput | None = None
        self._active = False
        self._lazy = True
        self._model: Estimator | None = None
        self._last_stamp_ns = 0
        self._clock_jumped = False
        self._closed = False
        prefix = f'~/{name}'.rstrip('/')
        self.publishers = CameraPublishers(node, prefix, geometry.depth, self.update)
        topics = geometry_topics(node, self._input_name) if geometry.needs_calibration else {}
        self._geometry_topics = topics
        self._geometry_input: GeometryInput | None = None
        self.locator = PointLocator(geometry, self._geometry_topics, self.report_degraded)

    def _input_name(self, name: str) -> str:
        """Return the camera's own name of an input topic, as ``left/image`` of ``image``."""
        return f'{self.name}/{name}' if self.name else name

    @property
    def topic(self) -> str:
        """Return the image topic, whether subscribed to or not."""
        return image_topic(self._node, self._input_name('image'), self._transport)

    @property
    def recorded_topics(self) -> tuple[str, ...]:
        """Return the input topics, which a recording of the camera consists of."""
        return (self.topic, *self._geometry_topics.values())

    def set_active(self, active: bool, *, lazy: bool = True) -> None:
        """
        Process images from now on, or unsubscribe from them.

        :param lazy: subscribe to images only while an output topic has subscribers
        """
        self._active, self._lazy = active, lazy
        self.update()

    def update(self) -> None:
        """Subscribe to the images or unsubscribe, and adapt the QoS to the publishers."""
        wanted = self._active and (not self._lazy or self.publishers.have_subscribers())
        if wanted and self.input is None:
            self._subscribe()
        elif self.input is not None and not wanted:
            self.input.close()
            self.input = None
            if self._geometry_input is not None:
                self._geometry_input.close()
                self._geometry_input = None
        if self.input is not None:
            self.input.adapt_reliability(self.statistics.lost_share())
        if self._geometry_input is not None:
            self._geometry_input.adapt_durability()

    def _subscribe(self) -> None:
        self.statistics.restart_window()
        self.input = ImageInput(
            self._node,
            self._input_name('image'),
            self._transport,
            self._receive,
            self.statistics,
            qos_overrides=self._qos_overrides,
        )
        if self.locator.settings.needs_calibration:
            self.locator.resume()
            self._geometry_input = GeometryInput(self._node, self._geometry_topics, self.locator)

    def _receive(self, serialised: bytes) -> None:
        """Queue an image for the inference thread; runs in the executor's thread."""
        if self.input is None:
            return  # received before the subscription was destroyed
        arrived_s = time.perf_counter()
        try:
            image = self.input.read(serialised)
        except Exception as error:  # no message may stop the node
            self.statistics.count_received(len(serialised))
            self.reject(error, 'broken message')
            return
        self.statistics.count_received(len(serialised), self._age_ms(image.header))
        if self._put(QueuedImage(self, image, arrived_s)):
            self.statistics.count_dropped()

    def on_clock_jump(self) -> None:
        """Handle a backward jump of the clock; callable from any thread."""
        self._clock_jumped = True

    def _reset_if_discontinuous(self, header: MessageHeader, model: Estimator) -> None:
        """Reset the filters if the model has changed or time went back."""
        last_ns, self._last_stamp_ns = self._last_stamp_ns, header.stamp_ns
        jumped, self._clock_jumped = self._clock_jumped or header.stamp_ns < last_ns, False
        if jumped:
            self.statistics.count_clock_jump()
        if jumped or model is not self._model:
            self._model = model
            self.locator.reset()

    def publish(
        self, queued: QueuedImage, image: EncodedImage, estimate: Estimate, model: Estimator
    ) -> None:
        """
        Publish the keypoints of an image; runs in the inference thread.

        :param model: what computed the estimate; another model may have other keypoints
        """
        header = queued.image.header
        self._reset_if_discontinuous(header, model)
        count = len(estimate.keypoints)
        points = np.concatenate(estimate) if len(estimate.landmarks) else estimate.keypoints
        located = self.locator.locate(header, image.image_hw, points)
        keypoints, landmarks = located.rows(slice(count)), located.rows(slice(count, None))
        skeleton, threshold = model.skeleton, self.overlay_threshold
        self.publishers.publish(header, image, keypoints, landmarks, skeleton, threshold)

    def _age_ms(self, header: MessageHeader) -> float:
        """Return the age of a stamp; NaN if it is of another clock."""
        age_ms = (self._node.get_clock().now().nanoseconds - header.stamp_ns) / 1e6
        return age_ms if abs(age_ms) < SAME_CLOCK_MS else UNKNOWN

    def count_published(self, queued: QueuedImage, times: StageTimes) -> None:
        """Count an image whose keypoints were published."""
        latency_ms = self._age_ms(queued.image.header)
        self.statistics.count_published(times._replace(latency=latency_ms))

    def reject(self, error: Exception, kind: str) -> None:
        """
        Count an image that cannot be used, and log the reason if it is new.

        :param kind: of the error, if it is one of this package
        """
        message = str(error)
        if not isinstance(error, (EncodingError, EngineError)):
            kind, message = 'unexpected error', f'{type(error).__name__}: {error}.'
        if line := self._count_problem('rejected', kind, message):
            self._node.get_logger().error(line)

    def report_degraded(self, kind: str, message: str) -> None:
        """Count an image that can only be used in part, and log the message if it is new."""
        if line := self._count_problem('degraded', kind, message):
            self._node.get_logger().warning(line)

    def _count_problem(self, effect: Effect, kind: str, message: str) -> str:
        """Count an image with a problem; return what to log, or an empty text."""
        if self._closed:
            return ''  # due to the shutdown, not worth reporting
        if not self.statistics.count_problem(effect, kind, message):
            return ''
        camera = f' of {self.name}' if self.name else ''
        return (
            f'image{camera} {effect} ({kind}): {message} Further ones are only counted, in '
            '/diagnostics.'
        )

    def close(self) -> None:
        """Destroy the publishers; images in progress are not published any more."""
        self._closed = True
        self.set_active(False)
        self.publishers.destroy()
