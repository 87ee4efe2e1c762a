"""The node's services: rest and go on, load the model again, record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

if TYPE_CHECKING:
    from keypoint_perception.ros.node import PerceptionNode


class Services:
    """Answers ``~/enable`` and ``~/reload``."""

    def __init__(self, node: PerceptionNode) -> None:
        self._node = node
        node.create_service(SetBool, '~/enable', self._enable)
        # An answer that has to be waited for must not keep other callbacks waiting.
        group = ReentrantCallbackGroup()
        node.create_service(Trigger, '~/reload', self._reload, callback_group=group)

    def stop(self) -> None:
        """Give back what the services hold."""

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
