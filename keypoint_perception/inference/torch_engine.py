"""The network in PyTorch: the reference that the other engines are compared with."""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.errors import EngineError
from keypoint_perception.landmark_map import read_landmarks
from keypoint_perception.manifest import Manifest
from keypoint_perception.pose_prior import listed_pose_prior
import numpy as np


class TorchEngine:
    """
    The checkpoint's network as it was trained, on the CPU.

    The number of threads is torch's own and applies to the whole process.

    :param snapshot: file with weights of an earlier step, to load instead of the checkpoint
    """

    name = 'torch'

    def __init__(
        self,
        model_dir: Path,
        manifest: Manifest,
        *,
        threads: int = 0,
        snapshot: Path | None = None,
    ) -> None:
        try:
            import torch
        except ImportError as error:
            msg = (
                f'Engine torch is not installed ({error}); install it with '
                '`pip install torch safetensors`, or choose engine onnxruntime.'
            )
            raise EngineError(msg) from error
        from keypoint_perception.model.checkpoint import load_network, read_network
        from keypoint_perception.model.network import Keypointer

        if threads:
            torch.set_num_threads(threads)
        self._torch = torch
        self._network: Keypointer | None = (
            load_network(Path(model_dir)) if snapshot is None else read_network(snapshot)
        )
        self.input_hw = manifest.input_hw
        self.keypoint_names = manifest.keypoint_names
        self.landmark_names = () if snapshot is not None else manifest.landmark_names
        self.landmark_map = read_landmarks(model_dir) if self.landmark_names else None
        self.skeleton = manifest.skeleton
        self.pose_prior = None if snapshot else listed_pose_prior(model_dir, manifest)
        self.grey_range = manifest.grey_range
        if snapshot is not None:
            count = self._network.config.keypoints
            if count != manifest.keypoint_count:  # some were pruned before the export
                self.keypoint_names = tuple(f'kp{k}' for k in range(count))
        self.description = f'torch {torch.__version__} on cpu, {torch.get_num_threads()} threads'

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the keypoints of a batch; see :class:`Engine`."""
        if self._network is None:
            msg = 'The engine is closed; load the model again.'
            raise EngineError(msg)
        try:
            with self._torch.inference_mode():
                batch = self._torch.from_numpy(np.ascontiguousarray(images))
                keypoints: np.ndarray = self._network(batch).numpy()
        except RuntimeError as error:
            msg = f'PyTorch failed: {error}; load the model again, or choose engine onnxruntime.'
            raise EngineError(msg) from error
        return keypoints

    def run_with_landmarks(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints and landmarks of a batch; see :class:`Engine`."""
        keypoints = self.run(images)
        if self.landmark_map is None:
            return keypoints, np.zeros((len(images), 0, 3), np.float32)
        return keypoints, self.landmark_map.apply(keypoints)

    def close(self) -> None:
        """Release the network."""
        self._network = None
