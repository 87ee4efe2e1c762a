"""The node's services: ``~/enable``, ``~/reload``, ``~/start_recording``, ``~/stop_recording``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from keypoint_perception.errors import ConfigError
from keypoint_perception.ros.recorder.recording_services import RecordingServices
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

if TYPE_CHECKING:
    from keypoint_perception.ros.recorder.recorder import Recorder


class Services:
    """
    Serves requests and records the cameras' topics on demand.

    :param enable: enables or disables the cameras; returns a message for the caller
    :param reload: reloads the model, then calls back with success and a message
    :param recorded_topics: returns the topics to record; none while the node is unconfigured
    :param record_directory: returns the directory in which bags are created
    """

    def __init__(
        self,
        node: LifecycleNode,
        *,
        enable: Callable[[bool], str],
        reload: Callable[[Callable[[bool, str], None]], None],
        recorded_topics: Callable[[], list[str]],
        record_directory: Callable[[], str],
    ) -> None:
        self._node = node
        self._enable = enable
        self._reload = reload
        self._recorded_topics = recorded_topics
        self._record_directory = record_directory
        self._recording = RecordingServices(node, self._create_recorder, _describe)
        node.create_service(SetBool, '~/enable', self._on_enable)
        # Reentrant: awaiting the reload must not block other callbacks.
        group = ReentrantCallbackGroup()
        node.create_service(Trigger, '~/reload', self._on_reload, callback_group=group)

    def stop_recording(self) -> None:
        """Stop the current recording, if any."""
        self._recording.stop()

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = True, self._enable(request.data)
        return response

    async def _on_reload(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        del request
        future = Future()
        self._reload(lambda success, message: future.set_result((success, message)))
        response.success, response.message = await future
        return response

    def _create_recorder(self) -> Recorder:
        from keypoint_perception.ros.recorder.recorder import dated_bag, Recorder

        topics = self._recorded_topics()
        if not topics:
            msg = 'The node is unconfigured and has no cameras; configure it first.'
            raise ConfigError(msg)
        out = dated_bag(self._record_directory())
        out.parent.mkdir(parents=True, exist_ok=True)
        return Recorder(self._node, topics=topics, out=out)


def _describe(recorder: Recorder) -> str:
    return f'Recording {", ".join(recorder.summary().topics)} into {recorder.out}.'
