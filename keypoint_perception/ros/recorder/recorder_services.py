"""The node of ``recorder_node``: parameters, services and diagnostics around a recorder."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from keypoint_perception.errors import PerceptionError
from keypoint_perception.ros.recorder.recorder import dated_bag, Recorder
from keypoint_perception.ros.recorder.recorder_parameters import (
    check,
    expected,
    OWN_DEFAULTS,
    OWN_PARAMETERS,
)
from keypoint_perception.ros.recorder.recorder_settings import (
    DESCRIPTIONS,
    RecorderSettings,
    SETTING_NAMES,
)
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Header
from std_srvs.srv import Trigger

REPORT_S = 1.0


class RecorderNode(Node):
    """
    Records when it is told to, one bag at a time.

    :raises ConfigError: if a parameter is of a wrong type or out of range
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._recorder: Recorder | None = None
        defaults = OWN_DEFAULTS | vars(RecorderSettings())
        texts = {name: text for name, (_, text) in OWN_PARAMETERS.items()} | DESCRIPTIONS
        for name, default in defaults.items():
            # A whole number is as good as a fraction; what is not good is said by `check`.
            descriptor = ParameterDescriptor(description=texts[name], dynamic_typing=True)
            descriptor.additional_constraints = expected(name)
            self.declare_parameter(name, default, descriptor)
        check(self._given())
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.create_service(Trigger, '~/start_recording', self._start)
        self.create_service(Trigger, '~/stop_recording', self._stop)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_S, self._report, clock=steady)

    @property
    def autostart(self) -> bool:
        """Return whether to record at once."""
        return bool(check(self._given())[0]['autostart'])

    @property
    def ended(self) -> bool:
        """Return whether the recording has ended by itself and the node is to end with it."""
        recorder = self._recorder
        if recorder is None or not recorder.finished.is_set():
            return False
        return bool(self.get_parameter('exit_at_end').value)

    @property
    def exit_code(self) -> int:
        """Return 2 if the recording ended before it was to, else 0."""
        return 0 if self._recorder is None or self._recorder.summary().asked else 2

    def begin(self) -> None:
        """
        Begin a recording.

        :raises PerceptionError: if it cannot begin
        :raises OSError: if the bag cannot be written
        """
        own, settings = check(self._given())
        out = own['out'] or dated_bag(own['directory'])
        self._recorder = Recorder(self, topics=own['topics'], out=out, settings=settings)
        try:
            self._recorder.start()
        except (PerceptionError, OSError):
            self._recorder = None
            raise

    def stop(self) -> str:
        """End the recording; return what it has become, empty if there is none."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return ''
        sentence = recorder.stop().sentence()
        self.get_logger().info(f'recorded {sentence}')
        return sentence

    def _given(self) -> dict[str, object]:
        """Return the parameters as they are now."""
        names = (*OWN_DEFAULTS, *SETTING_NAMES)
        return {name: self.get_parameter(name).value for name in names}

    def _on_set_parameters(self, parameters) -> SetParametersResult:
        """Refuse bad values; good ones count from the next recording on."""
        changed = {p.name: p.value for p in parameters}
        try:
            check(self._given() | changed)
        except PerceptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _start(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        if self._recorder is not None and not self._recorder.finished.is_set():
            response.message = f'{str(self._recorder.out)!r} is being recorded; stop it first.'
            return response
        self.stop()
        try:
            self.begin()
        except (PerceptionError, OSError) as error:
            response.message = str(error)
            self.get_logger().error(f'~/start_recording: {error}')
            return response
        response.success, response.message = True, str(self._recorder.out)
        return response

    def _stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        del request
        response.message = self.stop()
        response.success = bool(response.message)
        if not response.success:
            response.message = 'Nothing is being recorded; begin with ~/start_recording.'
        return response

    def _report(self) -> None:
        """Publish how it goes."""
        status = DiagnosticStatus(name=self.get_fully_qualified_name(), hardware_id='recorder')
        status.level, status.message = DiagnosticStatus.OK, 'not recording'
        if self._recorder is not None:
            summary = self._recorder.summary()
            status.message = summary.ended or f'recording {summary.sentence()}'
            if not summary.asked:
                status.level = DiagnosticStatus.ERROR
            elif summary.dropped or summary.lost:
                status.level = DiagnosticStatus.WARN
            values = {'safe': summary.safe, 'bytes': summary.size_bytes}
            for topic, counts in summary.topics.items():
                values |= {f'{topic} {k}': v for k, v in vars(counts).items()}
            status.values = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=[status]))
