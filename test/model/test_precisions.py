"""Networks in fewer bits are made from recorded frames, measured, kept and refused."""

import logging

from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.landmark_map import Landmarks
from keypoint_perception.manifest import file_digest, onnx_file, read_manifest
from keypoint_perception.model import onnx_export, precisions
from keypoint_perception.model.checkpoint import load_checkpoint, save_checkpoint
from keypoint_perception.model.landmark_head import network_digest
from keypoint_perception.model.quantisation import write_quantised
import numpy as np
import pytest
import torch

onnx = pytest.importorskip('onnx', reason='the package onnx, which writes models, is missing')
onnxruntime = pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')


@pytest.fixture
def frames():
    """Return frames with something to find in each, (N, 48, 64, 3)."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 60, (24, 48, 64, 3), dtype=np.uint8)
    for image, (v, u) in zip(images, rng.integers(4, 40, (24, 2)), strict=True):
        image[v : v + 8, u : u + 8] = rng.integers(100, 256, 3)
    return images


@pytest.fixture
def exported(model_dir):
    """Return a model directory whose maps have peaks, exported in fp32."""
    checkpoint = load_checkpoint(model_dir)
    with torch.no_grad():
        checkpoint.network.body.head.weight *= 20
    save_checkpoint(model_dir, checkpoint)
    onnx_export.export_model(model_dir)
    return model_dir


def optimised(path, tmp_path):
    """Return the operators that ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / 'optimised.onnx')
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        str(path),
        options,
        providers=['CPUExecutionProvider'],
        disabled_optimizers=['NchwcTransformer', 'NhwcTransformer'],
    )
    return [node.op_type for node in onnx.load(tmp_path / 'optimised.onnx').graph.node]


def test_int8_is_measured_on_frames_that_were_held_out(exported, frames):
    manifest = precisions.export_int8(exported, frames[:16], frames[16:])
    facts = manifest.precisions['int8']
    assert (facts['calibration_frames'], facts['frames'], facts['signed']) == (16, 8, False)
    assert facts['made_from'] == file_digest(exported / 'keypointer.onnx')
    fp32 = onnx_export.run_onnx(exported / 'keypointer.onnx', frames[16:])
    int8 = onnx_export.run_onnx(exported / 'keypointer.int8.onnx', frames[16:])
    away = np.linalg.norm((int8 - fp32)[..., :2], axis=-1)
    assert facts['median_px'] == pytest.approx(np.median(away))
    assert facts['p95_px'] == pytest.approx(np.percentile(away, 95))
    assert 0 < facts['median_px'] < 0.5
    assert read_manifest(exported) == manifest
    assert 'keypointer.int8.onnx' in manifest.files


def test_all_convolutions_of_several_cells_are_of_whole_numbers(exported, frames, tmp_path):
    """Eight of the default network: two at the stem, two times two down, two up."""
    network = load_checkpoint(exported).network
    for signed, casts in ((False, 0), (True, 1)):
        write_quantised(network, tmp_path / 'q.onnx', frames, signed=signed)
        found = optimised(tmp_path / 'q.onnx', tmp_path)
        assert found.count('QLinearConv') == 8
        assert found.count('Conv') + found.count('FusedConv') == 3
        readers = [
            node.op_type
            for node in onnx.load(tmp_path / 'q.onnx').graph.node
            if 'image' in node.input
        ]
        assert readers.count('Cast') == casts


def test_weights_leave_room_for_sums_of_sixteen_bits(exported, frames, tmp_path):
    """2 x 255 x 64 is less than 2^15; with 127 it is not, and CPUs without VNNI would clip."""
    write_quantised(load_checkpoint(exported).network, tmp_path / 'q.onnx', frames)
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(tmp_path / 'q.onnx').graph.initializer
        if tensor.name.endswith('quantized') and tensor.data_type == onnx.TensorProto.INT8
    ]
    assert len(weights) == 8
    assert 32 < max(np.abs(w.astype(int)).max() for w in weights) <= 64


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_too_large_a_loss_is_refused_and_leaves_no_trace(exported, frames, precision):
    before = read_manifest(exported)
    with pytest.raises(
        EngineError, match=rf'keypoints in {precision} and in fp32 differ: median .* .allowed 0.'
    ):
        if precision == 'fp16':
            precisions.export_fp16(exported, frames, max_loss_px=0.0)
        else:
            precisions.export_int8(exported, frames, frames, max_loss_px=0.0)
    assert read_manifest(exported) == before
    assert not list(exported.glob(f'*{precision}*'))


def test_fp16_halves_the_weights_and_keeps_the_answers(exported, frames):
    manifest = precisions.export_fp16(exported, frames)
    path = onnx_file(exported, manifest, 'fp16')
    graph = onnx.load(path).graph
    kinds = {t.name: t.data_type for t in graph.initializer if t.name.endswith('0.weight')}
    assert set(kinds.values()) == {onnx.TensorProto.FLOAT16}
    assert [v.type.tensor_type.elem_type for v in graph.output] == [onnx.TensorProto.FLOAT]
    assert 0 < manifest.precisions['fp16']['median_px'] < 0.1


def test_a_new_network_takes_what_was_made_from_the_old_one_away(exported, frames, caplog):
    precisions.export_fp16(exported, frames)
    assert set(onnx_export.export_model(exported).precisions) == {'fp16'}  # the same again
    checkpoint = load_checkpoint(exported)
    with torch.no_grad():
        checkpoint.network.body.head.bias += torch.arange(3.0)
    save_checkpoint(exported, checkpoint)
    with caplog.at_level(logging.WARNING, logger='keypoint_perception'):
        manifest = onnx_export.export_model(exported)
    assert manifest.precisions == {}
    assert not (exported / 'keypointer.fp16.onnx').exists()
    assert 'keypointer.fp16.onnx, which was exported from an earlier network' in caplog.text


def test_named_points_are_measured_too(exported, frames, caplog):
    rng = np.random.default_rng(0)
    landmarks = Landmarks(
        names=('tip', 'base'),
        weights=rng.normal(0, 0.3, (2, 2, 3, 2)).astype(np.float32),
        offset=np.array([[30, 20], [10, 12]], np.float32),
        trust=np.full((2, 3), 1 / 3, np.float32),
        trust_offset=np.zeros(2, np.float32),
        network_sha256=network_digest(exported),
        report={},
    )
    precisions.export_fp16(exported, frames)
    # the network with names is another, of the same checkpoint
    assert onnx_export.export_model(exported, landmarks).precisions == {}
    assert 'which does not contain the new landmarks; run `export ' in caplog.text
    facts = precisions.export_int8(exported, frames[:16], frames[16:]).precisions['int8']
    assert 0 < facts['landmarks_median_px'] < 0.5
    found = onnx_export.run_onnx(exported / 'keypointer.int8.onnx', frames[:2], 'landmarks')
    assert found.shape == (2, 2, 3)


def test_a_precision_that_is_not_there_is_named_with_a_way_to_get_it(exported):
    manifest = read_manifest(exported)
    with pytest.raises(ModelError, match=r'no int8 network, only fp32; run `export .* int8'):
        onnx_file(exported, manifest, 'int8')
    with pytest.raises(ModelError, match="'int4' is unknown; known: fp32, fp16, int8"):
        onnx_file(exported, manifest, 'int4')
