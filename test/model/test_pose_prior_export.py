"""Which poses an export lists in the manifest."""

from keypoint_perception.inference.engine import load_engine
from keypoint_perception.model.checkpoint import save_checkpoint
from keypoint_perception.model.landmark_head import network_digest
from keypoint_perception.model.onnx_export import export_model
from keypoint_perception.model_directory import POSE_PRIOR_NAME
from keypoint_perception.pose_prior import fit_pose_prior, write_pose_prior
import numpy as np
import pytest
import torch


def write_poses(model_dir, checkpoint):
    with torch.no_grad():
        points = checkpoint.network(checkpoint.frames).numpy()
    input_hw = checkpoint.network.config.input_hw
    prior = fit_pose_prior(points, input_hw, network_digest(model_dir))
    write_pose_prior(model_dir, prior)
    return prior


@pytest.mark.parametrize('engine', ['onnxruntime', 'torch'])
def test_engines_have_the_poses_of_their_weights(model_dir, checkpoint, engine):
    export_model(model_dir)
    assert load_engine(model_dir, engine).pose_prior is None
    prior = write_poses(model_dir, checkpoint)
    assert POSE_PRIOR_NAME in export_model(model_dir).files
    found = load_engine(model_dir, engine).pose_prior
    np.testing.assert_allclose(found.mean, prior.mean, atol=1e-3)


def test_weights_trained_on_lose_their_poses(model_dir, checkpoint):
    write_poses(model_dir, checkpoint)
    with torch.no_grad():
        checkpoint.network.body.head.bias.add_(1.0)
    save_checkpoint(model_dir, checkpoint)
    assert POSE_PRIOR_NAME not in export_model(model_dir).files
