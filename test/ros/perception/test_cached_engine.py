"""A corrupted cached engine, against the real node over DDS: rebuilt with a warning."""

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from keypoint_perception.ros.messages import from_point_cloud
from sensor_msgs.msg import Image, PointCloud2

# TensorRT and its GPU are a fake, behind which ONNX Runtime answers; the cache is real.
NODE = """
import sys
from pathlib import Path
from fake_device import FakeDevice
from keypoint_perception.inference.tensorrt.tensorrt_engine import TensorRTEngine
from keypoint_perception.inference.tensorrt.engine_parity import onnxruntime_outputs
from keypoint_perception.manifest import (read_manifest)
from keypoint_perception.model_directory import (ONNX_NAME)
from keypoint_perception.ros.perception_node import main

def load(model_dir, name, *, max_batch, progress, **settings):
    manifest = read_manifest(model_dir)
    return TensorRTEngine(
        model_dir,
        manifest,
        max_batch=max_batch,
        progress=progress,
        cache_dir=Path({cache!r}),
        open_device=lambda: FakeDevice(
            onnxruntime_outputs(Path(model_dir) / ONNX_NAME),
            input_hw=manifest.input_hw,
            outputs={{'keypoints': manifest.keypoint_count}},
        ),
    )

sys.exit(main(load=load))
"""


@pytest.fixture
def start_cached(start, model_dir, tmp_path):
    def start_one():
        program = NODE.format(cache=str(tmp_path / 'engines'))
        settings = ('--ros-args', '-p', f'model:={model_dir}', '-r', 'image:=/cached/image')
        return start('-c', program, *settings)

    return start_one


def test_a_corrupted_engine_is_rebuilt_with_a_warning(start_cached, tmp_path, peer, make_image):
    first = start_cached()
    first.wait_for('this takes from half a minute on a desktop GPU')
    first.wait_for('listening to /cached/image')
    assert first.stop() == 0
    (plan,) = (tmp_path / 'engines').glob('*.plan')
    good = plan.read_bytes()
    plan.write_bytes(good[:-2] + b'??')
    second = start_cached()
    second.wait_for(r'is not loaded and will be rebuilt: its SHA-256 is not the one')
    second.wait_for('listening to /cached/image')
    assert plan.read_bytes() == good
    clouds = peer.collect(PointCloud2, '/perception_node/keypoints')
    camera = peer.publisher(Image, '/cached/image')
    image = make_image(3, u=20, v=10)
    peer.publish_until(lambda: clouds, camera, image, 'keypoints', second)
    points = from_point_cloud(clouds[0])
    assert (points['u'][0], points['v'][0]) == pytest.approx((20, 10), abs=1)
    assert second.stop() == 0
    third = start_cached()
    third.wait_for('from the cache')
    assert third.stop() == 0
    assert 'rebuilt' not in third.output
