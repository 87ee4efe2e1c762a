"""The lifecycle node: configure loads the engine, activate listens."""

from __future__ import annotations

from collections.abc import Callable
import logging
import time

from keypoint_perception.errors import PerceptionError
from keypoint_perception.inference.engine import Engine, load_engine
from keypoint_perception.manifest import read_manifest
from keypoint_perception.ros.camera import Arrival, Camera
from keypoint_perception.ros.diagnostics import Circumstances
from keypoint_perception.ros.engine_keeper import EngineKeeper
from keypoint_perception.ros.geometry_input import geometry_settings
from keypoint_perception.ros.loading import check_wish, load_warm, Loaded, Wish
from keypoint_perception.ros.mailbox import Mailbox
from keypoint_perception.ros.names import NAMES_QOS, to_names
from keypoint_perception.ros.parameters import (
    BY_NAME,
    declare_parameters,
    NodeParameters,
    read_parameters,
)
from keypoint_perception.ros.pipeline import Pipeline
from keypoint_perception.ros.reporter import Reporter
from keypoint_perception.ros.services import Services
from keypoint_perception.ros.watched_engine import WatchedEngine
from keypoint_perception.ros.worker import Worker
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
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
        super().__init__(NODE_NAME, automatically_declare_parameters_from_overrides=True)
        self.qos_overrides = declare_parameters(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        forward_logs(self)
        self._load_engine = load
        self._settings = read_parameters(self)
        self._cameras: list[Camera] = []
        self._mailbox = Mailbox()
        self._keeper = EngineKeeper(self._load, self._employ, self._soon, self._name_points)
        self._not_loaded = ''
        self._building = ''
        self._told_building = -LOOK_PERIOD_S
        self._state = 'unconfigured'
        self._enabled = True
        self._reporter = Reporter(self)
        self._names = self.create_publisher(String, '~/names', NAMES_QOS)
        self._service_desk = Services(self)
        back = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1))
        self._jumps = self.get_clock().create_jump_callback(back, post_callback=self._on_jump)
        # Wall time goes on while a simulator's clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_PERIOD_S, self._look, clock=steady)

    @property
    def parameters(self) -> NodeParameters:
        """Return the parameters, checked."""
        return self._settings

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
            self._keeper.load(wish_of(self._settings))
        except PerceptionError as error:
            self._not_loaded = f'model not loaded: {error}'
            self.get_logger().fatal(self._not_loaded)
            return FAILURE
        self._not_loaded = ''
        transport, geometry = self._settings.image_transport, geometry_settings(self._settings)
        self._cameras = [
            Camera(self, name, transport=transport, put=self._hand_over, geometry=geometry)
            for name in self._settings.cameras or ('',)
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
        self._set_up_cameras()
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
            self._mailbox.forget(camera)
            self._state = 'inactive'
        if not self._keeper.deactivate(timeout_s):
            self.get_logger().warning(f'the engine is still busy after {timeout_s:.0f} s')

    def _unload(self) -> None:
        self._service_desk.stop()
        for camera in self._cameras:
            camera.close()
            self._state = 'unconfigured'
        self._cameras = []
        self._keeper.unload()

    def _hand_over(self, arrival: Arrival) -> bool:
        return self._mailbox.put(arrival.camera, arrival)

    def _load(self, wish: Wish) -> Loaded:
        try:
            cameras = max(1, len(self._settings.cameras))
            return load_warm(self._load_engine, wish, cameras, self._on_building)
        finally:
            self._building = ''

    def _on_building(self, done: int, total: int, phase: str) -> bool:
        """Tell how far an engine is that is being built; return whether it is still wanted."""
        if not self.context.ok():
            return False
        self._building = f'building the engine: {phase}, {100 * done // max(1, total)} %'
        now = time.monotonic()
        # configuring keeps the executor busy, so that the timer is still
        if self._state == 'unconfigured' and now - self._told_building >= LOOK_PERIOD_S:
            self._told_building = now
            self._report()
        return True

    def _employ(self, engine: WatchedEngine, after: Worker | None) -> Worker:
        def budget_s() -> float:
            return self._settings.batch_budget / 1e3

        return Worker(self._mailbox, Pipeline(engine), budget_s, after=after)

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
            camera.geometry.settings = geometry_settings(self._settings)
            camera.overlay_threshold = self._settings.overlay_threshold
            if self._state == 'active' and self._enabled:
                camera.activate(lazy=self._settings.lazy)
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
        """
        Load the model directory as it is now, while the engine in use goes on.

        :param done: called with whether it worked, and a sentence
        """
        if self._keeper.wish is None:
            done(False, f'The node is {self._state} and has no model; configure it first.')
            return
        self._exchange(self._keeper.wish, done)

    def _exchange(self, wish: Wish, done: Callable[[bool, str], None]) -> None:
        def finished(reason: str) -> None:
            if reason:
                sentence = f'{wish.model!r} is not used: {reason} {self._who_goes_on()}'
                self.get_logger().error(sentence)
                self._keeper.last_error = sentence
            else:
                engine = self._keeper.engine.description
                sentence = f'{self._keeper.identity} is in use, by {engine}.'
                self.get_logger().info(sentence)
            done(not reason, sentence)

        self.get_logger().info(f'loading {wish.model} beside {self._keeper.identity}')
        self._keeper.exchange(wish, finished)

    def _who_goes_on(self) -> str:
        return f'{self._keeper.identity} goes on.' if self._keeper.identity else ''

    def _check_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        """Refuse bad values, and what cannot change now; ROS asks before it sets."""
        given = {p.name: p.value for p in changed if p.name in BY_NAME}
        try:
            for name, value in given.items():
                given[name] = BY_NAME[name].check(value)
            fixed = [name for name in given if not BY_NAME[name].live]
            if fixed and self._state != 'unconfigured':
                reason = (
                    f'Parameter {fixed[0]} cannot change in the state {self._state}; '
                    'deactivate and clean up first.'
                )
                return SetParametersResult(successful=False, reason=reason)
            if self._state != 'unconfigured' and set(given) & set(Wish._fields):
                wish = Wish(*(given.get(n, getattr(self._settings, n)) for n in Wish._fields))
                if wish != self._keeper.wish:  # the one in use may be gone from the disk
                    check_wish(wish)
                    read_manifest(wish.model_dir)
        except PerceptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self, changed: list[Parameter]) -> None:
        """Let new values take effect; ROS has set them."""
        if not any(parameter.name in BY_NAME for parameter in changed):
            return
        before, self._settings = self._settings, read_parameters(self)
        self._set_up_cameras()
        wish = wish_of(self._settings)
        if self._keeper.wish is None or wish == wish_of(before):
            return

        def done(worked: bool, sentence: str) -> None:
            del sentence
            in_use = self._keeper.wish
            if not worked and in_use is not None and wish_of(self._settings) == wish:
                # what the parameters say is what is in use
                self.set_parameters([Parameter(n, value=v) for n, v in in_use._asdict().items()])

        if wish != self._keeper.wish or self._keeper.loading:
            self._exchange(wish, done)

    def _on_jump(self, jump) -> None:
        del jump
        for camera in self._cameras:
            camera.jump()

    def _look(self) -> None:
        """Look after engine and cameras, and tell how they are."""
        self._keeper.watch(self._settings.engine_timeout)
        for camera in self._cameras:
            camera.update()  # not every RMW implementation tells who listens
        self._report()

    def _report(self) -> None:
        silence_timeout = self._settings.silence_timeout
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
            model=keeper.identity or self._settings.model,
        )


def wish_of(parameters: NodeParameters) -> Wish:
    """Return the engine that the parameters ask for."""
    return Wish(*(getattr(parameters, name) for name in Wish._fields))


def forward_logs(node: LifecycleNode) -> None:
    """Let the package's Python log speak through the node."""
    ros = node.get_logger()

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # a line for each: rclpy holds that one line of code always has one severity
            if record.levelno >= logging.ERROR:
                ros.error(record.getMessage())
            elif record.levelno >= logging.WARNING:
                ros.warning(record.getMessage())
            elif record.levelno >= logging.INFO:
                ros.info(record.getMessage())
            else:
                ros.debug(record.getMessage())

    logger = logging.getLogger('keypoint_perception')
    logger.setLevel(logging.INFO)
    logger.handlers = [Forward()]
    logger.propagate = False
