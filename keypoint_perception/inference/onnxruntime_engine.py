"""The network in ONNX Runtime: the engine that runs everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.inference.onnx_content import check_content
from keypoint_perception.inference.onnx_providers import (
    check_available,
    check_provider,
    provider_list,
    PROVIDERS,
)
from keypoint_perception.landmark_map import read_landmarks
from keypoint_perception.limits import limits, remedy
from keypoint_perception.manifest import Manifest, onnx_file
from keypoint_perception.pose_prior import listed_pose_prior
import numpy as np

# More threads do not help: a quarter of a layer of a small network takes some ten microseconds,
# which is the cost of waking a thread.
MAX_THREADS = 4
# Blocked channel layouts speed up fp32 convolutions; between int8 convolutions, the conversions
# cost a tenth of the time.
DISABLED_OPTIMIZERS = {'int8': ['NchwcTransformer']}
TYPES = {'uint8': 'tensor(uint8)', 'float32': 'tensor(float)'}


class OnnxRuntimeEngine:
    """
    ``keypointer.onnx``, or its fp16 or int8 form, in ONNX Runtime.

    Inputs and outputs are not bound: ONNX Runtime reads a contiguous array in place, and the
    output is a few hundred bytes; binding both was less than 2 % faster.

    :param threads: per inference; 0: all CPUs of this process, at most :data:`MAX_THREADS`
    :param precision: of the network file, as `export --precision` wrote it
    :param provider: cpu, cuda or tensorrt
    :param max_batch: images per pass, which the TensorRT provider must know
    :raises ModelError: if the model lacks the precision, or does not match its manifest
    :raises EngineError: if ONNX Runtime or the provider is missing, or fails
    """

    name = 'onnxruntime'

    def __init__(
        self,
        model_dir: Path,
        manifest: Manifest,
        *,
        threads: int = 0,
        precision: str = 'fp32',
        provider: str = 'cpu',
        max_batch: int = 1,
    ) -> None:
        self.input_hw = manifest.input_hw
        self.keypoint_names = manifest.keypoint_names
        self.landmark_names = manifest.landmark_names
        self.landmark_map = read_landmarks(model_dir) if self.landmark_names else None
        self.skeleton = manifest.skeleton
        self.pose_prior = listed_pose_prior(model_dir, manifest)
        self.grey_range = manifest.grey_range
        self._model = str(model_dir)
        path = onnx_file(model_dir, manifest, precision)
        check_content(path)
        threads = threads or min(MAX_THREADS, len(os.sched_getaffinity(0)))
        onnxruntime = _import_onnxruntime()
        check_available(provider, onnxruntime.get_available_providers())
        sha256 = manifest.files[path.name]
        providers = provider_list(provider, manifest, precision, sha256, max_batch)
        disabled = DISABLED_OPTIMIZERS.get(precision, []) if provider == 'cpu' else []
        self._session: Any = _open_session(onnxruntime, path, threads, providers, disabled)
        check_provider(self._session, provider, Path(model_dir))
        self.description = (
            f'onnxruntime {onnxruntime.__version__} on {PROVIDERS[provider]}, {precision}, '
            f'{threads} threads'
        )
        points = {'keypoints': self.keypoint_names, 'landmarks': self.landmark_names}
        outputs = {name: (len(names), 3) for name, names in points.items() if names}
        self._check(self._session.get_inputs(), 'input', 'uint8', {'image': (*self.input_hw, 3)})
        self._check(self._session.get_outputs(), 'output', 'float32', outputs)

    def _check(
        self, found: list[Any], side: str, dtype: str, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Compare inputs or outputs with the manifest."""
        if [tensor.name for tensor in found] == list(shapes) and all(
            tensor.type == TYPES[dtype] and _fits(tensor.shape, shapes[tensor.name])
            for tensor in found
        ):
            return
        listed = ', '.join(f'{f.name!r} {f.type} {tuple(f.shape)}' for f in found) or 'nothing'
        expected = ', '.join(
            f'{name!r} {dtype} (N, {", ".join(map(str, shape))})' for name, shape in shapes.items()
        )
        msg = (
            f'Model {self._model!r} has the {side} {listed}, but its manifest describes '
            f'{expected}; export the model again.'
        )
        raise ModelError(msg)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the keypoints of a batch; see :class:`Engine`."""
        return self._run(images, ['keypoints'])[0]

    def run_with_landmarks(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints and landmarks of a batch; see :class:`Engine`."""
        if not self.landmark_names:
            return self.run(images), np.zeros((len(images), 0, 3), np.float32)
        keypoints, landmarks = self._run(images, ['keypoints', 'landmarks'])
        return keypoints, landmarks

    def _run(self, images: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
        if self._session is None:
            msg = 'The engine is closed; load the model again.'
            raise EngineError(msg)
        try:
            answers: list[np.ndarray] = self._session.run(
                outputs, {'image': np.ascontiguousarray(images)}
            )
        except Exception as error:  # its exceptions have no common base
            reason = _first_line(error)
            if 'Arena' in reason:
                most = limits().max_network_mb
                reason = (
                    f'a network may use {most:g} MB, and more are needed for {len(images)} '
                    f'images; {remedy("max_network_mb", 2 * most)}'
                )
            msg = f'ONNX Runtime failed on {self._model!r}: {reason}.'
            raise EngineError(msg) from error
        return answers

    def close(self) -> None:
        """Release the session."""
        self._session = None


def _import_onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        msg = (
            f'Engine onnxruntime is not installed ({error}); install it with '
            '`pip install onnxruntime`.'
        )
        raise EngineError(msg) from error
    return onnxruntime  # type: ignore[no-any-return]


@cache
def _bound_memory(onnxruntime: ModuleType, most_mb: float) -> None:
    """Make all sessions share a bounded arena: a small file can ask for any amount of memory."""
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    arena = onnxruntime.OrtArenaCfg(
        {'max_mem': int(most_mb * 1e6), 'arena_extend_strategy': 1}  # as requested, not doubled
    )
    onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo('Cpu', *kind), arena)


def _open_session(
    onnxruntime: ModuleType,
    path: Path,
    threads: int,
    providers: list[str | tuple[str, dict[str, object]]],
    disabled_optimizers: list[str],
) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # its warnings concern our graph, not the user's work
    # threads must not spin between two images of a camera
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.add_session_config_entry('session.use_env_allocators', '1')
    try:
        _bound_memory(onnxruntime, limits().max_network_mb)
        return onnxruntime.InferenceSession(
            path.read_bytes(),  # it opens no path that is not UTF-8
            options,
            providers=providers,
            disabled_optimizers=disabled_optimizers,
            enable_fallback=0,
        )
    except Exception as error:  # its exceptions have no common base
        msg = (
            f'ONNX Runtime {onnxruntime.__version__} cannot load {str(path)!r} '
            f'({_first_line(error)}); export the model again, or install a newer onnxruntime.'
        )
        raise EngineError(msg) from error


def _fits(shape: Sequence[int | str | None], expected: tuple[int, ...]) -> bool:
    """Return whether a shape is free in the batch and compatible in the other dimensions."""
    if len(shape) != len(expected) + 1 or isinstance(shape[0], int):
        return False
    rest = zip(shape[1:], expected, strict=True)
    # the exporter may leave K symbolic; the estimator checks the answers
    return all(not isinstance(found, int) or found == size for found, size in rest)


def _first_line(error: Exception) -> str:
    """Return the first line of an exception's message, without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip('. ') if lines else type(error).__name__
