"""One recorded topic: type and QoS from the ROS graph, serialised messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
import logging
from typing import Any

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.message_definitions import message_class
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

# Messages that the middleware holds while this process is busy.
DEPTH = 50
Log = logging.Logger | RcutilsLogger


@dataclass
class TopicCounts:
    """
    How many messages of a topic were received and written, and where the others went.

    :param skipped: left out on purpose, by the rate limit or the motion filter
    :param dropped: not written because the disk did not keep up
    :param lost: in transit, as reported by the middleware
    """

    received: int = 0
    written: int = 0
    skipped: int = 0
    dropped: int = 0
    lost: int = 0


@dataclass(frozen=True)
class TopicInfo:
    """
    A topic as its publishers declare it.

    :param msgtype: empty before there is a publisher
    :param qos: profile offered by each, with rosbag2's keys
    """

    msgtype: str = ''
    type_hash: str = ''
    qos: list[dict[str, Any]] = field(default_factory=list)


class TopicSubscription:
    """
    Receives the serialised messages of a topic as soon as it has a publisher.

    :param name: fully qualified name
    :param receive: called in the executor's thread with the message and rclpy's message info
    """

    def __init__(
        self,
        node: Node,
        name: str,
        receive: Callable[[TopicSubscription, bytes, dict[str, int]], None],
        log: Log,
    ) -> None:
        self.name = name
        self.counts = TopicCounts()
        self.info = TopicInfo()
        self._node = node
        self._receive = receive
        self._log = log
        self._subscription: Any = None
        self._matched: tuple[ReliabilityPolicy, DurabilityPolicy] | None = None
        self._type_error = ''

    @property
    def listening(self) -> bool:
        return self._subscription is not None

    def follow_publishers(self) -> None:
        """Subscribe once there is a publisher, and again if the publishers' QoS changes."""
        publishers = self._node.get_publishers_info_by_topic(self.name)
        if not publishers:
            return
        msgtype = self.info.msgtype or publishers[0].topic_type
        same = [p for p in publishers if p.topic_type == msgtype]
        if not same:
            return
        profile = matched_qos([p.qos_profile for p in same])
        matched = (profile.reliability, profile.durability)
        if matched == self._matched:
            return
        try:
            kind = message_class(msgtype)
        except ConfigError as error:
            self._type_error = str(error)
            return
        profiles = [qos_values(p.qos_profile) for p in same]
        self.info = TopicInfo(msgtype, _hash_text(same[0]), profiles)
        self.close()
        self._subscription = self._subscribe(kind, profile)
        self._matched = matched
        self._log.info(f'recording {self.name} ({msgtype}, {profile.reliability.name.lower()})')

    def _subscribe(self, kind: type, profile: QoSProfile) -> Any:
        def on_message(message: bytes, message_info: dict[str, int]) -> None:
            self._receive(self, message, message_info)

        callback: Any = on_message  # rclpy's types omit callbacks that take the message info
        create = partial(
            self._node.create_subscription, kind, self.name, callback, profile, raw=True
        )
        try:
            return create(event_callbacks=SubscriptionEventCallbacks(message_lost=self._on_lost))
        except UnsupportedEventTypeError:
            return create()

    def _on_lost(self, event: Any) -> None:
        self.counts.lost += event.total_count_change

    def silence_reason(self) -> str:
        """Return in one sentence why none or not all messages arrive; empty if all may."""
        publishers = self._node.get_publishers_info_by_topic(self.name)
        if not publishers:
            others = ', '.join(self._topics_with_publishers()[:6])
            found = f'published topics: {others}' if others else 'nothing is published at all'
            return (
                f'no publisher on {self.name}; {found}; start it, or check the name and '
                'ROS_DOMAIN_ID.'
            )
        if self._type_error:
            return self._type_error
        types = sorted({p.topic_type for p in publishers})
        if self.info.msgtype and types != [self.info.msgtype]:
            return (
                f'{self.name} is published as {", ".join(types)} but recorded as '
                f'{self.info.msgtype}; stop one of the publishers, or restart the recording.'
            )
        if self.counts.received:
            return ''
        return (
            f'{self.name} has {len(publishers)} publishers ({types[0]}) but no message arrives; '
            'check that it is sending, and that both sides use the same Fast DDS profile '
            '(config/fastdds_large_images.xml).'
        )

    def _topics_with_publishers(self) -> list[str]:
        names = {name for name, _ in self._node.get_topic_names_and_types()}
        names -= {'/rosout', '/parameter_events', '/diagnostics'}
        own = self._node.get_fully_qualified_name() + '/'
        others = sorted(name for name in names if not name.startswith(own))
        return [name for name in others if self._node.count_publishers(name)]

    def close(self) -> None:
        """Receive the messages that have already arrived, then unsubscribe."""
        if self._subscription is None:
            return
        subscription, self._subscription = self._subscription, None
        for _ in range(DEPTH):  # the middleware holds no more, but new ones can keep arriving
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                break
            self._receive(self, *taken)
        self._node.destroy_subscription(subscription)


def matched_qos(offered: list[QoSProfile]) -> QoSProfile:
    """Return the strictest profile that is compatible with all of at least one publisher."""
    reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
    latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def qos_values(profile: QoSProfile) -> dict[str, Any]:
    """Return a profile with the keys and values of rosbag2's metadata, version 9."""

    def duration(value: Duration) -> dict[str, int]:
        seconds, nanoseconds = divmod(value.nanoseconds, 10**9)
        return {'sec': seconds, 'nsec': nanoseconds}

    return {
        'history': profile.history.name.lower(),
        'depth': profile.depth,
        'reliability': profile.reliability.name.lower(),
        'durability': profile.durability.name.lower(),
        'deadline': duration(profile.deadline),
        'lifespan': duration(profile.lifespan),
        'liveliness': profile.liveliness.name.lower(),
        'liveliness_lease_duration': duration(profile.liveliness_lease_duration),
        'avoid_ros_namespace_conventions': profile.avoid_ros_namespace_conventions,
    }


def _hash_text(publisher: object) -> str:
    """Return the hash of a publisher's type as rosbag2 writes it; empty if RMW has none."""
    text = str(getattr(publisher, 'topic_type_hash', None))
    return text if text.startswith('RIHS01_') else ''
