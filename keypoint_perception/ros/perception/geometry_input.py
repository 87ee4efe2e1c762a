"""A camera's subscriptions to its calibration and depth images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from keypoint_perception.geometry.point_locator import PointLocator
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image

# Reliable by default.
LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Depth images may arrive before their image, and older ones may still be needed.
DEPTH_IMAGES = 4


class GeometryInput:
    """
    Passes a camera's calibration and depth images to its locator, as serialised bytes.

    :param topics: as returned by :func:`geometry_topics`
    """

    def __init__(self, node: LifecycleNode, topics: dict[str, str], locator: PointLocator) -> None:
        self._node = node
        self._locator = locator
        self._topic = topics['camera_info']
        self._latched = False
        overriding = QoSOverridingOptions.with_default_policies()
        self._create = partial(node.create_subscription, raw=True)
        self._calibration = CameraInfo, self._topic, locator.camera_info.put
        # A profile of its own, because rclpy writes the user's overrides into it.
        self._volatile_qos = _best_effort(1)
        self._camera_info: Subscription = self._create(
            *self._calibration, self._volatile_qos, qos_overriding_options=overriding
        )
        self._depth: Subscription | None = None
        if locator.settings.depth:
            depth = Image, topics['depth'], locator.put_depth, _best_effort(DEPTH_IMAGES)
            self._depth = self._create(*depth, qos_overriding_options=overriding)

    def adapt_durability(self) -> None:
        """
        Subscribe as transient local if the calibration is published once and latched.

        A publisher that repeats it does not offer that, and would then be incompatible.
        """
        if not self._latched and self._locator.camera_info.received:
            return
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        offered = {publisher.qos_profile.durability for publisher in publishers}
        latched = offered == {DurabilityPolicy.TRANSIENT_LOCAL}
        if offered and latched != self._latched:
            self._latched = latched
            self._node.destroy_subscription(self._camera_info)
            qos = LATCHED_QOS if latched else self._volatile_qos
            self._camera_info = self._create(*self._calibration, qos)

    def close(self) -> None:
        self._node.destroy_subscription(self._camera_info)
        if self._depth is not None:
            self._node.destroy_subscription(self._depth)


def _best_effort(depth: int) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def geometry_topics(node: LifecycleNode, input_name: Callable[[str], str]) -> dict[str, str]:
    """
    Return the full names of the topics ``camera_info`` and ``depth`` of a camera.

    As elsewhere in ROS, ``camera_info`` is the sibling of the image topic: with ``image`` remapped
    to ``/cam/image_raw`` it is ``/cam/camera_info``, unless it is remapped itself.

    :param input_name: returns the camera's name of a topic, as ``left/image`` of ``image``
    """
    camera_info = node.resolve_topic_name(input_name('camera_info'))
    if camera_info == node.resolve_topic_name(input_name('camera_info'), only_expand=True):
        images = node.resolve_topic_name(input_name('image'))
        camera_info = f'{images.rpartition("/")[0]}/camera_info'
    return {'camera_info': camera_info, 'depth': node.resolve_topic_name(input_name('depth'))}
