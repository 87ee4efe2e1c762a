"""The services ``~/start_recording`` and ``~/stop_recording`` of a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from keypoint_perception.errors import PerceptionError
from keypoint_perception.faults import fault_sentence
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from std_srvs.srv import Trigger

if TYPE_CHECKING:
    from keypoint_perception.ros.recorder.recorder import Recorder


class RecordingServices:
    """
    Records on request, one bag at a time.

    :param create: returns a recorder that is not started yet
    :param describe: returns the answer of ``~/start_recording`` for a started recorder
    :ivar recorder: the latest recorder until it is stopped, even if it has ended on its own
    """

    def __init__(
        self, node: Node, create: Callable[[], Recorder], describe: Callable[[Recorder], str]
    ) -> None:
        self.recorder: Recorder | None = None
        self._create = create
        self._describe = describe
        self._log: RcutilsLogger = Node.get_logger(node)
        node.create_service(Trigger, '~/start_recording', self._on_start)
        node.create_service(Trigger, '~/stop_recording', self._on_stop)

    def start(self) -> Recorder:
        """
        Start a recording.

        :raises PerceptionError: if it cannot be started
        :raises OSError: if the bag cannot be written
        """
        # Kept before it starts: when ROS shuts down meanwhile, `stop` has to find it.
        recorder = self.recorder = self._create()
        try:
            recorder.start()
        except (PerceptionError, OSError):
            self.recorder = None
            raise
        return recorder

    def stop(self) -> str:
        """Stop the recording; return a message about it, empty if there is none."""
        recorder, self.recorder = self.recorder, None
        if recorder is None:
            return ''
        summary = recorder.stop()
        message = f'{summary.sentence()}.'
        if summary.stop_reason:
            message += f' It ended on its own: {summary.stop_reason}.'
        self._log.info(f'recorded {message}')
        return message

    def _on_start(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        if self.recorder is not None and not self.recorder.finished.is_set():
            response.message = f'{str(self.recorder.out)!r} is being recorded; stop it first.'
            return response
        try:
            self.stop()
            response.message = self._describe(self.start())
            response.success = True
        except Exception as error:  # the caller waits for an answer, whatever it is
            self.stop()
            response.message = fault_sentence(error)
            self._log.error(f'~/start_recording: {response.message}')
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        message = self.stop()
        response.success = bool(message)
        response.message = message or 'Nothing is being recorded; call ~/start_recording first.'
        return response
