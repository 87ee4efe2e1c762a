"""One image's way: received -> decoded -> keypoints -> published."""

from __future__ import annotations

import time

from keypoint_perception.drawing import draw_keypoints
from keypoint_perception.errors import EncodingError, EngineError
from keypoint_perception.images import SUPPORTED_ENCODINGS
from keypoint_perception.inference.estimator import Estimator
from keypoint_perception.ros.cdr import ReceivedCompressedImage, ReceivedImage
from keypoint_perception.ros.health import Health
from keypoint_perception.ros.messages import to_header, to_image, to_point_cloud, to_rgb
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, PointCloud2

# A recording replayed with its old stamps, or a simulator's clock, says nothing of latency.
SAME_CLOCK_MS = 3_600_000.0
# Every message reaches whoever records them; who controls by them keeps the newest himself.
KEYPOINTS_QOS = QoSProfile(depth=10)
OVERLAY_QOS = QoSProfile(depth=1)


class Pipeline:
    """
    Turns received images into published keypoints, in the inference thread.

    :param overlay_threshold: keypoints below are drawn as rings
    """

    def __init__(
        self,
        node: LifecycleNode,
        estimator: Estimator,
        health: Health,
        *,
        overlay_threshold: float,
    ) -> None:
        self._node = node
        self._estimator = estimator
        self._health = health
        self._overlay_threshold = overlay_threshold
        self._closed = False
        create = node.create_lifecycle_publisher
        self._clouds = create(PointCloud2, '~/keypoints', KEYPOINTS_QOS)
        self._overlays = create(Image, '~/overlay', OVERLAY_QOS)

    def process(self, image: ReceivedImage | ReceivedCompressedImage) -> None:
        """Publish the keypoints of an image; one that cannot be used is counted instead."""
        try:
            self._answer(image)
        except (EncodingError, EngineError) as error:
            self.refuse(kind_of(image, error), str(error))
        except Exception as error:  # a library's own: the node lives on without this image
            if not self._closed and self._node.context.ok():
                self.refuse('unexpected error', f'{type(error).__name__}: {error}')

    def _answer(self, image: ReceivedImage | ReceivedCompressedImage) -> None:
        rgb = to_rgb(image)
        started = time.perf_counter()
        keypoints = self._estimator.estimate(rgb)
        engine_ms = (time.perf_counter() - started) * 1e3
        header = to_header(image.header)
        self._clouds.publish(to_point_cloud(header, keypoints))
        self._health.published(self._latency_ms(image), engine_ms)
        if self._overlays.get_subscription_count():
            drawn = draw_keypoints(
                rgb,
                keypoints,
                threshold=self._overlay_threshold,
                skeleton=self._estimator.skeleton,
            )
            self._overlays.publish(to_image(header, drawn))

    def refuse(self, kind: str, sentence: str) -> None:
        """Count an image that cannot be used; the first of its kind is logged."""
        if self._health.refused(kind, sentence):
            self._node.get_logger().error(
                f'image left out ({kind}): {sentence} Further ones are only counted, in '
                '/diagnostics.'
            )

    def _latency_ms(self, image: ReceivedImage | ReceivedCompressedImage) -> float:
        age_ms = (self._node.get_clock().now().nanoseconds - image.header.stamp_ns) / 1e6
        return age_ms if abs(age_ms) < SAME_CLOCK_MS else float('nan')

    def close(self) -> None:
        """Give back the publishers; an image that is still in work is not answered."""
        self._closed = True
        self._node.destroy_lifecycle_publisher(self._clouds)
        self._node.destroy_lifecycle_publisher(self._overlays)


def kind_of(image: ReceivedImage | ReceivedCompressedImage, error: Exception) -> str:
    """Return under which name a bad image is counted."""
    if isinstance(error, EngineError):
        return 'not finite' if 'NaN' in str(error) else 'engine failed'
    if isinstance(image, ReceivedCompressedImage):
        return 'broken compressed image'
    if image.encoding not in SUPPORTED_ENCODINGS:
        return 'encoding not supported'
    if image.height < 1 or image.width < 1:
        return 'no pixels'
    return 'wrong step or size'
