"""The exported file answers as torch does, in real ONNX Runtime."""

from dataclasses import replace

from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.manifest import read_manifest
from keypoint_perception.model import onnx_export
from keypoint_perception.model.checkpoint import load_network, save_checkpoint
from keypoint_perception.model.network import Keypointer, NetworkConfig, NETWORKS
import numpy as np
import pytest
import torch

onnxruntime = pytest.importorskip('onnxruntime')


def test_contract_of_the_file(model_dir):
    onnx_export.export_model(model_dir)
    session = onnxruntime.InferenceSession(str(model_dir / 'keypointer.onnx'))
    (image,), (keypoints,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape[1:]) == ('image', 'tensor(uint8)', [48, 64, 3])
    assert (keypoints.name, keypoints.type) == ('keypoints', 'tensor(float)')
    for count in (1, 3):
        images = np.zeros((count, 48, 64, 3), np.uint8)
        assert session.run(None, {'image': images})[0].shape == (count, 3, 3)


@pytest.mark.parametrize('norm', ['group', 'instance', 'batch'])
@pytest.mark.parametrize('network', NETWORKS)
def test_same_answer_as_torch(tmp_path, network, norm):
    torch.manual_seed(1)
    config = NetworkConfig(network, 4, (48, 64), width=16, norm=norm)
    keypointer = Keypointer(config).eval()
    # sharp maps, so that positions are compared and not only confidences
    with torch.no_grad():
        head = keypointer.body.heads[-1] if network == 'hourglass' else keypointer.body.head
        head.weight *= 1000 if norm != 'batch' else 1e5
    onnx_export.write_onnx(keypointer, tmp_path / 'k.onnx')
    frames = torch.randint(0, 255, (3, 48, 64, 3), dtype=torch.uint8)
    session = onnxruntime.InferenceSession(str(tmp_path / 'k.onnx'))
    found = session.run(None, {'image': frames.numpy()})[0]
    with torch.no_grad():
        expected = keypointer(frames).numpy()
    confident = expected[..., 2] > 0.9
    assert confident.any()
    np.testing.assert_allclose(found[confident], expected[confident], atol=2e-2)


def test_manifest_describes_what_was_exported(model_dir):
    manifest = onnx_export.export_model(model_dir)
    assert manifest == read_manifest(model_dir)
    assert manifest.keypoint_names == ('kp0', 'kp1', 'kp2')
    assert manifest.input_hw == (48, 64)
    assert manifest.objective == 'temporal_transport'
    assert manifest.sources[0]['topics'] == ['/camera']
    assert manifest.metrics['parity']['frames'] == 4
    assert 'checkpoint/training.safetensors' in manifest.files


def test_points_have_the_names_of_their_labels(tmp_path, checkpoint):
    named = {'facts': {'change': 1.0, 'label_names': ['hand', 'elbow', 'ball']}}
    save_checkpoint(tmp_path, replace(checkpoint, state=checkpoint.state | named))
    assert onnx_export.export_model(tmp_path).keypoint_names == ('hand', 'elbow', 'ball')


def test_a_difference_is_not_exported(model_dir, monkeypatch):
    run = onnx_export.run_onnx
    monkeypatch.setattr(onnx_export, 'run_onnx', lambda path, frames: run(path, frames) + 0.1)
    with pytest.raises(EngineError, match=r'Runtime and torch differ: .* 0\.1000, on 4 frames'):
        onnx_export.export_model(model_dir)
    assert not (model_dir / 'keypointer.onnx').exists()
    assert not (model_dir / 'manifest.json').exists()


def test_a_network_of_nan_is_not_exported(tmp_path, checkpoint):
    with torch.no_grad():
        checkpoint.network.body.head.weight.fill_(3e38)  # finite, but their sums are not
    save_checkpoint(tmp_path, checkpoint)
    with pytest.raises(ModelError, match='gives NaN on its own training frames'):
        onnx_export.export_model(tmp_path)
    assert np.isnan(load_network(tmp_path)(checkpoint.frames).detach().numpy()).any()
