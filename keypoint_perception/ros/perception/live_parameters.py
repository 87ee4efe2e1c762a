"""
Parameter changes while the node is running: which are allowed, and what they do.

ROS expects an immediate verdict on a change, but loading an engine takes time. A model directory
is therefore checked before its parameter is accepted, and the engine is then loaded beside the one
in use. If that fails, the parameters are reset to the engine in use.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import asdict

from keypoint_perception.errors import ConfigError, PerceptionError
from keypoint_perception.manifest import Manifest, read_manifest
from keypoint_perception.ros.perception.engine_loading import EngineSpec
from keypoint_perception.ros.perception.engine_supervisor import EngineSupervisor, in_thread
from keypoint_perception.ros.perception.node_parameters import (
    current_values,
    NodeParameters,
    PARAMETERS,
)
from keypoint_perception.settings import from_parameters
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter

UNCONFIGURED = 'unconfigured'
CHECK_S = 1.0  # images wait for a verdict on a model directory at most so long


class LiveParameters:
    """
    Checks and applies changes of a node's parameters.

    :param state: returns the lifecycle state of the node
    :param apply: applies the values, except those of the engine
    :ivar values: the current parameters
    """

    def __init__(
        self,
        node: LifecycleNode,
        supervisor: EngineSupervisor,
        *,
        state: Callable[[], str],
        apply: Callable[[], None],
    ) -> None:
        self._node = node
        self._supervisor = supervisor
        self._state = state
        self._apply_values = apply
        self._checked: Future[Manifest] | None = None
        self.values = from_parameters(NodeParameters, current_values(node))
        self._first_engine = self.values.engine_spec.engine
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _check(self, changed: list[Parameter]) -> SetParametersResult:
        try:
            given = {p.name: p.value for p in changed if p.name in PARAMETERS}
            values = from_parameters(NodeParameters, current_values(self._node) | given)
            if values.engine_spec.engine == 'torch' != self._first_engine:
                # nobody may make a robot import hundreds of megabytes of PyTorch from outside
                msg = 'engine: torch can be chosen only when the node starts: `-p engine:=torch`.'
                raise ConfigError(msg)
            if self._state() != UNCONFIGURED:
                self._check_running(list(given), values.engine_spec)
        except PerceptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _check_running(self, changed: list[str], spec: EngineSpec) -> None:
        fixed = [name for name in changed if not PARAMETERS[name].live]
        if fixed:
            msg = (
                f'Parameter {fixed[0]} cannot change in the state {self._state()}; deactivate and '
                'clean up first.'
            )
            raise ConfigError(msg)
        if spec not in (self.values.engine_spec, self._supervisor.spec):  # whose files may be gone
            self._check_model(spec)

    def _check_model(self, spec: EngineSpec) -> None:
        """Refuse a model that does not match its manifest, unless reading it takes too long."""
        if self._checked is not None and not self._checked.done():
            msg = 'Another model directory is still being read; try again when it has been.'
            raise ConfigError(msg)
        checked = self._checked = in_thread('checking', lambda: read_manifest(spec.model_dir))
        if wait([checked], CHECK_S).done:  # else the engine's own thread finds out
            checked.result()

    def _apply(self, changed: list[Parameter]) -> None:
        if not any(parameter.name in PARAMETERS for parameter in changed):
            return
        before = self.values.engine_spec
        self.values = from_parameters(NodeParameters, current_values(self._node))
        self._apply_values()
        spec, in_use = self.values.engine_spec, self._supervisor.spec
        if in_use is not None and spec != before and (spec != in_use or self._supervisor.loading):
            self._swap_engine(spec, lambda success, _: self._after_swap(spec, success))

    def _after_swap(self, spec: EngineSpec, success: bool) -> None:
        """Reset the parameters to the engine in use on failure, unless they have changed again."""
        in_use = self._supervisor.spec
        if not success and in_use is not None and self.values.engine_spec == spec:
            values = asdict(in_use).items()
            self._node.set_parameters([Parameter(name, value=value) for name, value in values])

    def reload(self, done: Callable[[bool, str], None]) -> None:
        """
        Reload the model directory while the engine in use keeps running.

        :param done: called with success and a message
        """
        if self._supervisor.spec is None:
            done(False, f'The node is {self._state()} and has no model; configure it first.')
        else:
            self._swap_engine(self._supervisor.spec, done)

    def _swap_engine(self, spec: EngineSpec, done: Callable[[bool, str], None]) -> None:
        supervisor, log = self._supervisor, self._node.get_logger()

        def finished(reason: str) -> None:
            if reason:
                kept = f'{supervisor.identity} stays in use.' if supervisor.identity else ''
                message = f'{spec.model!r} is not used: {reason} {kept}'.rstrip()
                supervisor.last_error = message
                log.error(message)
            else:
                message = f'{supervisor.identity} is now in use, by {supervisor.description}.'
                log.info(message)
            done(not reason, message)

        log.info(f'loading {spec.model} beside {supervisor.identity}')
        supervisor.swap(spec, finished)
