"""The lifecycle node: configure loads the engine, activate listens."""

from __future__ import annotations

from collections.abc import Callable
import logging
from pathlib import Path
import re

from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.errors import ConfigError, PerceptionError
from keypoint_perception.inference.engine import Engine, load_engine
from keypoint_perception.inference.estimator import Estimator
from keypoint_perception.manifest import ONNX_NAME, read_manifest
from keypoint_perception.ros.camera import Arrival, Camera
from keypoint_perception.ros.diagnostics import (
    Circumstances,
    judge,
    LOST_SHARE,
    SILENCE,
    SILENT_S,
    to_status,
)
from keypoint_perception.ros.health import Health, Snapshot
from keypoint_perception.ros.mailbox import Mailbox
from keypoint_perception.ros.parameters import (
    BY_NAME,
    declare_parameters,
    NodeParameters,
    read_parameters,
)
from keypoint_perception.ros.pipeline import Pipeline
from keypoint_perception.ros.worker import Worker
import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Header

NODE_NAME = 'perception_node'
DIAGNOSTICS_PERIOD_S = 1.0
WARM_UP_RUNS = 3
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
        declare_parameters(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        forward_logs(self)
        self._load = load
        self._engine: Engine | None = None
        self._cameras: list[Camera] = []
        self._mailbox = Mailbox()
        self._worker: Worker | None = None
        self._model = ''
        self._not_loaded = ''
        self._said: set[tuple[str, str]] = set()
        self._state = 'unconfigured'
        self._batch_budget_s = 0.0
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        # Wall time goes on while a simulator's clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._report, clock=steady)

    @property
    def parameters(self) -> NodeParameters:
        """Return the parameters, checked."""
        return read_parameters(self)

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
            parameters = self.parameters
            self._engine = self._load_engine(parameters)
        except PerceptionError as error:
            self._not_loaded = f'model not loaded: {error}'
            self.get_logger().fatal(self._not_loaded)
            return FAILURE
        self._not_loaded = ''
        self._cameras = [
            Camera(self, name, transport=parameters.image_transport, put=self._hand_over)
            for name in parameters.cameras or ('',)
        ]
        for camera in self._cameras:
            camera.overlay_threshold = parameters.overlay_threshold
        self._state = 'inactive'
        self.get_logger().info(f'loaded {self._model} into {self._engine.description}')
        return SUCCESS

    def _load_engine(self, parameters: NodeParameters) -> Engine:
        self._model = parameters.model
        if not parameters.model:
            msg = (
                'Parameter model is not set; set it to the directory that `train --out` wrote, '
                'as in `--ros-args -p model:=DIR`.'
            )
            raise ConfigError(msg)
        model_dir = Path(parameters.model).expanduser()
        engine = self._load(model_dir, parameters.engine, threads=parameters.threads)
        self._model = model_identity(model_dir)
        black = np.zeros((1, *engine.input_hw, 3), np.uint8)
        for _ in range(WARM_UP_RUNS):
            engine.run(black)
        return engine

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to images."""
        self._said.clear()
        parameters = self.parameters
        process = Pipeline(Estimator(self._engine)).process
        self._worker = Worker(self._mailbox, process, lambda: self._batch_budget_s)
        self._batch_budget_s = parameters.batch_budget / 1e3
        self._state = 'active'
        for camera in self._cameras:
            camera.activate(lazy=parameters.lazy)
            when = '' if camera.input else f' once somebody listens to {camera.outputs}'
            self.get_logger().info(f'listening to {camera.topic}{when}')
        return super().on_activate(state)

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
        if self._worker is not None:
            if not self._worker.stop(timeout_s):
                self.get_logger().warning(f'the engine is still busy after {timeout_s:.0f} s')
            self._worker = None

    def _unload(self) -> None:
        for camera in self._cameras:
            camera.close()
        self._cameras = []
        if self._engine is not None:
            self._engine.close()
            self._engine = None
            self._state = 'unconfigured'

    def _hand_over(self, arrival: Arrival) -> bool:
        return self._mailbox.put(arrival.camera, arrival)

    def _on_set_parameters(self, parameters) -> SetParametersResult:
        """Refuse bad values, and any change of what an engine was loaded with."""
        for parameter in parameters:
            if parameter.name not in BY_NAME:
                continue
            if self._engine is not None:
                reason = (
                    f'Parameter {parameter.name} cannot change in the state {self._state}; '
                    'deactivate and clean up first.'
                )
                return SetParametersResult(successful=False, reason=reason)
            try:
                BY_NAME[parameter.name].check(parameter.value)
            except ConfigError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _report(self) -> None:
        """Publish the diagnostics; a long silence is logged too, each reason once."""
        name = self.get_fully_qualified_name()
        array = DiagnosticArray(header=Header(stamp=self.get_clock().now().to_msg()))
        for camera in self._cameras or [None]:
            if camera is not None:
                camera.update()  # not every RMW implementation tells who listens
            counts = Health().snapshot() if camera is None else camera.health.snapshot()
            circumstances = self._circumstances(camera)
            array.status.append(to_status(name, circumstances, counts))
            if circumstances.state == 'active':
                self._say_what_is_wrong(circumstances, counts)
        self._diagnostics.publish(array)

    def _say_what_is_wrong(self, circumstances: Circumstances, counts: Snapshot) -> None:
        camera = circumstances.camera
        if circumstances.unheard:
            return
        silent = counts.silent_s > max(SILENT_S, self.parameters.silence_timeout)
        if not silent:  # the next silence is news again, a lossy network is not
            self._said = {
                said for said in self._said if said[0] != camera or not said[1].startswith(SILENCE)
            }
        if silent or counts.recently_lost > LOST_SHARE:
            _, sentence = judge(circumstances, counts)
            reason = re.sub(r'\d+', '#', sentence)  # its numbers change, it stays the same
            if (camera, reason) not in self._said:
                self._said.add((camera, reason))
                self.get_logger().warning(sentence)

    def _circumstances(self, camera: Camera | None) -> Circumstances:
        listening = None if camera is None else camera.input
        return Circumstances(
            camera='' if camera is None else camera.name,
            state=self._state,
            unheard='' if camera is None or camera.input else camera.outputs,
            not_loaded=self._not_loaded,
            engine='' if self._engine is None else self._engine.description,
            model=self._model,
            topic='' if listening is None else listening.topic,
            publishers=0 if listening is None else listening.publishers,
            obstacle='' if listening is None else listening.obstacle(),
        )


def model_identity(model_dir: Path) -> str:
    """Return what tells one model from another: its place, shape and the network's digest."""
    manifest = read_manifest(model_dir)
    height, width = manifest.input_hw
    return (
        f'{model_dir} ({manifest.keypoint_count} keypoints, {width}x{height} px, '
        f'sha256 {manifest.files[ONNX_NAME][:12]})'
    )


def forward_logs(node: LifecycleNode) -> None:
    """Let the package's Python log speak through the node."""
    ros = node.get_logger()
    say = {logging.INFO: ros.info, logging.WARNING: ros.warning, logging.ERROR: ros.error}

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say.get(record.levelno, ros.debug)(record.getMessage())

    logger = logging.getLogger('keypoint_perception')
    logger.setLevel(logging.INFO)
    logger.handlers = [Forward()]
    logger.propagate = False
