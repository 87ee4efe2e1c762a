"""The node's services: ``~/enable``, ``~/reload``, ``~/start_recording``, ``~/stop_recording``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from keypoint_perception.errors import PerceptionError
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
        self._recorder: Recorder | None = None
        node.create_service(SetBool, '~/enable', self._on_enable)
        # Reentrant: awaiting the reload must not block other callbacks.
        group = ReentrantCallbackGroup()
        node.create_service(Trigger, '~/reload', self._on_reload, callback_group=group)
        node.create_service(Trigger, '~/start_recording', _trigger(self._start_recording))
        node.create_service(Trigger, '~/stop_recording', _trigger(self._stop_recording))

    def stop_recording(self) -> None:
        """Stop the current recording, if any."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            self._node.get_logger().info(f'recorded {recorder.stop().sentence()}')

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

    def _start_recording(self) -> tuple[bool, str]:
        from keypoint_perception.ros.recorder.recorder import dated_bag, Recorder

        if self._recorder is not None and not self._recorder.finished.is_set():
            return self._refuse(f'{str(self._recorder.out)!r} is being recorded; stop it first.')
        self.stop_recording()  # one that has ended on its own
        topics = self._recorded_topics()
        if not topics:
            return self._refuse('The node is unconfigured and has no cameras; configure it first.')
        out = dated_bag(self._record_directory())
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._recorder = Recorder(self._node, topics=topics, out=out)
            self._recorder.start()  # ROS may shut down in here: stop_recording must find it
        except (PerceptionError, OSError) as error:
            self._recorder = None
            return self._refuse(f'Cannot record into {str(out)!r}: {error}')
        return True, f'Recording {", ".join(topics)} into {out}.'

    def _refuse(self, reason: str) -> tuple[bool, str]:
        self._node.get_logger().error(f'~/start_recording: {reason}')
        return False, reason

    def _stop_recording(self) -> tuple[bool, str]:
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return False, 'Nothing is being recorded; call ~/start_recording first.'
        summary = recorder.stop()
        ended = f' It ended on its own: {summary.stop_reason}.' if summary.stop_reason else ''
        return True, f'{summary.sentence()}.{ended}'


def _trigger(
    act: Callable[[], tuple[bool, str]],
) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
    """Return the callback of a service that returns success and a message."""

    def callback(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        response.success, response.message = act()
        return response

    return callback
