"""The subscriptions to a camera's calibration and depth images."""

from __future__ import annotations

from collections.abc import Callable

from keypoint_perception.geometry.point_filter import FilterSettings
from keypoint_perception.ros.perception.node_parameters import NodeParameters
from keypoint_perception.ros.perception.point_locator import GeometrySettings, PointLocator
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image

LATCHED_QOS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
# The depth image of a picture may come before the picture, and another one before that is needed.
DEPTH_IMAGES = 4


class GeometryInput:
    """
    Receives what a camera's points are located with, as serialised bytes.

    :param topics: as of :func:`geometry_topics`
    """

    def __init__(
        self, node: LifecycleNode, topics: dict[str, str], geometry: PointLocator
    ) -> None:
        self._node = node
        self._geometry = geometry
        self._topic = topics['camera_info']
        self._latched = False
        overriding = {'qos_overriding_options': QoSOverridingOptions.with_default_policies()}
        # profiles of its own: what the user overrides, rclpy writes into them
        self._repeated_qos = _newest(1)
        self._camera_info = self._subscribe_calibration(self._repeated_qos, **overriding)
        self._depth = None
        if geometry.settings.depth:
            self._depth = node.create_subscription(
                Image,
                topics['depth'],
                geometry.put_depth,
                _newest(DEPTH_IMAGES),
                raw=True,
                **overriding,
            )

    def _subscribe_calibration(self, qos: QoSProfile, **options):
        put = self._geometry.put_camera_info
        return self._node.create_subscription(
            CameraInfo, self._topic, put, qos, raw=True, **options
        )

    def match(self) -> None:
        """
        Ask for what was published before, if a calibration is sent once and kept for all.

        Who sends it again and again does not offer that, and could then not be heard.
        """
        if not self._latched and self._geometry.calibration_came:
            return
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        offered = {publisher.qos_profile.durability for publisher in publishers}
        latched = offered == {DurabilityPolicy.TRANSIENT_LOCAL}
        if offered and latched != self._latched:
            self._latched = latched
            self._node.destroy_subscription(self._camera_info)
            self._camera_info = self._subscribe_calibration(
                LATCHED_QOS if latched else self._repeated_qos
            )

    def close(self) -> None:
        """Receive no more."""
        self._node.destroy_subscription(self._camera_info)
        if self._depth is not None:
            self._node.destroy_subscription(self._depth)


def _newest(depth: int) -> QoSProfile:
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def geometry_topics(node: LifecycleNode, source: Callable[[str], str]) -> dict[str, str]:
    """
    Return the full names of the topics ``camera_info`` and ``depth`` of a camera.

    ``camera_info`` is the sibling of the images, as everywhere in ROS: with ``image`` remapped to
    ``/cam/image_raw`` it is ``/cam/camera_info``, unless it is remapped itself.

    :param source: the camera's own name of a topic, as ``left/image`` of ``image``
    """
    camera_info = node.resolve_topic_name(source('camera_info'))
    if camera_info == node.resolve_topic_name(source('camera_info'), only_expand=True):
        images = node.resolve_topic_name(source('image'))
        camera_info = f'{images.rpartition("/")[0]}/camera_info'
    return {'camera_info': camera_info, 'depth': node.resolve_topic_name(source('depth'))}


def geometry_settings(parameters: NodeParameters) -> GeometrySettings:
    """Return what the parameters ask for."""
    return GeometrySettings(
        depth=parameters.depth,
        depth_tolerance_s=parameters.depth_tolerance,
        depth_wait_s=parameters.depth_wait / 1e3,
        depth_window=2 * parameters.depth_radius + 1,
        rectified=parameters.rectified,
        undistort=parameters.undistort,
        filter=FilterSettings(
            kind=parameters.filter,
            min_cutoff=parameters.filter_min_cutoff,
            beta=parameters.filter_beta,
            derivative_cutoff=parameters.filter_derivative_cutoff,
            noise=parameters.filter_noise,
            acceleration=parameters.filter_acceleration,
            confidence=parameters.filter_confidence,
            gap_s=parameters.filter_gap,
        ),
    )
