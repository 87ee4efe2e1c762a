"""The node's services: rest and go on, load the model again, record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keypoint_perception.errors import PerceptionError
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

if TYPE_CHECKING:
    from keypoint_perception.ros.perception.lifecycle_node import PerceptionNode
    from keypoint_perception.ros.recorder.recorder import Recorder


class Services:
    """Answers ``~/enable``, ``~/reload``, ``~/start_recording`` and ``~/stop_recording``."""

    def __init__(self, node: PerceptionNode) -> None:
        self._node = node
        node.create_service(SetBool, '~/enable', self._enable)
        # An answer that has to be waited for must not keep other callbacks waiting.
        group = ReentrantCallbackGroup()
        node.create_service(Trigger, '~/reload', self._reload, callback_group=group)
        node.create_service(Trigger, '~/start_recording', self._start_recording)
        node.create_service(Trigger, '~/stop_recording', self._stop_recording)
        self._recorder: Recorder | None = None

    def stop(self) -> None:
        """End a recording that goes on."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            self._node.get_logger().info(f'recorded {recorder.stop().sentence()}')

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.message = self._node.enable(request.data)
        response.success = True
        return response

    async def _reload(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        del request
        future = Future()
        self._node.reload(lambda worked, sentence: future.set_result((worked, sentence)))
        response.success, response.message = await future
        return response

    def _start_recording(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        del request
        response.success, response.message = self._begin_recording()
        if not response.success:
            self._node.get_logger().error(f'~/start_recording: {response.message}')
        return response

    def _begin_recording(self) -> tuple[bool, str]:
        """Record the cameras' topics; return whether it has begun, and a sentence."""
        from keypoint_perception.ros.recorder.recorder import dated_bag, Recorder

        if self._recorder is not None and not self._recorder.finished.is_set():
            return False, f'{str(self._recorder.out)!r} is being recorded; end it first.'
        self.stop()  # one that has ended by itself
        topics = [topic for camera in self._node.cameras for topic in camera.sources]
        if not topics:
            return False, 'The node is unconfigured and knows no cameras; configure it first.'
        out = dated_bag(self._node.parameters.record_directory)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._recorder = Recorder(self._node, topics=topics, out=out)
            self._recorder.start()  # ROS may shut down in here: `stop` has to find the recorder
        except (PerceptionError, OSError) as error:
            self._recorder = None
            return False, f'{str(out)!r} cannot be recorded: {error}'
        return True, f'Recording {", ".join(topics)} into {out}.'

    def _stop_recording(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        del request
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            response.message = 'Nothing is being recorded; begin with ~/start_recording.'
            return response
        summary = recorder.stop()
        ended = f' It ended by itself: {summary.stop_reason}.' if summary.stop_reason else ''
        response.success, response.message = True, f'{summary.sentence()}.{ended}'
        return response
