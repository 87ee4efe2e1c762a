"""What one recording holds of a robot and of the camera that sees it, read in one pass."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
import logging
from pathlib import Path

from keypoint_perception.camera_topics import camera_info_topics
from keypoint_perception.cdr import CAMERA_INFO_TYPE, CameraInfoMessage, read_camera_info
from keypoint_perception.encodings import EncodedImage
from keypoint_perception.errors import EncodingError, SourceError
from keypoint_perception.frames.bag import Bag
from keypoint_perception.frames.frame import EncodedFrame
from keypoint_perception.frames.message import Message
from keypoint_perception.frames.source import choose_topics, open_recording
from keypoint_perception.frames.stamps import stamped_frames
from keypoint_perception.robot.joint_states import JointStates
from keypoint_perception.robot.robot_description import quoted
from keypoint_perception.robot.robot_messages import (
    JOINT_STATE_TYPE,
    read_joint_state,
    read_string,
    read_transforms,
    STRING_TYPE,
    TRANSFORM_TYPES,
)
from keypoint_perception.robot.transform_tree import TransformTree
import numpy as np

JOINT_STATES, DESCRIPTION, STATIC = 'joint_states', 'robot_description', 'tf_static'

log = logging.getLogger('keypoint_perception')


@dataclass
class RobotRecording:
    """
    What was recorded.

    :param name: the recording's in messages
    :param topic: the image topic
    :param stamps_ns: of the images, (N,) int64, as :mod:`keypoint_perception.frames.stamps` has
        them
    :param image_hw: height and width of the first image that can be decoded, px
    :param descriptions: texts of the URDF by topic, the first of each
    :param camera_info: the first one of the camera; None if there is none
    """

    name: str
    topic: str
    stamps_ns: np.ndarray
    image_hw: tuple[int, int] | None = None
    descriptions: dict[str, bytes] = field(default_factory=dict)
    joints: JointStates = field(default_factory=JointStates)
    transforms: TransformTree = field(default_factory=TransformTree)
    camera_info: CameraInfoMessage | None = None


def read_robot_recording(
    source: Path | str, topic: str | None = None, *, stamps: str = '', joint_topic: str = ''
) -> RobotRecording:
    """
    Read the stamps of a camera's images and what tells of the robot.

    :param topic: image topic; may be omitted if there is one
    :param stamps: as for :func:`keypoint_perception.frames.source.read_frames`
    :param joint_topic: of the joint states; may be omitted if there is one
    :raises SourceError: if it is no bag, or has no image or no joint states
    """
    recording = open_recording(source)
    if not isinstance(recording, Bag):
        msg = f'{str(source)!r} is no bag; expected one with the topics of the robot.'
        raise SourceError(msg)
    ((image_topic,),) = choose_topics([recording], [] if topic is None else [topic])
    reader = _Reader(recording, image_topic, joint_topic)
    frames = reader.sized(recording.frames([image_topic], reader.listeners))
    found = array('q', (f.stamp_ns for f in stamped_frames(recording.name, frames, stamps)))
    if not found:
        msg = f'{recording.name!r} has no readable image on {image_topic}; record it again.'
        raise SourceError(msg)
    reader.report()
    reader.recording.stamps_ns = np.frombuffer(found, np.int64)
    return reader.recording


class _Reader:
    """Listens to the topics of the robot while the images pass."""

    def __init__(self, bag: Bag, image_topic: str, joint_topic: str) -> None:
        self.recording = RobotRecording(bag.name, image_topic, np.zeros(0, np.int64))
        self.listeners: dict[str, Callable[[Message], None]] = {}
        self._broken: dict[str, tuple[int, EncodingError]] = {}
        self._unstamped = 0
        types = {name: topic.msgtype for name, topic in bag.topics.items()}
        joints = _joint_topic(bag.name, types, joint_topic)
        camera = next((t for t in camera_info_topics(image_topic) if t in types), '')
        cameras = [name for name, kind in types.items() if kind == CAMERA_INFO_TYPE]
        images = [name for name, of in bag.topics.items() if of.is_image]
        if not camera and len(cameras) == 1 and len(images) == 1:
            camera = cameras[0]
        for name, kind in types.items():
            last = name.rpartition('/')[2]
            if kind == STRING_TYPE and last == DESCRIPTION:
                self._listen(name, self._add_description)
            elif name == joints:
                self._listen(name, self._add_joints)
            elif kind in TRANSFORM_TYPES:
                self._listen(name, self._add_transforms)
            elif name == camera and kind == CAMERA_INFO_TYPE:
                self._listen(name, self._add_camera_info)

    def _listen(self, topic: str, add: Callable[[Message, bool], None]) -> None:
        def listen(message: Message) -> None:
            try:
                add(message, message.serialization == 'ros1')
            except EncodingError as error:
                count = self._broken.get(topic, (0, error))[0]
                self._broken[topic] = count + 1, error

        self.listeners[topic] = listen

    def sized(self, frames: Iterator[EncodedFrame]) -> Iterator[EncodedFrame]:
        """Yield images, the first of which that can be decoded tells their size."""
        for frame in frames:
            if self.recording.image_hw is None:
                with suppress(EncodingError):
                    image = frame.decode()
                    hw = image.image_hw if isinstance(image, EncodedImage) else image.shape[:2]
                    self.recording.image_hw = hw
            yield frame

    def _add_description(self, message: Message, ros1: bool) -> None:
        text = read_string(message.data, ros1=ros1)
        first = self.recording.descriptions.setdefault(message.topic, text)
        if first != text:
            log.warning('%s changes within the recording; the first is used.', message.topic)

    def _add_joints(self, message: Message, ros1: bool) -> None:
        state = read_joint_state(message.data, ros1=ros1)
        stamp_ns = state.header.stamp_ns
        self._unstamped += stamp_ns == 0
        self.recording.joints.add(state, stamp_ns or message.time_ns)

    def _add_transforms(self, message: Message, ros1: bool) -> None:
        static = message.topic.rpartition('/')[2] == STATIC
        for transform in read_transforms(message.data, ros1=ros1):
            stamp_ns = transform.header.stamp_ns or message.time_ns
            self.recording.transforms.add(transform, stamp_ns, static=static)

    def _add_camera_info(self, message: Message, ros1: bool) -> None:
        if self.recording.camera_info is None:
            self.recording.camera_info = read_camera_info(message.data, ros1=ros1)

    def report(self) -> None:
        """Tell once what could not be used."""
        name, joints = self.recording.name, self.recording.joints
        for topic, (count, error) in self._broken.items():
            log.warning('Skipped %d messages on %s of %r: %s', count, topic, name, error)
        if self._unstamped:
            log.warning(
                '%d joint states of %r have no stamp: the times at which the bag received them '
                'are used, which are later; set their header.', self._unstamped, name
            )  # fmt: skip
        if joints.unequal:
            log.warning(
                'Skipped %d joint states of %r whose numbers of names and positions differ; '
                'check their publisher.', joints.unequal, name
            )  # fmt: skip
        if joints.unusable and joints.count:
            log.warning(
                'Skipped %d of %d joint positions of %r, which are NaN or infinite; check the '
                'driver of the robot.',
                *(joints.unusable, joints.unusable + joints.count, name),
            )
        if self.recording.transforms.unusable:
            log.warning(
                'Skipped %d transforms of %r with NaN, without a unit quaternion or between a '
                'frame and itself; check their publishers.',
                *(self.recording.transforms.unusable, name),
            )
        if not joints.count:
            found = (
                f'{joints.unusable} joint positions, all NaN or infinite'
                if joints.unusable
                else 'no readable joint state'
            )
            msg = f'{name!r} has {found}; expected joint states beside the images; record again.'
            raise SourceError(msg)


def _joint_topic(name: str, types: dict[str, str], wanted: str) -> str:
    """Return the topic of the joint states."""
    found = sorted(topic for topic, kind in types.items() if kind == JOINT_STATE_TYPE)
    usual = [topic for topic in found if topic.rpartition('/')[2] == JOINT_STATES]
    if wanted in found:
        return wanted
    if wanted:
        listed = f'joint states are on {quoted(found)}' if found else 'it has no joint states'
        msg = f'{name!r} has no joint states on {wanted!r} ({listed}); check --joint-states.'
        raise SourceError(msg)
    if f'/{JOINT_STATES}' in found:
        return f'/{JOINT_STATES}'
    choice = usual or found
    if len(choice) == 1:
        return choice[0]
    if choice:
        msg = (
            f'{name!r} has joint states on {len(choice)} topics ({quoted(choice)}); choose with '
            '--joint-states.'
        )
        raise SourceError(msg)
    msg = (
        f'{name!r} has no joint states (topics: {quoted(sorted(types))}); expected '
        f'{JOINT_STATE_TYPE} on /{JOINT_STATES}; record them with `keypoint_perception record '
        '--robot`.'
    )
    raise SourceError(msg)
