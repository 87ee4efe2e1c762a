"""The torch engine runs the checkpoint's own network."""

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.engine import load_engine
from keypoint_perception.manifest import Manifest, write_manifest
from keypoint_perception.model_directory import ONNX_NAME
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='PyTorch is not installed')
pytest.importorskip('safetensors', reason='safetensors is not installed')


class TopLeft(torch.nn.Module):
    """Answers the brightness of the top-left pixel, in three ways."""

    def forward(self, images):
        if images.shape[1:] != (16, 24, 3):
            raise RuntimeError('size of tensors must match')
        corner = images[:, 0, 0, :].to(torch.float32)  # (N, 3)
        return torch.stack([corner, 2 * corner], dim=1)


@pytest.fixture
def model(tmp_path, monkeypatch):
    from keypoint_perception.model import checkpoint

    (tmp_path / ONNX_NAME).write_bytes(b'not used')
    manifest = Manifest(('a', 'b'), (16, 24), objective='none', network='none')
    write_manifest(tmp_path, manifest, files=[ONNX_NAME])
    monkeypatch.setattr(checkpoint, 'load_network', lambda model_dir: TopLeft())
    return tmp_path


def test_network_answers(model):
    images = np.zeros((2, 16, 24, 3), np.uint8)
    images[1, 0, 0] = (1, 2, 3)
    engine = load_engine(model, 'torch')
    keypoints = engine.run(images)
    assert keypoints.dtype == np.float32
    np.testing.assert_array_equal(keypoints[1], [[1, 2, 3], [2, 4, 6]])
    assert (engine.input_hw, engine.keypoint_names) == ((16, 24), ('a', 'b'))
    assert 'on cpu' in engine.description


def test_failure_becomes_one_sentence(model):
    with pytest.raises(EngineError, match='PyTorch failed: size of tensors must match'):
        load_engine(model, 'torch').run(np.zeros((1, 8, 8, 3), np.uint8))


def test_closed_engine_says_so(model):
    engine = load_engine(model, 'torch')
    engine.close()
    with pytest.raises(EngineError, match='The engine is closed'):
        engine.run(np.zeros((1, 16, 24, 3), np.uint8))
