"""Named points are part of the exported file, for as long as the weights are theirs."""

from dataclasses import replace
import logging

from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.landmark_map import Landmarks, write_landmarks
from keypoint_perception.manifest import read_manifest
from keypoint_perception.model import onnx_export
from keypoint_perception.model.checkpoint import save_checkpoint
from keypoint_perception.model.landmark_head import LandmarkKeypointer, network_digest
from keypoint_perception.model_directory import LANDMARKS_NAME
import numpy as np
import pytest
import torch

onnxruntime = pytest.importorskip('onnxruntime')


def landmarks(digest: str) -> Landmarks:
    """Return two points of three keypoints, asymmetric in every axis."""
    generator = np.random.default_rng(0)
    return Landmarks(
        ('hand', 'ball'),
        weights=generator.normal(size=(2, 2, 3, 2)),
        offset=generator.normal(size=(2, 2)),
        trust=generator.uniform(size=(2, 3)),
        trust_offset=np.array([0.0, 0.1]),
        network_sha256=digest,
    )


def outputs_of(model_dir, frames):
    session = onnxruntime.InferenceSession(str(model_dir / 'keypointer.onnx'))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {'image': frames}), strict=True))


def test_second_output_is_the_sums_of_the_first(model_dir, checkpoint):
    frames = checkpoint.frames.numpy()
    onnx_export.export_model(model_dir)
    before = outputs_of(model_dir, frames)
    named = landmarks(network_digest(model_dir))
    manifest = onnx_export.export_model(model_dir, named)
    found = outputs_of(model_dir, frames)
    assert list(found) == ['keypoints', 'landmarks']
    np.testing.assert_array_equal(found['keypoints'], before['keypoints'])
    assert found['landmarks'].shape == (4, 2, 3)
    np.testing.assert_allclose(found['landmarks'], named.apply(found['keypoints']), atol=1e-3)
    assert manifest.landmark_names == ('hand', 'ball')
    assert LANDMARKS_NAME in manifest.files
    # any number of images at once
    assert outputs_of(model_dir, frames[:1])['landmarks'].shape == (1, 2, 3)


def test_torch_gives_the_same(model_dir, checkpoint):
    named = landmarks('')
    with torch.no_grad():
        keypoints, found = LandmarkKeypointer(checkpoint.network, named)(checkpoint.frames)
    np.testing.assert_allclose(found.numpy(), named.apply(keypoints.numpy()), atol=1e-3)


def test_export_keeps_them(model_dir):
    onnx_export.export_model(model_dir, landmarks(network_digest(model_dir)))
    onnx_export.export_model(model_dir)
    assert read_manifest(model_dir).landmark_names == ('hand', 'ball')


def test_weights_trained_on_lose_them_with_a_warning(model_dir, checkpoint, caplog):
    onnx_export.export_model(model_dir, landmarks(network_digest(model_dir)))
    with torch.no_grad():
        checkpoint.network.body.head.bias.add_(1.0)
    save_checkpoint(model_dir, checkpoint)
    with caplog.at_level(logging.WARNING, logger='keypoint_perception'):
        manifest = onnx_export.export_model(model_dir)
    assert 'hand, ball' in caplog.text
    assert 'fitted to other weights and are omitted' in caplog.text
    assert manifest.landmark_names == ()
    assert LANDMARKS_NAME not in manifest.files


def test_a_wrong_graph_is_not_exported(model_dir, monkeypatch):
    onnx_export.export_model(model_dir)
    named = landmarks(network_digest(model_dir))
    twisted = replace(named, offset=named.offset + 0.1)
    write = onnx_export.write_onnx
    monkeypatch.setattr(
        onnx_export, 'write_onnx', lambda network, path, given: write(network, path, twisted)
    )
    with pytest.raises(EngineError, match=r'fitted differ: median 0\.1414 px'):
        onnx_export.export_model(model_dir, named)
    assert read_manifest(model_dir).landmark_names == ()
    assert not (model_dir / LANDMARKS_NAME).exists()


def test_a_broken_file_of_names_stops_an_export(model_dir):
    write_landmarks(model_dir, replace(landmarks(''), names=('hand',)))
    with pytest.raises(ModelError, match='delete it, run `export`, then `landmarks` again'):
        onnx_export.export_model(model_dir)
