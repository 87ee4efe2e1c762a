"""The network in ONNX Runtime: the engine that runs everywhere."""

from __future__ import annotations

import os
from pathlib import Path

from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.inference.onnx_providers import (
    check_available,
    check_provider,
    provider_list,
    PROVIDERS,
)
from keypoint_perception.inference.optimised_graph import GraphKey, open_optimised, processor
from keypoint_perception.manifest import Manifest, onnx_file
import numpy as np

# Threads that a layer of a small network can be shared among: a quarter of a layer is some ten
# microseconds, and waking a thread costs as much.
MOST_THREADS = 4
# Blocks of channels are what convolutions of single precision are fast with; between convolutions
# of whole numbers, going there and back costs a tenth of the time.
LEFT_OUT = {'int8': ('NchwcTransformer',)}


class OnnxRuntimeEngine:
    """
    ``keypointer.onnx``, or that in fewer bits, in ONNX Runtime.

    Inputs and outputs are not bound: ONNX Runtime reads a contiguous array where it lies, and the
    output is a few hundred bytes; binding both was less than 2 % faster.
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
        """
        Load a model.

        :param threads: of one inference; 0: as many as this process may use, up to
            :data:`MOST_THREADS`
        :param precision: of the network's file, as `export --precision` made it
        :param provider: cpu, cuda or tensorrt
        :param max_batch: images of one pass, which TensorRT's provider must know
        :raises ModelError: if the model is not there in this precision, or not what its manifest
            says
        :raises EngineError: if ONNX Runtime or the provider is missing, or fails
        """
        self.input_hw = manifest.input_hw
        self.keypoint_names = manifest.keypoint_names
        self.landmark_names = manifest.landmark_names
        self.skeleton = manifest.skeleton
        self.precision = precision
        self._model = str(model_dir)
        self._path = onnx_file(model_dir, manifest, precision)
        self._threads = threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))
        self._onnxruntime = _import()
        check_available(provider, self._onnxruntime.get_available_providers())
        sha256 = manifest.files[self._path.name]
        self.provider = provider
        self._providers = provider_list(provider, manifest, precision, sha256, max_batch)
        self._session = self._open(sha256)
        check_provider(self._session, provider, Path(model_dir))
        self.description = (
            f'onnxruntime {self._onnxruntime.__version__} on {PROVIDERS[provider]}, {precision}, '
            f'{self._threads} threads'
        )
        self._check_input()
        self._check_output()

    def _open(self, sha256: str):
        if self.provider == 'tensorrt':  # what it compiles cannot be written as a graph
            return self._create(str(self._path), self._options())
        left_out = LEFT_OUT.get(self.precision, ()) if self.provider == 'cpu' else ()
        version = self._onnxruntime.__version__
        key = GraphKey(sha256, version, processor(), PROVIDERS[self.provider], left_out)

        def optimise(path: Path | None):
            options = self._options()
            if path is not None:
                options.optimized_model_filepath = str(path)
            return self._create(str(self._path), options, left_out)

        def load(graph: bytes):
            options = self._options()
            options.graph_optimization_level = (
                self._onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            )
            return self._create(graph, options)

        return open_optimised(key, optimise, load)

    def _options(self):
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # its warnings speak of our graph, not of the user's work
        # Between two images of a camera there is nothing to wait for actively.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        return options

    def _create(self, network: str | bytes, options, left_out: tuple[str, ...] = ()):
        try:
            return self._onnxruntime.InferenceSession(
                network,
                options,
                providers=self._providers,
                disabled_optimizers=list(left_out),
                enable_fallback=0,
            )
        except Exception as error:  # its exceptions have no base of their own
            msg = (
                f'ONNX Runtime {self._onnxruntime.__version__} cannot load {str(self._path)!r} '
                f'({first_line(error)}); export the model again, or install a newer onnxruntime.'
            )
            raise EngineError(msg) from error

    def _check_input(self) -> None:
        expected = f"'image' uint8 (N, {self.input_hw[0]}, {self.input_hw[1]}, 3)"
        inputs = self._session.get_inputs()
        good = len(inputs) == 1 and inputs[0].name == 'image' and inputs[0].type == 'tensor(uint8)'
        if not good or not _fits(inputs[0].shape, (*self.input_hw, 3)):
            self._refuse('input', inputs, expected)

    def _check_output(self) -> None:
        counts = {'keypoints': len(self.keypoint_names)}
        if self.landmark_names:
            counts['landmarks'] = len(self.landmark_names)
        outputs = self._session.get_outputs()
        good = [found.name for found in outputs] == list(counts)
        good = good and all(
            found.type == 'tensor(float)' and _fits(found.shape, (counts[found.name], 3))
            for found in outputs
        )
        if not good:
            means = ', '.join(f'{name!r} float32 (N, {n}, 3)' for name, n in counts.items())
            self._refuse('output', outputs, means)

    def _refuse(self, side: str, found, expected: str) -> None:
        listed = ', '.join(f'{f.name!r} {f.type} {tuple(f.shape)}' for f in found) or 'nothing'
        msg = (
            f'Model {self._model!r} has the {side} {listed}, but its manifest means {expected}; '
            'export the model again.'
        )
        raise ModelError(msg)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the keypoints of a batch; see :class:`Engine`."""
        return self._answers(images, ['keypoints'])[0]

    def run_named(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints and the named points of a batch; see :class:`Engine`."""
        if not self.landmark_names:
            return self.run(images), np.zeros((len(images), 0, 3), np.float32)
        keypoints, landmarks = self._answers(images, ['keypoints', 'landmarks'])
        return keypoints, landmarks

    def _answers(self, images: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
        if self._session is None:
            msg = 'The engine is closed; load the model again.'
            raise EngineError(msg)
        try:
            return self._session.run(outputs, {'image': np.ascontiguousarray(images)})
        except Exception as error:  # its exceptions have no base of their own
            msg = f'ONNX Runtime failed on {self._model!r}: {first_line(error)}.'
            raise EngineError(msg) from error

    def close(self) -> None:
        """Give back the session."""
        self._session = None


def _import():
    try:
        import onnxruntime
    except ImportError as error:
        msg = (
            f'Engine onnxruntime is not installed ({error}); install it with '
            '`pip install onnxruntime`.'
        )
        raise EngineError(msg) from error
    return onnxruntime


def _fits(shape: list, expected: tuple[int, ...]) -> bool:
    """Return whether a shape is free in the batch and may be as expected in the rest."""
    if len(shape) != len(expected) + 1 or isinstance(shape[0], int):
        return False
    rest = zip(shape[1:], expected, strict=True)
    # the exporter may leave K symbolic; the estimator looks at the answers
    return all(not isinstance(found, int) or found == size for found, size in rest)


def first_line(error: Exception) -> str:
    """Return the first line of a library's complaint, without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip('. ') if lines else type(error).__name__
