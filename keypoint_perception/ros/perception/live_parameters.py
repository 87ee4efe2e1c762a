"""
The parameters while the node works: what may change, and what a change does.

ROS asks before it sets a parameter, and wants the answer at once, but an engine takes its time. So
a model directory is looked at when it is asked for, and refused if it is none; the engine is then
built beside the one in use. If that fails, the parameters are set back to what is in use.
"""

from __future__ import annotations

from collections.abc import Callable

from keypoint_perception.errors import ConfigError, PerceptionError
from keypoint_perception.manifest import read_manifest
from keypoint_perception.ros.perception.declared_parameters import read_parameters
from keypoint_perception.ros.perception.engine_loading import check_spec, EngineSpec
from keypoint_perception.ros.perception.engine_supervisor import EngineSupervisor
from keypoint_perception.ros.perception.node_parameters import BY_NAME, NodeParameters
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter

UNCONFIGURED = 'unconfigured'


class LiveParameters:
    """
    Checks and applies changes of a node's parameters.

    :param state: tells the lifecycle state of the node
    :param apply: lets the values take effect, apart from those of the engine
    :ivar values: the parameters as they are now
    """

    def __init__(
        self,
        node: LifecycleNode,
        keeper: EngineSupervisor,
        *,
        state: Callable[[], str],
        apply: Callable[[], None],
    ) -> None:
        self._node = node
        self._keeper = keeper
        self._state = state
        self._apply_values = apply
        self.values: NodeParameters = read_parameters(node)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    @property
    def wish(self) -> EngineSpec:
        """Return the engine that the parameters ask for."""
        return EngineSpec(*(getattr(self.values, name) for name in EngineSpec._fields))

    def _check(self, changed: list[Parameter]) -> SetParametersResult:
        """Refuse bad values, and what cannot change now."""
        try:
            given = {p.name: BY_NAME[p.name].check(p.value) for p in changed if p.name in BY_NAME}
            if self._state() != UNCONFIGURED:
                self._check_running(given)
        except PerceptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _check_running(self, given: dict[str, object]) -> None:
        fixed = [name for name in given if not BY_NAME[name].live]
        if fixed:
            msg = (
                f'Parameter {fixed[0]} cannot change in the state {self._state()}; deactivate and '
                'clean up first.'
            )
            raise ConfigError(msg)
        wish = self.wish._replace(**{n: v for n, v in given.items() if n in EngineSpec._fields})
        if wish not in (self.wish, self._keeper.wish):  # these may be gone from the disk
            check_spec(wish)
            read_manifest(wish.model_dir)

    def _apply(self, changed: list[Parameter]) -> None:
        """Let new values take effect; ROS has set them."""
        if not any(parameter.name in BY_NAME for parameter in changed):
            return
        before = self.wish
        self.values = read_parameters(self._node)
        self._apply_values()
        wish, in_use = self.wish, self._keeper.wish
        if in_use is not None and wish != before and (wish != in_use or self._keeper.loading):
            self._exchange(wish, lambda worked, sentence: worked or self._set_back(wish))

    def _set_back(self, wish: EngineSpec) -> None:
        """Let the parameters say what is in use, unless another engine is wanted meanwhile."""
        in_use = self._keeper.wish
        if in_use is not None and self.wish == wish:
            values = in_use._asdict().items()
            self._node.set_parameters([Parameter(name, value=value) for name, value in values])

    def reload(self, done: Callable[[bool, str], None]) -> None:
        """
        Load the model directory as it is now, while the engine in use goes on.

        :param done: called with whether it worked, and a sentence
        """
        if self._keeper.wish is None:
            done(False, f'The node is {self._state()} and has no model; configure it first.')
        else:
            self._exchange(self._keeper.wish, done)

    def _exchange(self, wish: EngineSpec, done: Callable[[bool, str], object]) -> None:
        keeper, log = self._keeper, self._node.get_logger()

        def finished(reason: str) -> None:
            if reason:
                goes_on = f'{keeper.identity} goes on.' if keeper.identity else ''
                sentence = f'{wish.model!r} is not used: {reason} {goes_on}'.rstrip()
                keeper.last_error = sentence
                log.error(sentence)
            else:
                sentence = f'{keeper.identity} is in use, by {keeper.engine.description}.'
                log.info(sentence)
            done(not reason, sentence)

        log.info(f'loading {wish.model} beside {keeper.identity}')
        keeper.exchange(wish, finished)
