"""The executor of a node: a request to stop ends it, a callback that raises does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keypoint_perception.faults import fault_sentence
from keypoint_perception.ros.stop_signals import stop_requested
from keypoint_perception.seen_messages import SeenMessages
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.executors import (
    await_or_execute,
    ExternalShutdownException,
    ShutdownException,
    SingleThreadedExecutor,
    TimeoutException,
)
from rclpy.service import Service


class NodeExecutor(SingleThreadedExecutor):
    """
    Runs callbacks in one thread, and logs their exceptions, each once.

    The caller of a service that raises, also of one that rclpy itself serves, gets an answer that
    says failure.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged = SeenMessages()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """
        Wait for one callback and run it.

        :raises ExternalShutdownException: if the process is to stop
        """
        if stop_requested():
            raise ExternalShutdownException
        try:
            ready: Any = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (ShutdownException, TimeoutException):
            return
        task, entity, _ = ready
        if isinstance(entity, Service) and not hasattr(entity.callback, 'answers_always'):
            entity.callback = self._answering(entity, entity.callback)
        task()
        error = task.exception()
        if error is None:
            return
        if entity is not None and entity._executor_event:
            # Raised while a message was taken, after which rclpy would never run the entity or
            # another one of its group again.
            entity._executor_event = False
            entity.callback_group.ending_execution(entity)
        name = getattr(entity, 'topic_name', None) or f'a {type(entity or task).__name__.lower()}'
        self._tell(f'A callback of {name}', error)

    def _answering(self, service: Any, callback: Callable[[Any, Any], Any]) -> Any:
        """Return a callback that answers a service even if the given one raises."""

        async def answer(request: Any, response: Any) -> Any:
            parameters = list(getattr(request, 'parameters', ()))
            while True:
                try:
                    return await await_or_execute(callback, request, response)
                except Exception as error:
                    reason = self._tell(_request(service, request), error, callback)
                if service.srv_type is not SetParameters:
                    return _failure(service.srv_type.Response(), reason)
                # One result for each parameter: go on after the one that raised.
                response.results.append(SetParametersResult(successful=False, reason=reason))
                request.parameters = parameters[len(response.results) :]

        answer.answers_always = True  # type: ignore[attr-defined]
        return answer

    def _tell(self, what: str, error: Exception, callback: object = None) -> str:
        """Return a sentence about an exception, and log it if it is new."""
        reason = ' '.join(str(error).split()).partition(', at ./src/')[0].rstrip('.')
        of_rclpy = str(getattr(callback, '__module__', '')).startswith('rclpy.')
        reason = f'{reason}.' if of_rclpy else f'{type(error).__name__}: {reason}.'
        if self._logged.is_new(reason, subject=what):
            if not of_rclpy:
                reason = fault_sentence(error)
            for node in self.get_nodes()[:1]:
                node.get_logger().error(f'{what} failed: {reason}')
        return reason


def _request(service: Any, request: Any) -> str:
    """Return which request of a service it is, as the subject of a sentence."""
    if isinstance(request, ChangeState.Request):
        return f'Transition {request.transition.id} asked of {service.srv_name}'
    return f'A request to {service.srv_name}'


def _failure(response: Any, reason: str) -> Any:
    """Return an empty response that says failure and why, as far as its type can."""
    if hasattr(response, 'message'):
        response.message = reason
    if isinstance(response, SetParametersAtomically.Response):
        response.result.reason = reason
    return response
