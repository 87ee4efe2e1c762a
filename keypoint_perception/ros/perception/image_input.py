"""A camera's image subscription, and the reason when no image can arrive on it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from keypoint_perception.cdr import (
    CompressedImageMessage,
    IMAGE_TYPES,
    ImageMessage,
    read_compressed_image,
    read_image,
)
from keypoint_perception.ros.installation import DDS_PROFILE, shipped_file
from keypoint_perception.ros.parameter import POLICIES
from keypoint_perception.ros.perception.node_statistics import NodeStatistics
from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import (
    qos_check_compatible,
    qos_policy_name_from_kind,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

TYPE_NAMES = dict(zip(('raw', 'compressed'), IMAGE_TYPES, strict=True))
READERS: dict[str, Callable[[bytes], ImageMessage | CompressedImageMessage]] = {
    'raw': read_image,
    'compressed': read_compressed_image,
}
SUFFIX = '/compressed'  # of the topic that the transport of this name adds
MAX_TOPICS_LISTED = 6
OVERRIDABLE = tuple(QoSPolicyKind[policy.upper()] for policy in POLICIES)
# Wireless links lose some images; a shared-memory segment that is too small loses most.
LOST_SHARE = 0.1


class ImageInput:
    """
    Receives images as serialised bytes, for :mod:`keypoint_perception.cdr` to read.

    :param base: name of the topic without its transport, as ``image``
    :param receive: called with every serialised message, in the executor's thread
    :param qos_overrides: names of the QoS overrides set by the user
    :ivar read: reads a serialised message; raises EncodingError
    """

    def __init__(
        self,
        node: LifecycleNode,
        base: str,
        transport: str,
        receive: Callable[[bytes], None],
        statistics: NodeStatistics,
        *,
        qos_overrides: Collection[str] = (),
    ) -> None:
        self._node = node
        self._base = base
        self._transport = transport
        self._statistics = statistics
        self._qos_overrides = qos_overrides
        self.read = READERS[transport]
        self.topic = image_topic(node, base, transport)
        self._receive = receive
        self._qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._upgraded = False
        self._subscription = self._subscribe()

    def _subscribe(self) -> Subscription:
        # Overrides were applied by the first subscription; now they would undo the upgrade.
        overriding = None if self._upgraded else QoSOverridingOptions(policy_kinds=OVERRIDABLE)

        def create(events: SubscriptionEventCallbacks) -> Subscription:
            return self._node.create_subscription(
                {'raw': Image, 'compressed': CompressedImage}[self._transport],
                self.topic,
                self._receive,
                self._qos,
                raw=True,
                event_callbacks=events,
                qos_overriding_options=overriding,
            )

        events = partial(SubscriptionEventCallbacks, incompatible_qos=self._on_incompatible_qos)
        try:
            return create(events(message_lost=self._on_lost))
        except UnsupportedEventTypeError:
            self._node.get_logger().info(
                'this RMW implementation does not report lost messages; the count stays 0'
            )
            return create(events())

    def _on_lost(self, event: Any) -> None:
        self._statistics.count_lost(event.total_count_change)

    def _on_incompatible_qos(self, event: Any) -> None:
        if self._upgraded:
            self._set_reliability(ReliabilityPolicy.BEST_EFFORT)
            self._node.get_logger().warning(
                f'falling back to best effort on {self.topic}: a publisher offers no more.'
            )
            return
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        reason = f'a publisher does not offer the {policy} that this node requests'
        self._node.get_logger().warning(self._incompatible_qos(reason))

    def _incompatible_qos(self, reason: str) -> str:
        return (
            f'QoS incompatible on {self.topic}: {reason}; change '
            f'qos_overrides.{self.topic}.subscription, or the publisher.'
        )

    def adapt_reliability(self, lost_share: float) -> None:
        """Switch to reliable delivery if images are lost and every publisher offers it."""
        best_effort = self._qos.reliability == ReliabilityPolicy.BEST_EFFORT
        overridden = f'qos_overrides.{self.topic}.subscription.reliability' in self._qos_overrides
        if lost_share <= LOST_SHARE or not best_effort or overridden:
            return
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        offered = {publisher.qos_profile.reliability for publisher in publishers}
        if offered == {ReliabilityPolicy.RELIABLE}:
            self._set_reliability(ReliabilityPolicy.RELIABLE)
            self._node.get_logger().warning(
                f'switching to reliable delivery on {self.topic}: {lost_share:.0%} of the images '
                'were lost, and every publisher offers it. It costs latency; for large images '
                f'give the publisher the DDS profile {shipped_file("config", DDS_PROFILE)}.'
            )

    def _set_reliability(self, reliability: ReliabilityPolicy) -> None:
        self.close()
        self._qos.reliability = reliability
        self._upgraded = reliability == ReliabilityPolicy.RELIABLE
        self._subscription = self._subscribe()

    def close(self) -> None:
        self._node.destroy_subscription(self._subscription)

    @property
    def publishers(self) -> int:
        """Return the number of publishers on the topic, whether compatible or not."""
        return self._node.count_publishers(self.topic)

    def blocking_reason(self) -> str:
        """Return why no image can arrive; empty if no reason is known."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        expected = TYPE_NAMES[self._transport]
        if not publishers:
            return f'no publisher on {self.topic} ({expected}); {self._suggest_topic()}'
        matching = [p for p in publishers if p.topic_type == expected]
        if not matching:
            return (
                f'the publisher on {self.topic} sends {publishers[0].topic_type}, expected '
                f'{expected}; {self._suggest_topic()}'
            )
        checks = [qos_check_compatible(p.qos_profile, self._qos) for p in matching]
        if any(compatibility != QoSCompatibility.ERROR for compatibility, _ in checks):
            return ''
        return self._incompatible_qos(qos_errors(checks[0][1]))

    def _suggest_topic(self) -> str:
        """Return how to reach a topic with images; each remedy works as it is given."""
        published = self._published()
        base = image_topic(self._node, self._base, 'raw')
        other = 'compressed' if self._transport == 'raw' else 'raw'
        there = image_topic(self._node, self._base, other)
        if there in published[other] and there != self.topic:
            return f'{there} has one: set image_transport:={other}.'
        compressed, set_transport = published['compressed'], f'set image_transport:={other} and '
        if base in compressed and base.endswith(SUFFIX):
            also = '' if other == 'raw' else set_transport
            remap = f'{also or "remap "}{self._base}:={base.removesuffix(SUFFIX)}'
            return f"{base} is the transport's own topic: {remap}."
        stems = [name.removesuffix(SUFFIX) for name in compressed if name.endswith(SUFFIX)]
        bases = {'raw': published['raw'], 'compressed': stems}
        remap = f'{self._base}:=TOPIC'
        for topics, also, how in (
            (bases[self._transport], '', remap),
            (bases[other], set_transport, remap),
            (compressed, '' if other == 'raw' else set_transport, f'{base}{SUFFIX}:=TOPIC'),
        ):
            if topics:
                names = ', '.join(topics[:MAX_TOPICS_LISTED])
                return f'image topics: {names}; {also}remap with `-r {how}`.'
        return 'no image topic is published at all; start the camera, or check ROS_DOMAIN_ID.'

    def _published(self) -> dict[str, list[str]]:
        """Return the topics on which other nodes publish images, by transport."""
        own = self._node.get_name(), self._node.get_namespace()
        found: dict[str, list[str]] = {transport: [] for transport in TYPE_NAMES}
        for topic, _ in sorted(self._node.get_topic_names_and_types()):
            publishers = self._node.get_publishers_info_by_topic(topic)
            types = {p.topic_type for p in publishers if (p.node_name, p.node_namespace) != own}
            for transport, name in TYPE_NAMES.items():
                found[transport] += [topic] if name in types else []
        return found


def qos_errors(reason: str) -> str:
    """
    Return the incompatibilities of two profiles, without the warnings among them.

    :param reason: as ``qos_check_compatible`` gives it: ``ERROR: Best effort publisher and
        reliable subscription;WARNING: ...;``
    """
    parts = [part.strip() for part in reason.split(';')]
    errors = [part.removeprefix('ERROR: ') for part in parts if part.startswith('ERROR: ')]
    listed = ', '.join(error[:1].lower() + error[1:] for error in errors)
    return listed or 'the publisher does not offer what this node requests'


def image_topic(node: LifecycleNode, base: str, transport: str) -> str:
    """Return the full name of the topic; the base is remapped before the transport is added."""
    resolved: str = node.resolve_topic_name(base)
    return resolved if transport == 'raw' else resolved + SUFFIX
