"""The node's services: ``~/enable``, ``~/reload``, ``~/start_recording``, ``~/stop_recording``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.perception.camera import Camera
from keypoint_perception.ros.recorder.recording_services import RecordingServices
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

if TYPE_CHECKING:
    from keypoint_perception.ros.recorder.recorder import Recorder


def serve_enable(node: LifecycleNode, enable: Callable[[bool], str]) -> None:
    """Serve ``~/enable`` by a function that returns a message for the caller."""

    def on_enable(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = True, enable(request.data)
        return response

    node.create_service(SetBool, '~/enable', on_enable)


def serve_reload(
    node: LifecycleNode, reload: Callable[[Callable[[bool, str], None]], None]
) -> None:
    """Serve ``~/reload`` by a function that calls back with success and a message."""

    async def on_reload(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        future = Future()
        reload(lambda success, message: future.set_result((success, message)))
        response.success, response.message = await future
        return response

    # Reentrant: awaiting the reload must not block other callbacks.
    group = ReentrantCallbackGroup()
    node.create_service(Trigger, '~/reload', on_reload, callback_group=group)


def serve_recording(
    node: LifecycleNode, cameras: Callable[[], Sequence[Camera]], directory: Callable[[], str]
) -> RecordingServices:
    """Serve the recording of the cameras' topics into new bags in a directory."""

    def create() -> Recorder:
        from keypoint_perception.ros.recorder.recorder import dated_bag, Recorder

        topics = [topic for camera in cameras() for topic in camera.recorded_topics]
        if not topics:
            msg = 'The node is unconfigured and has no cameras; configure it first.'
            raise ConfigError(msg)
        return Recorder(node, topics=topics, out=dated_bag(directory()))

    def describe(recorder: Recorder) -> str:
        return f'Recording {", ".join(recorder.summary().topics)} into {recorder.out}.'

    return RecordingServices(node, create, describe)
