"""A perception node in a process of its own, and a node that asks it."""

from __future__ import annotations

import array
from collections.abc import Callable
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time
from typing import Any

NODE = '/perception_node'
TOPIC = '/torture/image'
DDS_PROFILE = Path(__file__).parents[1] / 'config' / 'fastdds_large_images.xml'
PATIENCE_S = 60.0
SETTLE_S = 6.0


class NodeError(Exception):
    """The node is gone or does not answer."""


class LiveNode:
    """
    A running node.

    :param model: directory that it starts with
    :param transport: raw or compressed
    """

    def __init__(self, folder: Path, model: Path, transport: str) -> None:
        self.model, self.transport = model, transport
        # without it, most images are lost on the way
        os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(DDS_PROFILE)
        self.log_path = folder / 'node.log'
        self._log = self.log_path.open('w')
        self.process = subprocess.Popen(
            self._command(folder), cwd=folder, stdout=self._log, stderr=subprocess.STDOUT,
            env=os.environ | {'ROS_LOG_DIR': str(folder / 'log'), 'TMPDIR': str(folder)},
        )  # fmt: skip
        self._connect()

    def _command(self, folder: Path) -> list[str]:
        parameters: dict[str, object] = {
            'model': self.model,
            'lazy': 'false',
            'depth': 'true',
            'threads': 1,
            'image_transport': self.transport,
            'record_directory': folder / 'bags',
        }
        topic = TOPIC if self.transport == 'raw' else f'{TOPIC}/compressed'
        for policy, value in {'reliability': 'reliable', 'depth': 40}.items():
            parameters[f'qos_overrides.{topic}.subscription.{policy}'] = value
        command = [sys.executable, '-m', 'keypoint_perception.ros.perception_node', '--ros-args']
        for name, value in parameters.items():
            command += ['-p', f'{name}:={value}']
        return [*command, '-r', f'image:={TOPIC}', '-r', f'depth:={TOPIC}_depth']

    def _connect(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

        context = rclpy.Context()
        rclpy.init(args=['--ros-args', '--disable-rosout-logs'], context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self.node = rclpy.create_node('torture', context=context)
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self.values: dict[str, str] = {}
        self._clouds: set[int] = set()
        raw = self.transport == 'raw'
        topic = TOPIC if raw else f'{TOPIC}/compressed'
        self.images = self.node.create_publisher(
            Image if raw else CompressedImage, topic, QoSProfile(depth=40)
        )
        self.depths = self.node.create_publisher(Image, f'{TOPIC}_depth', 10)
        self.infos = self.node.create_publisher(CameraInfo, '/torture/camera_info', 10)
        self._subscribe(PointCloud2)

    def _subscribe(self, cloud_type: type) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        def on_diagnosis(message: Any) -> None:
            for status in message.status:
                if status.name.startswith(NODE):
                    self.values = {pair.key: pair.value for pair in status.values}

        def on_cloud(cloud: Any) -> None:
            self._clouds.add(cloud.header.stamp.sec)

        self.node.create_subscription(DiagnosticArray, '/diagnostics', on_diagnosis, 10)
        self.node.create_subscription(cloud_type, f'{NODE}/keypoints', on_cloud, 10)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; raise NodeError if it does not come true or the node is gone."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if self.process.poll() is not None:
                said = self.log_path.read_text(errors='replace')[-2000:]
                raise NodeError(f'the node is gone, exit {self.process.returncode}: {said}')
            if time.monotonic() > end:
                raise NodeError(f'no {what} within {PATIENCE_S:g} s')
            self._executor.spin_once(timeout_sec=0.02)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Return the answer to a request, or the error of one that ROS itself cannot send."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
            self.until(self._clients[name].service_is_ready, f'service {name}')
        try:
            future = self._clients[name].call_async(request)
        except Exception as error:
            return error
        self.until(future.done, f'answer of {name} to {str(request)[:300]}')
        return future.result()

    def set(self, **values: object) -> Any:
        """Set parameters, and return the first result."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        parameters = [Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
        request = SetParameters.Request(parameters=parameters)
        return self.call(SetParameters, f'{NODE}/set_parameters', request).results[0]

    def activate(self) -> None:
        """Bring the node back to where it publishes."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState, GetState
        from std_srvs.srv import SetBool, Trigger

        for _ in range(5):
            answer = self.call(GetState, f'{NODE}/get_state', GetState.Request())
            if (state := answer.current_state.label) == 'active':
                break
            if state == 'unconfigured':
                self.set(model=str(self.model))
            transition = Transition(id={'unconfigured': 1, 'inactive': 3}[state])
            request = ChangeState.Request(transition=transition)
            self.call(ChangeState, f'{NODE}/change_state', request)
        self.call(SetBool, f'{NODE}/enable', SetBool.Request(data=True))
        self.set(use_sim_time=False)
        self.set(lazy=False, threads=1, engine='auto', provider='auto', precision='fp32')
        self.set(engine_timeout=10.0)
        self.call(Trigger, f'{NODE}/stop_recording', Trigger.Request())

    def answer_an_image(self, second: int) -> None:
        """Wait for the keypoints of a good image, which its stamp tells from others."""
        import cv2
        import numpy as np
        from sensor_msgs.msg import CompressedImage, Image

        pixels = np.zeros((48, 64, 3), np.uint8)
        pixels[30, 20] = 255
        if self.transport == 'raw':
            data = array.array('B', pixels.tobytes())
            image = Image(height=48, width=64, encoding='rgb8', step=192, data=data)
        else:
            image = CompressedImage(format='png', data=cv2.imencode('.png', pixels)[1].tobytes())
        image.header.stamp.sec = second
        due_s = 0.0

        def answered() -> bool:
            nonlocal due_s
            if time.monotonic() > due_s:
                due_s = time.monotonic() + 0.5
                self.images.publish(image)
            return second in self._clouds

        self._clouds.clear()
        self.until(answered, 'keypoints of a good image')

    def measure(self) -> dict[str, float]:
        """Return threads, open files and memory in MB, once they have settled."""
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.1)
        process = Path(f'/proc/{self.process.pid}')
        status = (process / 'status').read_text()
        threads, resident = (
            int(re.search(rf'{name}:\s+(\d+)', status)[1]) for name in ('Threads', 'VmRSS')
        )
        files = len(list((process / 'fd').iterdir()))
        return {'threads': threads, 'files': files, 'MB': round(resident / 1024, 1)}

    def stop(self) -> int:
        """Interrupt the node, and return its exit status."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(20)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the node whatever it does."""
        self.process.kill()
        self.process.wait()
        self._log.close()
