"""The lifecycle node: configure loads the engine, activate listens."""

from __future__ import annotations

from collections.abc import Callable
import time

from keypoint_perception.errors import ConfigError, PerceptionError
from keypoint_perception.inference.engine import Engine, load_engine
from keypoint_perception.ros.log_forwarding import forward_logs
from keypoint_perception.ros.names import NAMES_QOS, to_names
from keypoint_perception.ros.perception.camera import Arrival, Camera
from keypoint_perception.ros.perception.declared_parameters import declare_parameters
from keypoint_perception.ros.perception.diagnostics import Circumstances
from keypoint_perception.ros.perception.engine_loading import EngineSpec, load_warm, Loaded
from keypoint_perception.ros.perception.engine_supervisor import EngineSupervisor
from keypoint_perception.ros.perception.geometry_input import geometry_settings
from keypoint_perception.ros.perception.inference_worker import Worker
from keypoint_perception.ros.perception.latest_buffer import LatestBuffer
from keypoint_perception.ros.perception.live_parameters import LiveParameters, UNCONFIGURED
from keypoint_perception.ros.perception.node_parameters import NodeParameters
from keypoint_perception.ros.perception.pipeline import Pipeline
from keypoint_perception.ros.perception.reporter import Reporter
from keypoint_perception.ros.perception.services import Services
from keypoint_perception.ros.perception.watched_engine import WatchedEngine
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import String

