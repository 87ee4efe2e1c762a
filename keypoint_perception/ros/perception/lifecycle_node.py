"""The lifecycle node: configuring loads the engine, activating subscribes to the images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import time
from typing import Any

from keypoint_perception.errors import ConfigError
from keypoint_perception.faults import fault_sentence
from keypoint_perception.inference.engine import Engine, load_engine
from keypoint_perception.ros.messages import NAMES_QOS, to_names
from keypoint_perception.ros.node_program import forward_logs
from keypoint_perception.ros.perception.camera import Camera, QueuedImage
from keypoint_perception.ros.perception.diagnostics import DiagnosticsPublisher, NodeCondition
from keypoint_perception.ros.perception.engine_loading import (
    EngineSpec,
    load_warm,
    MonitoredEngine,
)
from keypoint_perception.ros.perception.engine_supervisor import EngineSupervisor
from keypoint_perception.ros.perception.inference_worker import InferenceWorker, LatestBuffer
from keypoint_perception.ros.perception.live_parameters import LiveParameters, UNCONFIGURED
from keypoint_perception.ros.perception.node_parameters import declare_parameters, NodeParameters
from keypoint_perception.ros.perception.pipeline import Pipeline
from keypoint_perception.ros.perception.services import serve_enable, serve_recording, serve_reload
from keypoint_perception.ros.stop_signals import stop_requested
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import String

NODE_NAME = 'perception_node'
REPORT_PERIOD_S = 1.0
# How long to wait for the image in progress; less when the process ends, which may be killed soon.
DEACTIVATE_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 1.0
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(LifecycleNode):
    """
    Images in, keypoints out.

    :param load: loads an engine; replaced by tests
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
        self._qos_overrides = declare_parameters(self)
        forward_logs(self)
        node: LifecycleNode = self
        self._log = node.get_logger()
        self._load_engine = load
        self._cameras: list[Camera] = []
        self._latest_buffer: LatestBuffer[QueuedImage] = LatestBuffer()
        self._supervisor = EngineSupervisor(
            self._load, self._start_worker, self._call_in_executor, self._announce_model
        )
        self._live = LiveParameters(
            self, self._supervisor, state=lambda: self._state, apply=self._update_cameras
        )
        self._load_error = ''
        self._build_progress = ''
        self._reported_s = -REPORT_PERIOD_S
        self._enabled = True
        self._has_namesake = False
        self._diagnostics = DiagnosticsPublisher(self)
        self._names = self.create_publisher(String, '~/names', NAMES_QOS)
        serve_enable(self, self._enable)
        serve_reload(self, self._live.reload)
        self._recording = serve_recording(
            self, lambda: self._cameras, lambda: self.parameters.record_directory
        )
        back = Duration(nanoseconds=-1)
        jumps = JumpThreshold(min_forward=None, min_backward=back, on_clock_change=True)
        self._jumps = self.get_clock().create_jump_callback(
            jumps, post_callback=self._on_clock_jump
        )
        # Wall time: a simulator's clock may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_PERIOD_S, self._on_timer, clock=steady)

    @property
    def parameters(self) -> NodeParameters:
        return self._live.values

    def start(self) -> bool:
        """Configure and activate; return whether both succeeded."""
        node: LifecycleNode = self
        return bool(node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Release everything, in any state."""
        self._deactivate(timeout_s)
        self._unload()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the engine and warm it up."""
        del state
        missing = 'model not loaded'
        try:
            self._supervisor.load(self.parameters.engine_spec, self._keep_waiting)
            missing = 'topics not created'
            for name in self.parameters.cameras or ('',):
                camera = Camera(
                    self,
                    name,
                    transport=self.parameters.image_transport,
                    put=lambda queued: self._latest_buffer.put(queued.camera, queued),
                    geometry=self.parameters.geometry,
                    qos_overrides=self._qos_overrides,
                )
                self._cameras.append(camera)
        except Exception as error:  # rclpy would swallow it
            self._load_error = f'{missing}: {fault_sentence(error)}'
            if not stop_requested():
                self._log.fatal(self._load_error)
            self._unload()
            return FAILURE
        self._load_error = ''
        self._announce_model()
        self._state = 'inactive'
        self._log.info(f'loaded {self._supervisor.identity} into {self._supervisor.description}')
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the images."""
        self._diagnostics.restart()
        self._state = 'active'
        self._supervisor.activate()
        result = super().on_activate(state)  # enables the publishers
        try:
            self._update_cameras()
        except Exception as error:  # rclpy would swallow it
            self._deactivate()
            self._log.fatal(f'not activated: {fault_sentence(error)}')
            return FAILURE
        for camera in self._cameras:
            when = '' if camera.input else f' once {camera.publishers.topics} has a subscriber'
            self._log.info(f'listening to {camera.topic}{when}')
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the image in progress is still published."""
        self._deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the engine."""
        self._unload()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, in any state."""
        self.stop(DEACTIVATE_TIMEOUT_S)
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to the unconfigured state."""
        self.stop(DEACTIVATE_TIMEOUT_S)
        return super().on_error(state)

    def _deactivate(self, timeout_s: float = DEACTIVATE_TIMEOUT_S) -> None:
        for camera in self._cameras:
            camera.set_active(False)
            self._latest_buffer.remove(camera)
            self._state = 'inactive'
        if not self._supervisor.deactivate(timeout_s):
            self._log.warning(f'the engine is still busy after {timeout_s:.0f} s')

    def _unload(self) -> None:
        self._recording.stop()
        for camera in self._cameras:
            camera.close()
            self._state = UNCONFIGURED
        self._cameras = []
        self._supervisor.unload()

    def _load(self, spec: EngineSpec) -> MonitoredEngine:
        """Load an engine; runs in a thread of its own."""
        max_batch = max(1, len(self.parameters.cameras))
        self._build_progress = f'loading {spec.model}'
        try:
            return load_warm(self._load_engine, spec, max_batch, self._on_build_progress)
        finally:
            self._build_progress = ''

    def _on_build_progress(self, done: int, total: int, phase: str) -> bool:
        """Note the progress of an engine build; return whether to continue."""
        self._build_progress = f'building the engine: {phase}, {100 * done // max(1, total)} %'
        return not stop_requested()

    def _keep_waiting(self) -> bool:
        """Report the progress of the first engine: configuring blocks the executor's timers."""
        if stop_requested():
            return False
        if time.monotonic() - self._reported_s >= REPORT_PERIOD_S:
            self._report()
        return True

    def _start_worker(
        self, engine: MonitoredEngine, predecessor: InferenceWorker | None
    ) -> InferenceWorker:
        return InferenceWorker(
            self._latest_buffer,
            Pipeline(engine, lambda: self.parameters.predict_hidden),
            lambda: self.parameters.batch_budget / 1e3,
            predecessor,
        )

    def _call_in_executor(self, function: Callable[[], None]) -> None:
        executor = self.executor
        if executor is not None:
            with suppress(AttributeError):  # it has ended, and nothing needs to be called any more
                executor.create_task(function)

    def _announce_model(self) -> None:
        """Publish the names of the model's keypoints, and offer topics for its landmarks."""
        engine = self._supervisor.engine
        assert engine is not None, 'called with an engine in use'
        for camera in self._cameras if engine.landmark_names else ():
            camera.publishers.enable_landmarks()
        self._names.publish(to_names(engine, self._supervisor.identity))

    def _update_cameras(self) -> None:
        for camera in self._cameras:
            camera.locator.settings = self.parameters.geometry
            camera.overlay_threshold = self.parameters.overlay_threshold
            active = self._state == 'active' and self._enabled
            camera.set_active(active, lazy=self.parameters.lazy)

    def _enable(self, enabled: bool) -> str:
        self._enabled = enabled
        self._update_cameras()
        if not enabled:
            return 'The cameras are disabled until ~/enable is called with true.'
        if self._state != 'active':
            return f'Enabled; the node is {self._state} and publishes nothing until it is active.'
        return 'Enabled.'

    def _on_clock_jump(self, jump: Any) -> None:
        del jump
        for camera in self._cameras:
            camera.on_clock_jump()

    def _on_timer(self) -> None:
        self._supervisor.check(self.parameters.engine_timeout)
        for camera in self._cameras:
            camera.update()  # some RMW implementations do not report matched subscribers
        self._warn_of_namesakes()
        self._report()

    def _warn_of_namesakes(self) -> None:
        own = self.get_name(), self.get_namespace()
        several = self.get_node_names_and_namespaces().count(own) > 1
        if several and not self._has_namesake:
            self._log.warning(
                f'another node is called {self.get_fully_qualified_name()} too, and publishes on '
                'the same topics; give one of them another name with `-r __node:=NAME`'
            )
        self._has_namesake = several

    def _report(self) -> None:
        self._reported_s = time.monotonic()
        supervisor = self._supervisor
        condition = NodeCondition(
            state=self._state,
            build_progress=self._build_progress,
            load_error=self._load_error,
            disabled=not self._enabled,
            fault=supervisor.fault,
            faults=supervisor.faults,
            last_error=supervisor.last_error,
            engine=supervisor.description,
            busy_s=0.0 if supervisor.engine is None else supervisor.engine.busy_s,
            gpu_memory=supervisor.gpu_memory,
            model=supervisor.identity or self.parameters.engine_spec.model,
        )
        self._diagnostics.publish(self._cameras, condition, self.parameters.silence_timeout)
