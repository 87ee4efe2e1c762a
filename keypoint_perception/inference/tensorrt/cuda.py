"""CUDA through NVIDIA's cuda-python: memory, a stream and graphs, which TensorRT leaves to us."""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import math
from types import ModuleType
from typing import Any, NamedTuple

from keypoint_perception.errors import EngineError
import numpy as np

# CUDA graphs and streams are opaque objects of cuda-python.
Graph = Any


class Gpu(NamedTuple):
    """
    Properties of a GPU.

    :param capability: compute capability, as 8.7
    :param memory_bytes: total memory
    :param cuda: CUDA versions of the driver and of the library
    """

    name: str
    capability: str
    multiprocessors: int
    memory_bytes: int
    cuda: str


class Cuda:
    """
    The first GPU that the process sees, and a stream of its own.

    :ivar library: name and version of the library
    :ivar stream: handle of the stream
    :raises EngineError: if there is no usable GPU
    """

    def __init__(self) -> None:
        self._runtime = _import_runtime()
        try:
            if not self._call('cudaGetDeviceCount'):
                raise _no_gpu('cuda-python sees no GPU')
            self._call('cudaSetDevice', 0)
            version = _version(self._call('cudaRuntimeGetVersion'))
            self.library = f'cuda-python for CUDA {version}'
            properties = self._call('cudaGetDeviceProperties', 0)
            self.gpu = Gpu(
                _text(properties.name),
                f'{properties.major}.{properties.minor}',
                properties.multiProcessorCount,
                properties.totalGlobalMem,
                f'{_version(self._call("cudaDriverGetVersion"))} (driver), {version}',
            )
            flags = int(self._runtime.cudaStreamNonBlocking)
            self._stream: Any = self._call('cudaStreamCreateWithFlags', flags)
        except RuntimeError as error:
            raise _no_gpu(str(error).splitlines()[0].rstrip('. ')) from error
        self.stream = int(self._stream)
        self._buffers: list[PinnedBuffer] = []
        self._graphs: list[Graph] = []

    def _call(self, name: str, *arguments: object) -> Any:
        """
        Call a function of the CUDA runtime.

        :return: its results without the status: None, a value or a tuple
        :raises RuntimeError: with CUDA's own message, if it fails
        """
        status, *values = getattr(self._runtime, name)(*arguments)
        if int(status):
            _, message = self._runtime.cudaGetErrorString(status)
            msg = f'{name}: {_text(message)}'
            raise RuntimeError(msg)
        return values[0] if len(values) == 1 else tuple(values)

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> PinnedBuffer:
        """Allocate a buffer that lives until :meth:`close`."""
        self._buffers.append(PinnedBuffer(self._call, self._runtime, self._stream, shape, dtype))
        return self._buffers[-1]

    def capture(self, enqueue: Callable[[], None]) -> Graph:
        """Return a graph of the work that a function enqueues, without running it."""
        # thread-local, because other threads of the process may use CUDA meanwhile
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call('cudaStreamBeginCapture', self._stream, mode)
        try:
            enqueue()
        except BaseException:
            # the capture is invalid; the exception holds the reason
            self._runtime.cudaStreamEndCapture(self._stream)
            raise
        graph = self._call('cudaStreamEndCapture', self._stream)
        try:
            self._graphs.append(self._call('cudaGraphInstantiate', graph, 0))
        finally:
            self._call('cudaGraphDestroy', graph)
        return self._graphs[-1]

    def launch(self, graph: Graph) -> None:
        """Enqueue a graph."""
        self._call('cudaGraphLaunch', graph, self._stream)

    def release_graphs(self) -> None:
        """Destroy all graphs, which must precede the engines that they run."""
        for graph in self._graphs:
            self._runtime.cudaGraphExecDestroy(graph)
        self._graphs.clear()

    def wait(self) -> None:
        """Wait for the stream."""
        self._call('cudaStreamSynchronize', self._stream)

    def memory(self) -> tuple[int, int]:
        """Return used bytes of the GPU, by all processes, and total bytes."""
        free, total = self._call('cudaMemGetInfo')
        return total - free, total

    def close(self) -> None:
        """Free graphs, buffers and the stream."""
        if self._stream is None:
            return
        self._runtime.cudaStreamSynchronize(self._stream)
        self.release_graphs()
        for buffer in self._buffers:
            buffer.free()
        self._runtime.cudaStreamDestroy(self._stream)
        self._buffers, self._stream = [], None


class PinnedBuffer:
    """
    An array in pinned host memory and its copy on the GPU.

    :ivar host: the host's array, initially zero
    :ivar address: of the GPU's copy
    """

    def __init__(
        self,
        call: Callable[..., Any],
        runtime: ModuleType,
        stream: object,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self._call, self._runtime, self._stream = call, runtime, stream
        self._row_bytes = math.prod(shape[1:]) * dtype.itemsize
        size = shape[0] * self._row_bytes
        self._pinned: int = call('cudaMallocHost', size)
        self.address: int = call('cudaMalloc', size)
        memory = memoryview((ctypes.c_uint8 * size).from_address(self._pinned))
        self.host = np.frombuffer(memory, dtype).reshape(shape)
        self.host[...] = 0

    def upload(self, count: int) -> None:
        """Enqueue a copy of the first ``count`` rows to the GPU."""
        self._copy(self.address, self._pinned, count, 'cudaMemcpyHostToDevice')

    def download(self, count: int) -> None:
        """Enqueue a copy of the first ``count`` rows from the GPU."""
        self._copy(self._pinned, self.address, count, 'cudaMemcpyDeviceToHost')

    def _copy(self, to: int, of: int, count: int, direction: str) -> None:
        kind = getattr(self._runtime.cudaMemcpyKind, direction)
        self._call('cudaMemcpyAsync', to, of, count * self._row_bytes, kind, self._stream)

    def free(self) -> None:
        """Free the memory; ``host`` is invalid afterwards."""
        self._runtime.cudaFree(self.address)
        self._runtime.cudaFreeHost(self._pinned)


def _import_runtime() -> ModuleType:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        try:
            from cuda import cudart  # before cuda-python 12.8
        except ImportError:
            raise _no_gpu(f'cuda-python is not installed ({error})') from error
        return cudart  # type: ignore[no-any-return]
    return runtime  # type: ignore[no-any-return]


def _no_gpu(reason: str) -> EngineError:
    return EngineError(
        f'Engine tensorrt finds no usable GPU: {reason}; it needs an NVIDIA GPU with its driver '
        '(check `nvidia-smi`) and `pip install cuda-python`; otherwise choose engine onnxruntime.'
    )


def _version(number: int) -> str:
    """Return 12.6 for 12060."""
    return f'{number // 1000}.{number % 1000 // 10}'


def _text(words: bytes | str) -> str:
    return words.decode(errors='replace').strip('\0') if isinstance(words, bytes) else words
