"""A small trained-looking model directory, made without training."""

from keypoint_perception.learning.config import to_values, TrainConfig
from keypoint_perception.model.checkpoint import Checkpoint, save_checkpoint
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
import torch


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    network = Keypointer(NetworkConfig(keypoints=3, input_hw=(48, 64), width=8)).eval()
    state = {
        'step': 7,
        'objective': 'temporal_transport',
        'config': to_values(TrainConfig(keypoints=3)),
        'sources': [{'name': 'bag', 'digest': 'd', 'topics': ['/camera'], 'frames': 4}],
        'metrics': {'steps': 7},
    }
    frames = torch.randint(0, 255, (4, 48, 64, 3), dtype=torch.uint8)
    return Checkpoint(network, {'learner.weight': torch.arange(3.0)}, state, frames)


@pytest.fixture
def model_dir(tmp_path, checkpoint):
    directory = tmp_path / 'model'
    save_checkpoint(directory, checkpoint)
    return directory
