"""Signals end the node in order, whatever is being loaded or pending."""

import signal

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

# A signal that comes while the engine is being loaded.
STOPPED_WHILE_LOADING = """
import os, signal, sys, time
import numpy as np
from fake_engine import FakeEngine
from keypoint_perception.ros.perception import engine_loading
from keypoint_perception.ros.perception_node import main
from keypoint_perception.ros.stop_signals import stop_requested
engine_loading.model_identity = str
def load(model_dir, name, **settings):
    os.kill(os.getpid(), signal.{name})
    while {until}:
        time.sleep(0.01)
    return FakeEngine(lambda images: np.zeros((1, 3, 3), np.float32))
sys.exit(main(load=load))
"""


@pytest.mark.parametrize('until', ['not stop_requested()', 'True'], ids=['ends', 'hangs'])
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT'])
def test_signal_while_loading_ends_the_node_cleanly(start, name, until):
    node = start(
        '-c',
        STOPPED_WHILE_LOADING.replace('{name}', name).replace('{until}', until),
        '--ros-args',
        '-p',
        'model:=x',
    )
    assert node.wait() == 0, node.output
    assert 'Traceback' not in node.output


# Every engine but the first loads for ever.
LOADS_FOR_EVER = """
import sys, threading
import numpy as np
from fake_engine import FakeEngine
from keypoint_perception.ros.perception_node import main
def load(model_dir, name, *, threads, **settings):
    if threads:
        print('loading with', threads, flush=True)
        threading.Event().wait()
    return FakeEngine(lambda images: np.zeros((1, 3, 3), np.float32))
sys.exit(main(load=load))
"""


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGINT])
def test_signal_with_an_engine_loading_and_requests_pending_ends_cleanly(
    peer, start, model_dir, how
):
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter
    from std_srvs.srv import Trigger

    node = start('-c', LOADS_FOR_EVER, '--ros-args', '-p', f'model:={model_dir}')
    node.wait_for('listening to /image')
    for threads in (2, 3):
        new = SetParameters.Request(
            parameters=[Parameter('threads', value=threads).to_parameter_msg()]
        )
        answer = peer.call(SetParameters, '/perception_node/set_parameters', new)
        assert answer.results[0].successful
    node.wait_for('loading with 2')
    if how == signal.SIGINT:  # a request to reload takes the place of 3
        reload = peer.node.create_client(Trigger, '/perception_node/reload')
        peer.spin_until(reload.service_is_ready, 'the service', node)
        reload.call_async(Trigger.Request())
        node.wait_for('another model was requested in the meantime')
    assert node.stop(how) == 0
    assert 'loading with 3' not in node.output
    assert 'Traceback' not in node.output
    assert 'a bug' not in node.output
