"""An engine that answers something else is refused, with what was allowed."""

import json
import sys

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.synthetic_model import write_synthetic_model
from keypoint_perception.inference.tensorrt.engine_parity import (
    check_parity,
    onnxruntime_answers,
    parity_images,
    random_images,
    read_uint8,
    TOLERANCES,
)
from keypoint_perception.manifest import Manifest
import numpy as np
import pytest

IMAGES = np.arange(10 * 4 * 4 * 3, dtype=np.uint8).reshape(10, 4, 4, 3)
POINTS = np.zeros((10, 10, 3), np.float32)
POINTS[..., :2] = np.arange(10)[None, :, None]
POINTS[..., 2] = 0.9


def reference(images):
    return {'keypoints': POINTS[: len(images)]}


def compare(change, precision='fp32', *, points=POINTS):
    """Compare points with what a function makes of a copy of them."""
    answers = iter(change(points.copy()))
    return check_parity(
        lambda images: {'keypoints': np.stack([next(answers) for _ in images])},
        lambda images: {'keypoints': points},
        IMAGES,
        what='frames',
        precision=precision,
    )


def moved(count, px):
    """Move the first points of all frames taken together along (3, 4) / 5."""

    def change(points):
        points.reshape(-1, 3)[:count, :2] += np.array([0.6, 0.8], np.float32) * px
        return points

    return change


def test_what_is_equal_holds():
    parity = compare(lambda points: points)
    assert (parity.points, parity.confident, parity.off, parity.holds) == (100, 100, 0, True)
    assert parity.facts()['holds'] is True
    assert json.dumps(parity.facts())


def test_a_distance_is_measured_in_the_plane():
    parity = compare(moved(10, 0.04))
    assert parity.largest_px == pytest.approx(0.04, abs=1e-5)
    assert parity.median_px == 0.0


def test_one_point_that_is_off_is_too_many_in_fp32():
    with pytest.raises(EngineError, match=r'differ: median 0.0000 px .allowed 0.01., 1 of 100 p'):
        compare(moved(1, 0.06))


def test_a_drift_of_all_points_is_seen_though_none_is_far():
    with pytest.raises(EngineError, match=r'median 0.0200 px .allowed 0.01., 0 of 100 points'):
        compare(moved(100, 0.02))


@pytest.mark.parametrize(('precision', 'allowed', 'px'), [('fp16', 1, 0.6), ('int8', 2, 2.1)])
def test_few_points_may_tip_where_numbers_are_short(precision, allowed, px):
    assert compare(moved(allowed, px), precision).off == allowed
    with pytest.raises(EngineError, match=f'{allowed + 1} of 100 points off by more than'):
        compare(moved(allowed + 1, px), precision)


def test_points_that_nobody_is_sure_of_are_compared_by_confidence_alone():
    unsure = POINTS.copy()
    unsure[..., 2] = 0.2
    parity = compare(moved(100, 50.0), points=unsure)
    assert (parity.confident, parity.largest_px, parity.holds) == (0, 0.0, True)

    def surer(points):
        points[3, 4, 2] += 0.002
        return points

    with pytest.raises(EngineError, match=r'0.001 in confidence .* and 0.0020, on 10 frames'):
        compare(surer, points=unsure)


def test_every_size_of_batch_is_compared():
    """An engine that is wrong in the last row of a batch is right in batches of one."""
    sizes = []

    def engine(images):
        sizes.append(len(images))
        answer = POINTS[: len(images)].copy()
        if len(images) > 1:
            answer[-1, :, 0] += 1
        return {'keypoints': answer}

    with pytest.raises(EngineError, match='differ'):
        check_parity(engine, reference, IMAGES, what='frames', precision='fp32', batches=(4, 1, 4))
    assert sizes == [1] * 10 + [4, 4, 2]


def test_nan_and_another_shape_are_refused():
    def nan(points):
        points[0, 0, 0] = np.nan
        return points

    with pytest.raises(EngineError, match='NaN or infinity for keypoints in batches of 1'):
        compare(nan)
    with pytest.raises(EngineError, match=r'\(10, 9, 3\)\} in batches of 1 and ONNX Runtime'):
        compare(lambda points: points[:, :9])


def test_tolerances_grow_as_numbers_get_shorter():
    fp32, fp16, int8 = (TOLERANCES[p] for p in ('fp32', 'fp16', 'int8'))
    for name in ('median_px', 'far_px', 'far_confidence', 'off_share'):
        assert getattr(fp32, name) < getattr(fp16, name) < getattr(int8, name)


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
    answers = onnxruntime_answers(tmp_path / 'keypointer.onnx')(images)
    np.testing.assert_allclose(answers['keypoints'][0], [[2, 3, 1], [3, 3, 1]])
    (tmp_path / 'keypointer.onnx').write_bytes(b'none')
    with pytest.raises(EngineError, match='cannot be compared with it; export the model again'):
        onnxruntime_answers(tmp_path / 'keypointer.onnx')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(EngineError, match='not used before it was compared with it; install it'):
        onnxruntime_answers(tmp_path / 'keypointer.onnx')
