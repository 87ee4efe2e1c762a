"""
A simulated GPU with TensorRT.

It keeps the semantics of a real one: enqueued work runs when the stream is waited for, host and
GPU memory are separate, a graph is what was captured, and a compiled engine is loaded only by the
version that built it. It cannot show whether TensorRT and CUDA behave as ``tensorrt/device.py``
and ``tensorrt/cuda.py`` expect.
"""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import json

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.tensorrt.build_progress import BuildProgress
from keypoint_perception.inference.tensorrt.cuda import Gpu
from keypoint_perception.inference.tensorrt.device import BuildOptions, PlanRefusedError, Tensor
from keypoint_perception.parity import Outputs
import numpy as np

FAKE_GPU = Gpu('Fake GPU', '8.7', 16, 8 << 30, '12.6')
STEPS = 4


class FakeCuda:
    """A stream of work to do."""

    library = 'fake CUDA'

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.stream: list[Callable[[], None]] = []
        self.closed = False

    def wait(self) -> None:
        """Do all of them."""
        while self.stream:
            self.stream.pop(0)()

    def release_graphs(self) -> None:
        """Do nothing: there are none."""

    def memory(self) -> tuple[int, int]:
        """Return bytes in use and all bytes."""
        return 1 << 30, self.gpu.memory_bytes

    def close(self) -> None:
        """Record that it was closed."""
        self.closed = True


class FakeDevice:
    """
    Compiles a network to a note of its digest, and runs a function instead.

    :param answer: images (N, H, W, 3) uint8 -> outputs by name, (N, P, 3) float32 each
    :param outputs: number of points of each output by name
    :param can_capture: whether graphs can be captured
    """

    def __init__(
        self,
        answer: Callable[[np.ndarray], Outputs],
        *,
        input_hw: tuple[int, int],
        outputs: dict[str, int],
        version: str = '10.3.0',
        gpu: Gpu = FAKE_GPU,
        can_capture: bool = True,
    ) -> None:
        self._answer = answer
        self._input_hw = input_hw
        self._outputs = outputs
        self._can_capture = can_capture
        self.version = version
        self.gpu = gpu
        self.cuda = FakeCuda(gpu)
        self.built: list[tuple[BuildOptions, bytes]] = []
        self.loaded: list[FakePlan] = []

    def build(
        self, onnx: bytes, options: BuildOptions, progress: BuildProgress, timings: bytes
    ) -> tuple[bytes, bytes]:
        """Record the request."""
        self.built.append((options, timings))
        progress.phase_start('Building', None, STEPS)
        for step in range(STEPS):
            progress.step_complete('Building', step)
            if progress.stopped:
                msg = 'The build of the engine was stopped; start it again.'
                raise EngineError(msg)
        progress.phase_finish('Building')
        note = {'tensorrt': self.version, 'onnx': hashlib.sha256(onnx).hexdigest()}
        return json.dumps(note).encode(), b'timings'

    def load(self, plan: bytes, max_batch: int) -> FakePlan:
        """Return a plan that was built by the same version."""
        try:
            version = json.loads(plan)['tensorrt']
        except (ValueError, KeyError, TypeError) as error:
            msg = 'it is no plan'
            raise PlanRefusedError(msg) from error
        if version != self.version:
            msg = f'it was built by {version}'
            raise PlanRefusedError(msg)
        tensors = [Tensor('image', True, 'uint8', (-1, *self._input_hw, 3))]
        tensors += [Tensor(n, False, 'float32', (-1, c, 3)) for n, c in self._outputs.items()]
        self.loaded.append(
            FakePlan(self.cuda, self._answer, tuple(tensors), max_batch, self._can_capture)
        )
        return self.loaded[-1]

    def close(self) -> None:
        """Close the stream."""
        self.cuda.close()


class FakePlan:
    """See :class:`keypoint_perception.inference.tensorrt.device.LoadedPlan`."""

    def __init__(
        self,
        cuda: FakeCuda,
        answer,
        tensors: tuple[Tensor, ...],
        max_batch: int,
        can_capture: bool,
    ) -> None:
        self._cuda, self._answer, self._can_capture = cuda, answer, can_capture
        self.tensors = tensors
        image, *outputs = tensors
        self.images = np.zeros((max_batch, *image.shape[1:]), np.uint8)
        self.outputs = {t.name: np.zeros((max_batch, *t.shape[1:]), np.float32) for t in outputs}
        self._gpu_images = self.images.copy()
        self._gpu_outputs = {name: rows.copy() for name, rows in self.outputs.items()}
        self.contexts: list[int] = []
        self.launched: list[int] = []
        self.enqueued: list[int] = []
        self.closed = False

    def context(self, count: int) -> int:
        """Return the batch size, which stands for a context."""
        self.contexts.append(count)
        return count

    def upload(self, count: int) -> None:
        """Enqueue a copy of images."""
        self._cuda.stream.append(lambda: self._copy(self._gpu_images, self.images, count))

    def enqueue(self, context: int) -> None:
        """Enqueue a pass of the network."""
        self.enqueued.append(context)
        self._cuda.stream.append(lambda: self._compute(context))

    def capture(self, context: int) -> tuple[str, int]:
        """Return a pair that stands for a graph, if the context has run before."""
        if not self._can_capture or context not in self.enqueued:
            msg = 'operation not permitted when stream is capturing'
            raise RuntimeError(msg)
        return ('graph', context)

    def launch(self, graph: tuple[str, int]) -> None:
        """Enqueue a graph."""
        self.launched.append(graph[1])
        self._cuda.stream.append(lambda: self._compute(graph[1]))

    def download(self, count: int) -> None:
        """Enqueue a copy of outputs."""
        for name, rows in self.outputs.items():
            self._cuda.stream.append(
                lambda rows=rows, name=name: self._copy(rows, self._gpu_outputs[name], count)
            )

    def wait(self) -> None:
        """Do all work."""
        self._cuda.wait()

    @staticmethod
    def _copy(to: np.ndarray, of: np.ndarray, count: int) -> None:
        to[:count] = of[:count]

    def _compute(self, count: int) -> None:
        for name, rows in self._answer(self._gpu_images[:count]).items():
            self._gpu_outputs[name][:count] = rows

    def close(self) -> None:
        """Record that it was closed."""
        self.closed = True
