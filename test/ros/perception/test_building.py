"""Diagnostics report the progress of an engine that takes minutes to build."""

import signal

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import pytest

# The build is a fake: it tells the same progress until the test writes a line.
NODE = """
import sys, threading
from keypoint_perception.errors import EngineError
from fake_engine import FakeEngine
from keypoint_perception.ros.perception import engine_loading
from keypoint_perception.ros.perception_node import main
import numpy as np
engine_loading.model_identity = str
def load(model_dir, name, *, max_batch, progress, **settings):
    print('building for', max_batch, flush=True)
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
    while not told.wait(0.05):
        if progress(430, 1000, 'Timing') is False:
            raise EngineError('The build of the engine was stopped.')
    return FakeEngine(lambda images: np.zeros((len(images), 3, 3), np.float32))
sys.exit(main(load=load))
"""


@pytest.fixture
def node(start):
    return start('-c', NODE, '--ros-args', '-p', 'model:=x', '-p', 'cameras:=[left, right]')


def test_build_progress_is_reported(node, peer):
    node.wait_for('building for 2')
    arrays = peer.collect(DiagnosticArray, '/diagnostics')
    told = lambda: [a for a in arrays if 'Timing' in a.status[0].message]  # noqa: E731
    peer.spin_until(told, 'diagnostics', node)
    (status,) = told()[-1].status
    assert status.level == DiagnosticStatus.WARN
    assert status.message == 'building the engine: Timing, 43 %'
    values = {value.key: value.value for value in status.values}
    assert values['engine being built'] == status.message
    node.write('go on')
    node.wait_for('listening to')
    del arrays[:]
    peer.spin_until(lambda: arrays, 'diagnostics', node)
    values = {value.key: value.value for value in arrays[-1].status[0].values}
    assert values['engine being built'] == ''


def test_shutdown_stops_a_build(node):
    node.wait_for('building for 2')
    assert node.stop(signal.SIGINT) == 0
    assert 'Traceback' not in node.output
