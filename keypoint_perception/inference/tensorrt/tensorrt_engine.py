"""The network in TensorRT, on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
import threading

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.engine_cache import EngineCache
from keypoint_perception.inference.tensorrt.build import BuildRequest, prepare_engine
from keypoint_perception.inference.tensorrt.build_progress import Progress
from keypoint_perception.inference.tensorrt.device import BuildOptions, TensorRTDevice
from keypoint_perception.inference.tensorrt.engine_parity import onnxruntime_outputs
from keypoint_perception.landmark_map import read_landmarks
from keypoint_perception.manifest import Manifest
from keypoint_perception.parity import Outputs
from keypoint_perception.pose_prior import listed_pose_prior
import numpy as np


class TensorRTEngine:
    """
    The network compiled for this GPU.

    It comes from the cache of compiled engines, or is built first, which takes minutes; see
    :mod:`keypoint_perception.inference.tensorrt.build`. Calls of several threads are serialised.

    :param precision: of the network file, as `export --precision` wrote it
    :param max_batch: images per pass; larger batches are split
    :param progress: receives completed steps, total steps and the phase of a build
    :param cache_dir: folder of compiled engines; None: :func:`.engine_cache.cache_folder`
    :param open_device: opens the GPU; tests replace it
    :ivar prepared: the loaded engine and its origin
    :ivar gpu_memory_bytes: GPU memory that loading the engine took
    :raises ModelError: if the model lacks the precision
    :raises EngineError: if there is no TensorRT or no GPU, or the engine cannot be built
    """

    name = 'tensorrt'

    def __init__(
        self,
        model_dir: Path,
        manifest: Manifest,
        *,
        precision: str = 'fp32',
        max_batch: int = 1,
        progress: Progress | None = None,
        cache_dir: Path | None = None,
        open_device: Callable[[], TensorRTDevice] = TensorRTDevice,
    ) -> None:
        options = BuildOptions(max_batch=max_batch)
        request = BuildRequest(Path(model_dir), manifest, precision, options)
        self.input_hw = manifest.input_hw
        self.keypoint_names = manifest.keypoint_names
        self.landmark_names = manifest.landmark_names
        self.landmark_map = read_landmarks(model_dir) if self.landmark_names else None
        self.skeleton = manifest.skeleton
        self.pose_prior = listed_pose_prior(model_dir, manifest)
        self.grey_range = manifest.grey_range
        self.max_batch = max_batch
        self._model = str(model_dir)
        self._lock = threading.Lock()
        self._device = open_device()
        try:
            before = self._device.cuda.memory()[0]
            self.prepared = prepare_engine(
                request,
                self._device,
                EngineCache(cache_dir),
                reference=onnxruntime_outputs,
                progress=progress,
            )
            self.gpu_memory_bytes = max(0, self._device.cuda.memory()[0] - before)
        except BaseException as error:
            with suppress(RuntimeError):  # memory of a lost GPU cannot be freed
                self._device.close()
            if isinstance(error, RuntimeError):  # of CUDA
                raise self._failure(error) from error
            raise
        self._batches = self.prepared.batches
        gpu = self._device.gpu
        self.description = (
            f'TensorRT {self._device.version} on {gpu.name} (compute capability '
            f'{gpu.capability}), {precision}, batches up to {max_batch}, buffers by '
            f'{self._device.cuda.library}'
        )

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the keypoints of a batch; see :class:`Engine`."""
        return self._run(images)['keypoints']

    def run_with_landmarks(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints and landmarks of a batch; see :class:`Engine`."""
        outputs = self._run(images)
        none = np.zeros((len(images), 0, 3), np.float32)
        return outputs['keypoints'], outputs.get('landmarks', none)

    def _run(self, images: np.ndarray) -> Outputs:
        expected = (*self.input_hw, 3)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
            msg = (
                f'TensorRT got images {images.dtype} {images.shape}, expected uint8 '
                f'(N, {", ".join(map(str, expected))}).'
            )
            raise EngineError(msg)
        with self._lock:
            if self._batches.is_closed:
                msg = 'The engine is closed; load the model again.'
                raise EngineError(msg)
            try:
                return self._batches.run(images)
            except RuntimeError as error:  # of CUDA
                raise self._failure(error) from error

    def _failure(self, error: RuntimeError) -> EngineError:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('. ')
        return EngineError(
            f'The GPU failed on {self._model!r} ({reason}); check `nvidia-smi` and `dmesg`, and '
            'load the model again.'
        )

    def close(self) -> None:
        """Release the engine and its memory."""
        with self._lock:
            if not self._batches.is_closed:
                self._batches.close()
                with suppress(RuntimeError):  # memory of a lost GPU cannot be freed
                    self._device.close()
