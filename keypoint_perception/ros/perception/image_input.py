"""The subscription to images, and what keeps them away."""

from __future__ import annotations

from collections.abc import Callable

from keypoint_perception.cdr import read_compressed_image, read_image
from keypoint_perception.ros.installation import DDS_PROFILE, shipped_file
from keypoint_perception.ros.perception.node_statistics import NodeStatistics
from keypoint_perception.ros.qos_overrides import POLICIES
from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import (
    HistoryPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

TYPE_NAMES = {'raw': 'sensor_msgs/msg/Image', 'compressed': 'sensor_msgs/msg/CompressedImage'}
MAX_TOPICS_NAMED = 6
OVERRIDABLE = tuple(QoSPolicyKind[policy.upper()] for policy in POLICIES)
# Wireless links lose some images; a shared-memory segment that is too small loses most.
LOST_SHARE = 0.1


def newest_image() -> QoSProfile:
    """Return what is asked of a camera: sensor data, and only the newest image."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
    )


class ImageInput:
    """
    Receives images as serialised bytes, for :mod:`keypoint_perception.cdr` to read.

    :param base: name of the topic without its transport, as ``image``
    :param transport: ``raw`` for ``image``, ``compressed`` for ``image/compressed``
    :param receive: called with every serialised message, in the executor's thread
    """

    def __init__(
        self,
        node: LifecycleNode,
        base: str,
        transport: str,
        receive: Callable[[bytes], None],
        health: NodeStatistics,
    ) -> None:
        self._node = node
        self._base = base
        self._transport = transport
        self._health = health
        self.read = {'raw': read_image, 'compressed': read_compressed_image}[transport]
        self.topic = image_topic(node, base, transport)
        self._receive = receive
        self._qos = newest_image()
        self._raised = False
        self._subscription = self._subscribe()

    def _subscribe(self):
        # Overrides have been looked at before: they would undo what is raised now.
        overriding = QoSOverridingOptions(policy_kinds=OVERRIDABLE)
        options = {} if self._raised else {'qos_overriding_options': overriding}

        def create(events: SubscriptionEventCallbacks):
            return self._node.create_subscription(
                {'raw': Image, 'compressed': CompressedImage}[self._transport],
                self.topic,
                self._receive,
                self._qos,
                raw=True,
                event_callbacks=events,
                **options,
            )

        quiet = {'incompatible_qos': self._on_incompatible_qos}
        try:
            return create(SubscriptionEventCallbacks(message_lost=self._on_lost, **quiet))
        except UnsupportedEventTypeError:
            self._node.get_logger().info(
                'this RMW implementation does not report lost messages; the count stays 0'
            )
            return create(SubscriptionEventCallbacks(**quiet))

    def _on_lost(self, event) -> None:
        self._health.lost(event.total_count_change)

    def _on_incompatible_qos(self, event) -> None:
        if self._raised:
            self._set_reliability(ReliabilityPolicy.BEST_EFFORT)
            self._node.get_logger().warning(
                f'best effort again on {self.topic}: a publisher offers no more.'
            )
            return
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        reason = f'a publisher does not offer the {policy} that this node asks for'
        self._node.get_logger().warning(self._qos_sentence(reason))

    def _qos_sentence(self, reason: str) -> str:
        return (
            f'QoS incompatible on {self.topic}: {reason}; change '
            f'qos_overrides.{self.topic}.subscription, or the publisher.'
        )

    def match(self, lost_share: float) -> None:
        """
        Ask for reliable delivery where images are lost and every publisher offers it.

        :param lost_share: share of the last images that never arrived
        """
        best_effort = self._qos.reliability == ReliabilityPolicy.BEST_EFFORT
        if lost_share <= LOST_SHARE or not best_effort or self._overridden():
            return
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        offered = {publisher.qos_profile.reliability for publisher in publishers}
        if offered == {ReliabilityPolicy.RELIABLE}:
            self._set_reliability(ReliabilityPolicy.RELIABLE)
            self._node.get_logger().warning(
                f'reliable delivery is asked for on {self.topic} from now on: {lost_share:.0%} of '
                'the images were lost, and every publisher offers it. It costs latency; for large '
                f'images give the publisher the DDS profile {shipped_file("config", DDS_PROFILE)}.'
            )

    def _overridden(self) -> bool:
        chosen = getattr(self._node, 'qos_overrides', ())
        return f'qos_overrides.{self.topic}.subscription.reliability' in chosen

    def _set_reliability(self, reliability: ReliabilityPolicy) -> None:
        self.close()
        self._qos.reliability = reliability
        self._raised = reliability == ReliabilityPolicy.RELIABLE
        self._subscription = self._subscribe()

    def close(self) -> None:
        """Receive no more."""
        self._node.destroy_subscription(self._subscription)

    @property
    def publishers(self) -> int:
        """Return the number of publishers on the topic, whether or not they can be heard."""
        return self._node.count_publishers(self.topic)

    def obstacle(self) -> str:
        """Return why no image can arrive; empty if nothing is known that keeps them away."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        expected = TYPE_NAMES[self._transport]
        if not publishers:
            return f'no publisher on {self.topic} ({expected}); {self._where_images_are()}'
        right = [p for p in publishers if p.topic_type == expected]
        if not right:
            return (
                f'the publisher on {self.topic} sends {publishers[0].topic_type}, expected '
                f'{expected}; {self._where_images_are()}'
            )
        reasons = []
        for publisher in right:
            compatibility, reason = qos_check_compatible(publisher.qos_profile, self._qos)
            if compatibility != QoSCompatibility.ERROR:
                return ''
            reasons.append(qos_errors(reason))
        return self._qos_sentence(reasons[0])

    def _where_images_are(self) -> str:
        """Return what to do about a topic without images."""
        topics = self._node.get_topic_names_and_types()
        found = {
            transport: sorted(
                name for name, types in topics if kind in types and self._heard(name)
            )
            for transport, kind in TYPE_NAMES.items()
        }
        base = image_topic(self._node, self._base, 'raw')
        other = 'compressed' if self._transport == 'raw' else 'raw'
        there = {'raw': base, 'compressed': f'{base}/compressed'}[other]
        if there in found[other]:
            return f'{there} has one: set image_transport:={other}.'
        named = found['raw'] + found['compressed']
        if not named:
            return 'no image topic is published at all; start the camera, or check ROS_DOMAIN_ID.'
        listed = ', '.join(named[:MAX_TOPICS_NAMED])
        return f'image topics: {listed}; remap with `-r {self._base}:=TOPIC`.'

    def _heard(self, topic: str) -> bool:
        return self._node.count_publishers(topic) > 0 and not topic.startswith(
            self._node.get_fully_qualified_name() + '/'
        )


def qos_errors(reason: str) -> str:
    """
    Return what two profiles fail in, without the warnings beside it.

    :param reason: as ``qos_check_compatible`` gives it: ``ERROR: Best effort publisher and
        reliable subscription;WARNING: ...;``
    """
    parts = [part.strip() for part in reason.split(';')]
    errors = [part.removeprefix('ERROR: ') for part in parts if part.startswith('ERROR: ')]
    named = ', '.join(error[:1].lower() + error[1:] for error in errors)
    return named or 'the publisher does not offer what this node asks for'


def image_topic(node: LifecycleNode, base: str, transport: str) -> str:
    """Return the full name of the topic; the base is remapped before the transport is added."""
    resolved = node.resolve_topic_name(base)
    return resolved if transport == 'raw' else f'{resolved}/compressed'
