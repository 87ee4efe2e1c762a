"""The network in ONNX Runtime, on the CPU: the engine that runs everywhere."""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.manifest import Manifest, ONNX_NAME
import numpy as np

PROVIDER = 'CPUExecutionProvider'


class OnnxRuntimeEngine:
    """
    ``keypointer.onnx`` in ONNX Runtime.

    Inputs and outputs are not bound: ONNX Runtime reads a contiguous array where it lies, and the
    output is a few hundred bytes.
    """

    name = 'onnxruntime'

    def __init__(self, model_dir: Path, manifest: Manifest, *, threads: int = 0) -> None:
        self.input_hw = manifest.input_hw
        self.keypoint_names = manifest.keypoint_names
        self.landmark_names = manifest.landmark_names
        self.skeleton = manifest.skeleton
        self._model = str(model_dir)
        self._session = self._open(Path(model_dir) / ONNX_NAME, threads)
        self._check_input()
        self._check_output()

    def _open(self, path: Path, threads: int):
        try:
            import onnxruntime
        except ImportError as error:
            msg = (
                f'Engine onnxruntime is not installed ({error}); install it with '
                '`pip install onnxruntime`.'
            )
            raise EngineError(msg) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # its warnings speak of our graph, not of the user's work
        # Between two images of a camera there is nothing to wait for actively.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        self.description = (
            f'onnxruntime {onnxruntime.__version__} on {PROVIDER}, '
            f'{threads or "its own choice of"} threads'
        )
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
        except Exception as error:  # its exceptions have no base of their own
            msg = (
                f'ONNX Runtime {onnxruntime.__version__} cannot load {str(path)!r} '
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