NODE_NAME = 'perception_node'
LOOK_PERIOD_S = 1.0
# How long deactivation waits for the image that the engine has in work, and the end of the process
# does: whoever ends it may kill it soon.
DEACTIVATE_TIMEOUT_S = 5.0
END_TIMEOUT_S = 1.0
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(LifecycleNode):
    """
    Images in, keypoints out.

    :param load: makes the engine; tests give one that makes a fake
    """

    def __init__(self, *, load: Callable[..., Engine] = load_engine) -> None:
        try:
            super().__init__(NODE_NAME, automatically_declare_parameters_from_overrides=True)
        except ValueError as error:
            msg = (
                f'ROS cannot declare a parameter ({error}); it has no empty lists: leave such a '
                'parameter out.'
            )
            raise ConfigError(msg) from error
        self._state = UNCONFIGURED
        self.qos_overrides = declare_parameters(self)
        forward_logs(self)
        self._load_engine = load
        self._cameras: list[Camera] = []
        self._latest_buffer = LatestBuffer()
        self._keeper = EngineSupervisor(self._load, self._employ, self._soon, self._name_points)
        self._live = LiveParameters(
            self, self._keeper, state=lambda: self._state, apply=self._set_up_cameras
        )
        self._not_loaded = ''
        self._building = ''
        self._reported_s = -LOOK_PERIOD_S
        self._enabled = True
        self._reporter = Reporter(self)
        self._names = self.create_publisher(String, '~/names', NAMES_QOS)
        self._service_desk = Services(self)
        back = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = self.get_clock().create_jump_callback(back, post_callback=self._on_jump)
        # Wall time goes on while a simulator's clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_PERIOD_S, self._look, clock=steady)

    @property
    def parameters(self) -> NodeParameters:
        """Return the parameters, checked."""
        return self._live.values

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """Return the cameras; none before the node is configured."""
        return tuple(self._cameras)

    def start(self) -> bool:
        """Configure and activate; return whether both succeeded."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    def stop(self) -> None:
        """Give everything back, whatever the state; for the end of the process."""
        self._stop_listening(END_TIMEOUT_S)
        self._unload()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the engine and warm it up."""
        del state
        try:
            self._keeper.load(self._live.wish, self._still_wanted)
        except PerceptionError as error:
            self._not_loaded = f'model not loaded: {error}'
            self.get_logger().fatal(self._not_loaded)
            return FAILURE
        self._not_loaded = ''
        transport, geometry = self.parameters.image_transport, geometry_settings(self.parameters)
        self._cameras = [
            Camera(self, name, transport=transport, put=self._hand_over, geometry=geometry)
            for name in self.parameters.cameras or ('',)
        ]
        self._name_points()
        self._state = 'inactive'
        engine = self._keeper.engine.description
        self.get_logger().info(f'loaded {self._keeper.identity} into {engine}')
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to images."""
        self._reporter.restart()
        self._state = 'active'
        self._keeper.activate()
        done = super().on_activate(state)  # from now on the publishers publish
        try:
            self._set_up_cameras()
        except Exception as error:  # rclpy would pass over it without a word
            self._stop_listening()
            self.get_logger().fatal(f'not activated: {type(error).__name__}: {error}')
            return FAILURE
        for camera in self._cameras:
            when = '' if camera.input else f' once somebody listens to {camera.outputs}'
            self.get_logger().info(f'listening to {camera.topic}{when}')
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen no more; the image in work is still published."""
        self._stop_listening()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back the engine."""
        self._unload()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, from whatever state."""
        self._stop_listening()
        self._unload()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to the beginning."""
        self._stop_listening()
        self._unload()
        return super().on_error(state)

    def _stop_listening(self, timeout_s: float = DEACTIVATE_TIMEOUT_S) -> None:
        for camera in self._cameras:
            camera.deactivate()
            self._latest_buffer.forget(camera)
            self._state = 'inactive'
        if not self._keeper.deactivate(timeout_s):
            self.get_logger().warning(f'the engine is still busy after {timeout_s:.0f} s')

    def _unload(self) -> None:
        self._service_desk.stop()
        for camera in self._cameras:
            camera.close()
            self._state = UNCONFIGURED
        self._cameras = []
        self._keeper.unload()

    def _hand_over(self, arrival: Arrival) -> bool:
        return self._latest_buffer.put(arrival.camera, arrival)

    def _load(self, wish: EngineSpec) -> Loaded:
        """Load an engine, in a thread of its own."""
        cameras = max(1, len(self.parameters.cameras))
        self._building = f'loading {wish.model}'
        try:
            return load_warm(self._load_engine, wish, cameras, self._on_building)
        finally:
            self._building = ''

    def _on_building(self, done: int, total: int, phase: str) -> bool:
        """Take note how far an engine is that is being built; return whether it is wanted."""
        self._building = f'building the engine: {phase}, {100 * done // max(1, total)} %'
        return self.context.ok()

    def _still_wanted(self) -> bool:
        """Tell how far the first engine is: configuring keeps the executor busy, and its timer."""
        if not self.context.ok():
            return False
        if time.monotonic() - self._reported_s >= LOOK_PERIOD_S:
            self._report()
        return True

    def _employ(self, engine: WatchedEngine, after: Worker | None) -> Worker:
        def budget_s() -> float:
            return self.parameters.batch_budget / 1e3

        return Worker(self._latest_buffer, Pipeline(engine), budget_s, after=after)

    def _soon(self, call: Callable[[], None]) -> None:
        """Have a function called in the executor's thread."""
        if self.executor is not None:
            self.executor.create_task(call)

    def _name_points(self) -> None:
        """Say which points the model has, and have topics for them."""
        engine = self._keeper.engine
        for camera in self._cameras if engine.landmark_names else ():
            camera.offer_landmarks()
        self._names.publish(to_names(engine, self._keeper.identity))

    def _set_up_cameras(self) -> None:
        """Hand the live parameters to the cameras."""
        for camera in self._cameras:
            camera.geometry.settings = geometry_settings(self.parameters)
            camera.overlay_threshold = self.parameters.overlay_threshold
            if self._state == 'active' and self._enabled:
                camera.activate(lazy=self.parameters.lazy)
            else:
                camera.deactivate()

    def enable(self, enabled: bool) -> str:
        """Listen to the cameras, or leave them alone; return what that means now."""
        self._enabled = enabled
        self._set_up_cameras()
        if not enabled:
            return 'The cameras are left alone until ~/enable is called with true.'
        if self._state != 'active':
            return f'Enabled; nothing is published before the node, now {self._state}, is active.'
        return 'Enabled.'

    def reload(self, done: Callable[[bool, str], None]) -> None:
        """Load the model directory as it is now; see :meth:`LiveParameters.reload`."""
        self._live.reload(done)

    def _on_jump(self, jump) -> None:
        del jump
        for camera in self._cameras:
            camera.jump()

    def _look(self) -> None:
        """Look after engine and cameras, and tell how they are."""
        self._keeper.watch(self.parameters.engine_timeout)
        for camera in self._cameras:
            camera.update()  # not every RMW implementation tells who listens
        self._report()

    def _report(self) -> None:
        self._reported_s = time.monotonic()
        silence_timeout = self.parameters.silence_timeout
        self._reporter.report(self._cameras, self._common(), silence_timeout=silence_timeout)

    def _common(self) -> Circumstances:
        """Return what is the same for all cameras."""
        keeper = self._keeper
        return Circumstances(
            state=self._state,
            building=self._building,
            not_loaded=self._not_loaded,
            disabled=not self._enabled,
            fault=keeper.fault,
            faults=keeper.faults,
            last_error=keeper.last_error,
            engine='' if keeper.engine is None else keeper.engine.description,
            busy_s=0.0 if keeper.engine is None else keeper.engine.busy_s,
            gpu_memory=keeper.gpu_memory,
            model=keeper.identity or self.parameters.model,
        )
