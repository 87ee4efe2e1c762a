"""The network in TensorRT, on NVIDIA GPUs; its place, the body is still to be written."""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.errors import EngineError
from keypoint_perception.manifest import Manifest
import numpy as np


class TensorRTEngine:
    """Refuses, and says what to do instead."""

    name = 'tensorrt'

    def __init__(self, model_dir: Path, manifest: Manifest) -> None:
        try:
            import tensorrt
        except ImportError as error:
            msg = (
                f'Engine tensorrt is not installed ({error}); on a Jetson install JetPack, '
                'elsewhere `pip install tensorrt`, or choose engine onnxruntime.'
            )
            raise EngineError(msg) from error
        msg = (
            f'TensorRT {tensorrt.__version__} is installed, but this version of '
            'keypoint_perception cannot use it yet; choose engine onnxruntime.'
        )
        raise EngineError(msg)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Never reached."""
        raise NotImplementedError

    def run_named(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Never reached."""
        raise NotImplementedError

    def close(self) -> None:
        """Never reached."""
        raise NotImplementedError
