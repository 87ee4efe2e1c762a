"""The node of ``recorder_node``: parameters, services and diagnostics of a recorder."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from keypoint_perception.errors import PerceptionError
from keypoint_perception.ros.parameter import to_descriptor, to_ros
from keypoint_perception.ros.recorder.recorder import dated_bag, Recorder
from keypoint_perception.ros.recorder.recorder_settings import (
    recorder_parameters,
    RecorderParameters,
)
from keypoint_perception.ros.recorder.recording_services import RecordingServices
from keypoint_perception.settings import settings_of
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Header

REPORT_S = 1.0


class RecorderNode(Node):
    """
    Records topics on request, under parameters, and reports diagnostics.

    :raises ConfigError: if a parameter is of a wrong type or out of range
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        for name, setting in settings_of(RecorderParameters).items():
            descriptor = to_descriptor(setting, dynamic_typing=True)
            self.declare_parameter(name, to_ros(setting.default), descriptor)
        recorder_parameters(self._values())
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.recording = RecordingServices(self, self._create_recorder, lambda r: str(r.out))
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(REPORT_S, self._report, clock=steady)

    @property
    def autostart(self) -> bool:
        """Return whether to record from the start."""
        return recorder_parameters(self._values()).autostart

    @property
    def ended(self) -> bool:
        """Return whether the node is to exit because its recording stopped by itself."""
        recorder = self.recording.recorder
        if recorder is None or not recorder.finished.is_set():
            return False
        return bool(self.get_parameter('exit_at_end').value)

    @property
    def failed(self) -> bool:
        """Return whether recording stopped before the user wanted it to."""
        recorder = self.recording.recorder
        return recorder is not None and not recorder.summary().requested

    def _create_recorder(self) -> Recorder:
        parameters = recorder_parameters(self._values())
        topics = [topic for topic in parameters.topics if topic]
        out = parameters.out or dated_bag(parameters.directory)
        return Recorder(self, topics=topics, out=out, settings=parameters.recording)

    def _values(self) -> dict[str, object]:
        names = settings_of(RecorderParameters)
        return {name: self.get_parameter(name).value for name in names}

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Reject invalid values; valid ones apply from the next recording on."""
        changed = {p.name: p.value for p in parameters}
        try:
            recorder_parameters(self._values() | changed)
        except PerceptionError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _report(self) -> None:
        status = DiagnosticStatus(name=self.get_fully_qualified_name(), hardware_id='recorder')
        status.level, status.message = DiagnosticStatus.OK, 'not recording'
        if self.recording.recorder is not None:
            summary = self.recording.recorder.summary()
            status.message = summary.stop_reason or f'recording {summary.sentence()}'
            if not summary.requested:
                status.level = DiagnosticStatus.ERROR
            elif summary.total.dropped or summary.total.lost:
                status.level = DiagnosticStatus.WARN
            values = {'safe': summary.safe, 'bytes': summary.size_bytes}
            for topic, counts in summary.topics.items():
                values |= {f'{topic} {k}': v for k, v in vars(counts).items()}
            status.values = [KeyValue(key=k, value=str(v)) for k, v in values.items()]
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics.publish(DiagnosticArray(header=header, status=[status]))
