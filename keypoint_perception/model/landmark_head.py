"""The network with the user's landmarks as a second output."""

from __future__ import annotations

import logging
from pathlib import Path

from keypoint_perception.errors import ModelError
from keypoint_perception.landmark_map import Landmarks, read_landmarks
from keypoint_perception.manifest import file_digest
from keypoint_perception.model.inference_form import InferenceForm
from keypoint_perception.model.network import Keypointer
from keypoint_perception.model_directory import CHECKPOINT_NAME, LANDMARKS_NAME, NETWORK_FILE
import torch
from torch import nn, Tensor

log = logging.getLogger('keypoint_perception')


class LandmarkKeypointer(nn.Module):
    """A network whose landmarks are weighted sums of its keypoints."""

    sums: Tensor
    offset: Tensor
    trust: Tensor
    trust_offset: Tensor

    def __init__(self, network: Keypointer | InferenceForm, landmarks: Landmarks) -> None:
        super().__init__()
        self.config = network.config
        self.network = network
        count, _, keypoints, _ = landmarks.weights.shape
        # rows u0, v0, u1, ..., the memory layout of the keypoints
        sums = landmarks.weights.transpose(2, 3, 0, 1).reshape(2 * keypoints, 2 * count)
        arrays = sums, landmarks.offset.reshape(-1), landmarks.trust.T, landmarks.trust_offset
        for name, array in zip(('sums', 'offset', 'trust', 'trust_offset'), arrays, strict=True):
            self.register_buffer(name, torch.tensor(array.copy(), dtype=torch.float32))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return the keypoints and landmarks.

        :param image: RGB uint8, (B, H, W, 3)
        :return: (B, K, 3) and (B, L, 3), each u, v in network px and confidence in [0, 1], float32
        """
        keypoints: Tensor = self.network(image)
        uv = keypoints[..., :2].flatten(1) @ self.sums + self.offset
        confidence = (keypoints[..., 2] @ self.trust + self.trust_offset).clamp(0.0, 1.0)
        landmarks = torch.cat([uv.unflatten(1, (-1, 2)), confidence[..., None]], dim=-1)
        return keypoints, landmarks


def fitted_landmarks(model_dir: Path) -> Landmarks | None:
    """Return the landmarks of a model directory, None without or if fitted to other weights."""
    landmarks = read_landmarks(model_dir)
    if landmarks is None or landmarks.network_sha256 == network_digest(model_dir):
        return landmarks
    names, path = ', '.join(landmarks.names), str(model_dir / LANDMARKS_NAME)
    fault = 'were fitted to other weights and are omitted; run `landmarks` again'
    log.warning('The landmarks %s of %r %s.', names, path, fault)
    return None


def network_digest(model_dir: Path) -> str:
    """
    Return the SHA-256 of a model directory's weights.

    :raises ModelError: if it has none
    """
    path = Path(model_dir) / CHECKPOINT_NAME / NETWORK_FILE
    if not path.is_file():
        msg = (
            f'{str(model_dir)!r} holds no {CHECKPOINT_NAME}/{NETWORK_FILE}; give the complete '
            'directory that `train --out` wrote.'
        )
        raise ModelError(msg)
    return file_digest(path)
