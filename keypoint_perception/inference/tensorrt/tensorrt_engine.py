"""The network in TensorRT, on NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
import threading

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.engine_cache import EngineCache
from keypoint_perception.inference.tensorrt.build import Job, Ready, ready_engine
from keypoint_perception.inference.tensorrt.build_progress import Progress
from keypoint_perception.inference.tensorrt.device import BuildOptions, TensorRTDevice
from keypoint_perception.inference.tensorrt.engine_parity import Answers, onnxruntime_answers
from keypoint_perception.manifest import Manifest
import numpy as np


class TensorRTEngine:
    """
    The network compiled for this GPU.

    It comes from the cache of compiled engines, or is built first, which takes minutes; see
    :mod:`keypoint_perception.inference.tensorrt.build`. Several threads may call it, one is served
    at a time.

    :ivar ready: where the engine came from
    :ivar gpu_memory_bytes: by how much the GPU was fuller when the engine was ready
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
        """
        Load or build the engine.

        :param precision: of the network's file, as `export --precision` made it
        :param max_batch: images of one pass; larger batches are run in several
        :param progress: is told steps done, all steps and the phase, while it is built
        :param cache_dir: folder of compiled engines; None:
            :func:`keypoint_perception.inference.engine_cache.cache_folder`
        :param open_device: makes what calls the GPU; tests give one without
        :raises ModelError: if the model has no network in this precision
        :raises EngineError: if there is no TensorRT or no GPU, or the engine cannot be built
        """
        job = Job(Path(model_dir), manifest, precision, BuildOptions(max_batch=max_batch))
        self.input_hw = manifest.input_hw
        self.keypoint_names = manifest.keypoint_names
        self.landmark_names = manifest.landmark_names
        self.skeleton = manifest.skeleton
        self.max_batch = max_batch
        self._model = str(job.model_dir)
        self._lock = threading.Lock()
        self._device = open_device()
        try:
            before = self._device.cuda.memory()[0]
            self.ready: Ready = ready_engine(
                job,
                self._device,
                EngineCache(cache_dir),
                reference=onnxruntime_answers,
                progress=progress,
            )
            self.gpu_memory_bytes = max(0, self._device.cuda.memory()[0] - before)
        except BaseException as error:
            with suppress(RuntimeError):  # what a lost GPU holds cannot be given back
                self._device.close()
            if isinstance(error, RuntimeError):  # CUDA's own, by either library
                raise self._failed(error) from error
            raise
        self._batches = self.ready.batches
        gpu = self._device.gpu
        self.description = (
            f'TensorRT {self._device.version} on {gpu.name} (compute capability '
            f'{gpu.capability}), {precision}, batches up to {max_batch}, buffers by '
            f'{self._device.cuda.library}'
        )

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the keypoints of a batch; see :class:`Engine`."""
        return self._answers(images)['keypoints']

    def run_named(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints and the named points of a batch; see :class:`Engine`."""
        answers = self._answers(images)
        none = np.zeros((len(images), 0, 3), np.float32)
        return answers['keypoints'], answers.get('landmarks', none)

    def _answers(self, images: np.ndarray) -> Answers:
        expected = (*self.input_hw, 3)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != expected:
            msg = (
                f'TensorRT was given images {images.dtype} {images.shape}, expected uint8 '
                f'(N, {", ".join(map(str, expected))}).'
            )
            raise EngineError(msg)
        with self._lock:
            self._require_open()
            try:
                return self._batches.run(images)
            except RuntimeError as error:  # CUDA's own, by either library
                raise self._failed(error) from error

    def _require_open(self) -> None:
        if self._batches.is_closed:
            msg = 'The engine is closed; load the model again.'
            raise EngineError(msg)

    def _failed(self, error: RuntimeError) -> EngineError:
        words = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('. ')
        return EngineError(
            f'The GPU failed on {self._model!r} ({words}); look at `nvidia-smi` and at `dmesg`, '
            'and load the model again.'
        )

    def close(self) -> None:
        """Give back the engine and its memory."""
        with self._lock:
            if not self._batches.is_closed:
                self._batches.close()
                with suppress(RuntimeError):  # what a lost GPU holds cannot be given back
                    self._device.close()
