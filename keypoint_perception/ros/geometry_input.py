"""The subscriptions to a camera's calibration and depth images."""

from __future__ import annotations

from collections.abc import Callable

from keypoint_perception.ros.geometry import Geometry, GeometrySettings
from keypoint_perception.ros.parameters import NodeParameters
from keypoint_perception.ros.point_filter import FilterSettings
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image

CAMERA_INFO_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
# The depth image of a picture may come before the picture, and another one before that is needed.
DEPTH_QOS = QoSProfile(depth=4, reliability=ReliabilityPolicy.BEST_EFFORT)


class GeometryInput:
    """
    Receives what a camera's points are located with, as serialised bytes.

    :param topics: as of :func:`geometry_topics`
    """

    def __init__(self, node: LifecycleNode, topics: dict[str, str], geometry: Geometry) -> None:
        self._node = node
        self._subscriptions = [
            self._subscribe(CameraInfo, topics, 'camera_info', geometry.put_camera_info)
        ]
        if geometry.settings.depth:
            self._subscriptions.append(self._subscribe(Image, topics, 'depth', geometry.put_depth))

    def _subscribe(self, kind: type, topics: dict[str, str], name: str, receive: Callable):
        return self._node.create_subscription(
            kind,
            topics[name],
            receive,
            {'camera_info': CAMERA_INFO_QOS, 'depth': DEPTH_QOS}[name],
            raw=True,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def close(self) -> None:
        """Receive no more."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


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
