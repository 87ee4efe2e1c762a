"""One topic that is recorded: its type and QoS from the graph, its messages as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.message_definitions import message_class
from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

# Messages that wait in the middleware while this process is busy.
DEPTH = 50


@dataclass
class TopicCounts:
    """
    What became of a topic's messages.

    :param received: by the recorder
    :param written: to the bag
    :param skipped: left out on purpose, by the rate limit or for lack of motion
    :param dropped: because the disk did not keep up
    :param lost: on the way, as the middleware reports it
    """

    received: int = 0
    written: int = 0
    skipped: int = 0
    dropped: int = 0
    lost: int = 0


@dataclass(frozen=True)
class TopicOrigin:
    """
    What the publishers of a topic say about it.

    :param qos: what each offers, with rosbag2's keys
    """

    msgtype: str
    type_hash: str = ''
    qos: list[dict] = field(default_factory=list)


class TopicSubscription:
    """
    Receives the serialised messages of a topic as soon as it has a publisher.

    :param name: full name of the topic
    :param receive: called with the message and rclpy's information on it, in the executor's thread
    :param log: logger with ``info``
    """

    def __init__(
        self,
        node: Node,
        name: str,
        receive: Callable[[TopicSubscription, bytes, dict], None],
        log,
    ) -> None:
        self.name = name
        self.counts = TopicCounts()
        self.origin: TopicOrigin | None = None
        self._node = node
        self._receive = receive
        self._log = log
        self._subscription = None
        self._matched: tuple | None = None
        self._unusable = ''

    @property
    def listening(self) -> bool:
        """Return whether messages can arrive."""
        return self._subscription is not None

    def follow_publishers(self) -> None:
        """Subscribe once there is a publisher, and again if those there are ask for other QoS."""
        publishers = self._node.get_publishers_info_by_topic(self.name)
        if not publishers:
            return
        msgtype = publishers[0].topic_type if self.origin is None else self.origin.msgtype
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
            self._unusable = str(error)
            return
        self.origin = TopicOrigin(
            msgtype, _hash_text(same[0]), [qos_values(p.qos_profile) for p in same]
        )
        self.close()
        self._subscription = self._subscribe(kind, profile)
        self._matched = matched
        self._log.info(f'recording {self.name} ({msgtype}, {profile.reliability.name.lower()})')

    def _subscribe(self, kind: type, profile: QoSProfile):
        def on_message(message: bytes, info: dict) -> None:
            self._receive(self, message, info)

        def create(events: SubscriptionEventCallbacks):
            return self._node.create_subscription(
                kind, self.name, on_message, profile, raw=True, event_callbacks=events
            )

        try:
            return create(SubscriptionEventCallbacks(message_lost=self._on_lost))
        except UnsupportedEventTypeError:
            return create(SubscriptionEventCallbacks())

    def _on_lost(self, event) -> None:
        self.counts.lost += event.total_count_change

    def obstacle(self) -> str:
        """Return why nothing arrives, in one sentence."""
        publishers = self._node.get_publishers_info_by_topic(self.name)
        if not publishers:
            others = ', '.join(self._topics_with_publishers()[:6])
            there = f'published are {others}' if others else 'nothing is published at all'
            return (
                f'no publisher on {self.name}; {there}; start it, or check the name and '
                'ROS_DOMAIN_ID.'
            )
        if self._unusable:
            return self._unusable
        types = sorted({p.topic_type for p in publishers})
        if self.origin is not None and types != [self.origin.msgtype]:
            return (
                f'{self.name} is published as {", ".join(types)}, recorded is '
                f'{self.origin.msgtype}; stop one of the publishers, or record anew.'
            )
        return (
            f'{self.name} has {len(publishers)} publishers ({types[0]}) and no message arrives; '
            'is it sending, and are both sides on one Fast DDS profile '
            '(config/fastdds_large_images.xml)?'
        )

    def _topics_with_publishers(self) -> list[str]:
        names = [name for name, _ in self._node.get_topic_names_and_types()]
        own = self._node.get_fully_qualified_name() + '/'
        quiet = {'/rosout', '/parameter_events', '/diagnostics'}
        return sorted(
            n
            for n in names
            if n not in quiet and not n.startswith(own) and self._node.count_publishers(n)
        )

    def close(self) -> None:
        """Receive what has arrived already, and then no more."""
        if self._subscription is None:
            return
        subscription, self._subscription = self._subscription, None
        for _ in range(DEPTH):  # no more wait, and more may arrive for ever
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            if taken is None:
                break
            self._receive(self, *taken)
        self._node.destroy_subscription(subscription)


def matched_qos(offered: list[QoSProfile]) -> QoSProfile:
    """
    Return the strictest profile by which all publishers can be heard.

    :param offered: what each publisher offers, at least one
    """
    reliable = all(q.reliability == ReliabilityPolicy.RELIABLE for q in offered)
    latched = all(q.durability == DurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def qos_values(profile: QoSProfile) -> dict:
    """Return a profile with the keys and values of rosbag2's metadata, version 9."""

    def duration(value) -> dict:
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


def _hash_text(publisher) -> str:
    """Return the hash of a publisher's type as rosbag2 writes it; empty where RMW tells none."""
    told = getattr(publisher, 'topic_type_hash', None)
    text = str(told) if told is not None else ''
    return text if text.startswith('RIHS01_') else ''
