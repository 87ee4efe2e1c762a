"""What a compiled engine is compared on, and in which batches."""

import sys

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.synthetic_model import write_synthetic_model
from keypoint_perception.inference.tensorrt.engine_parity import (
    compare_engine,
    onnxruntime_outputs,
    parity_images,
    random_images,
    read_uint8,
)
from keypoint_perception.manifest import Manifest
import numpy as np
import pytest

IMAGES = np.zeros((10, 4, 4, 3), np.uint8)
POINTS = np.full((10, 10, 3), 0.9, np.float32)


def reference(images):
    return {'keypoints': POINTS[: len(images)]}


def compare(engine, batches):
    return compare_engine(
        engine, reference, IMAGES, described='frames', precision='fp16', batches=batches
    )


def test_every_size_of_batch_is_compared():
    """An engine that is wrong in the last row of a batch is right in batches of one."""
    sizes = []

    def engine(images):
        sizes.append(len(images))
        points = POINTS[: len(images)].copy()
        if len(images) > 1:
            points[-1, :, 0] += 1
        return {'keypoints': points}

    with pytest.raises(EngineError, match='engine in batches of 4 and ONNX Runtime differ'):
        compare(engine, (4, 1, 4))
    assert sizes == [1] * 10 + [4, 4, 2]


def test_the_worst_size_of_batch_is_returned():
    def engine(images):
        points = POINTS[: len(images)].copy()
        points[0, 0, 0] += len(images) == 10
        return {'keypoints': points}

    assert compare(engine, (1,)).off == 0
    assert compare(engine, (10, 1)).off == 1


@pytest.fixture
def model(tmp_path):
    (tmp_path / 'checkpoint').mkdir()
    return tmp_path


def described(files):
    return Manifest(('a',), (4, 6), 'none', 'none', files=dict.fromkeys(files, ''))


def test_the_frames_of_the_training_are_taken(model):
    numpy = pytest.importorskip('safetensors.numpy')
    frames = np.arange(5 * 4 * 6 * 3, dtype=np.uint8).reshape(5, 4, 6, 3)
    path = model / 'checkpoint/frames.safetensors'
    numpy.save_file({'other': np.zeros(3, np.float32), 'frames': frames}, path)
    found, what = parity_images(model, described(['checkpoint/frames.safetensors']))
    assert what == 'frames of the training recording'
    np.testing.assert_array_equal(found, frames)
    with pytest.raises(ValueError, match=r'other is F32 \(3,\)'):
        read_uint8(path, 'other')


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (None, 'the model has no checkpoint/frames.safetensors'),
        (b'', 'checkpoint/frames.safetensors cannot be read: '),
        (b'\x10' + bytes(7) + b'no json at all!!', 'cannot be read: '),
    ],
)
def test_without_them_images_are_random_and_the_reason_is_said(model, content, reason):
    files = []
    if content is not None:
        files.append('checkpoint/frames.safetensors')
        (model / files[0]).write_bytes(content)
    found, what = parity_images(model, described(files))
    assert found.shape == (16, 4, 6, 3)
    assert what.startswith('random images, because ')
    assert reason in what


def test_random_images_are_always_the_same_and_use_all_values():
    first, again = random_images((24, 32), 3), random_images((24, 32), 3)
    np.testing.assert_array_equal(first, again)
    assert (first.min(), first.max(), first.dtype) == (0, 255, np.uint8)
    assert not np.array_equal(first[0], first[1])
    steps = np.abs(np.diff(first.astype(int), axis=2))
    assert steps.mean() < 16  # smooth; of white noise it is 85


def test_onnx_runtime_answers_by_the_outputs_names(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    write_synthetic_model(tmp_path, keypoints=2, input_hw=(4, 6))
    images = np.zeros((1, 4, 6, 3), np.uint8)
    images[0, 3, 2] = 255
    answers = onnxruntime_outputs(tmp_path / 'keypointer.onnx')(images)
    np.testing.assert_allclose(answers['keypoints'][0], [[2, 3, 1], [3, 3, 1]])
    (tmp_path / 'keypointer.onnx').write_bytes(b'none')
    with pytest.raises(EngineError, match='cannot be compared with it; export the model again'):
        onnxruntime_outputs(tmp_path / 'keypointer.onnx')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(EngineError, match='not used without a comparison with it; install it'):
        onnxruntime_outputs(tmp_path / 'keypointer.onnx')
