"""CUDA by way of NVIDIA's cuda-python."""

from __future__ import annotations

from collections.abc import Callable
import ctypes
import math

from keypoint_perception.inference.tensorrt.cuda_memory import Gpu, UnavailableError
import numpy as np


class CudaPython:
    """See :class:`keypoint_perception.inference.tensorrt.cuda_memory.Cuda`."""

    def __init__(self) -> None:
        try:
            self._runtime = _import_runtime()
        except ImportError as error:
            msg = f'cuda-python is not installed ({error})'
            raise UnavailableError(msg) from error
        try:
            found = self._call('cudaGetDeviceCount')
        except RuntimeError as error:
            raise UnavailableError(str(error)) from error
        if not found:
            msg = 'cuda-python sees no GPU'
            raise UnavailableError(msg)
        self._call('cudaSetDevice', 0)
        version = self._call('cudaRuntimeGetVersion')
        self.library = f'cuda-python for CUDA {_version(version)}'
        properties = self._call('cudaGetDeviceProperties', 0)
        self.gpu = Gpu(
            _text(properties.name),
            f'{properties.major}.{properties.minor}',
            properties.multiProcessorCount,
            properties.totalGlobalMem,
            f'{_version(self._call("cudaDriverGetVersion"))} (driver), {_version(version)}',
        )
        flags = int(self._runtime.cudaStreamNonBlocking)
        self._stream = self._call('cudaStreamCreateWithFlags', flags)
        self.stream = int(self._stream)
        self._buffers: list[PythonBuffer] = []
        self._graphs: list = []

    def _call(self, name: str, *arguments):
        """
        Call a function of CUDA's runtime.

        :return: what it gives besides its status: nothing, a value, or several
        :raises RuntimeError: with CUDA's own words, if it fails
        """
        status, *values = getattr(self._runtime, name)(*arguments)
        if int(status):
            _, words = self._runtime.cudaGetErrorString(status)
            msg = f'{name}: {_text(words)}'
            raise RuntimeError(msg)
        return values[0] if len(values) == 1 else tuple(values)

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype) -> PythonBuffer:
        """Return new memory."""
        self._buffers.append(PythonBuffer(self._call, self._runtime, self._stream, shape, dtype))
        return self._buffers[-1]

    def capture(self, enqueue: Callable[[], None]) -> object:
        """Return a graph of what a function enqueues in the stream."""
        # other threads of the node may use CUDA meanwhile
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call('cudaStreamBeginCapture', self._stream, mode)
        try:
            enqueue()
        except BaseException:
            # ends the capture, which has failed; why is in what was raised
            self._runtime.cudaStreamEndCapture(self._stream)
            raise
        graph = self._call('cudaStreamEndCapture', self._stream)
        try:
            self._graphs.append(self._call('cudaGraphInstantiate', graph, 0))
        finally:
            self._call('cudaGraphDestroy', graph)
        return self._graphs[-1]

    def launch(self, graph: object) -> None:
        """Begin to run a graph."""
        self._call('cudaGraphLaunch', graph, self._stream)

    def release_graphs(self) -> None:
        """Give back all graphs."""
        for graph in self._graphs:
            self._runtime.cudaGraphExecDestroy(graph)
        self._graphs.clear()

    def wait(self) -> None:
        """Wait for all that is in the stream."""
        self._call('cudaStreamSynchronize', self._stream)

    def memory(self) -> tuple[int, int]:
        """Return bytes in use and all bytes."""
        free, total = self._call('cudaMemGetInfo')
        return total - free, total

    def close(self) -> None:
        """Give back graphs, memory and stream."""
        if self._stream is None:
            return
        self._runtime.cudaStreamSynchronize(self._stream)
        self.release_graphs()
        for buffer in self._buffers:
            buffer.free()
        self._runtime.cudaStreamDestroy(self._stream)
        self._buffers, self._stream = [], None


class PythonBuffer:
    """See :class:`keypoint_perception.inference.tensorrt.cuda_memory.Buffer`."""

    def __init__(self, call, runtime, stream, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._call, self._runtime, self._stream = call, runtime, stream
        self._row_bytes = math.prod(shape[1:]) * np.dtype(dtype).itemsize
        size = shape[0] * self._row_bytes
        self._pinned = call('cudaMallocHost', size)
        self.address = call('cudaMalloc', size)
        memory = (ctypes.c_uint8 * size).from_address(self._pinned)
        self.host = np.frombuffer(memory, dtype).reshape(shape)
        self.host[...] = 0

    def upload(self, count: int) -> None:
        """Begin to copy rows to the GPU."""
        self._copy(self.address, self._pinned, count, 'cudaMemcpyHostToDevice')

    def download(self, count: int) -> None:
        """Begin to copy rows from the GPU."""
        self._copy(self._pinned, self.address, count, 'cudaMemcpyDeviceToHost')

    def _copy(self, to: int, of: int, count: int, direction: str) -> None:
        kind = getattr(self._runtime.cudaMemcpyKind, direction)
        self._call('cudaMemcpyAsync', to, of, count * self._row_bytes, kind, self._stream)

    def free(self) -> None:
        """Give the memory back; the host's array must not be used any more."""
        self._runtime.cudaFree(self.address)
        self._runtime.cudaFreeHost(self._pinned)


def _import_runtime():
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        try:
            from cuda import cudart  # its place before cuda-python 12.8
        except ImportError:
            raise error from None
        return cudart
    return runtime


def _version(number: int) -> str:
    """Return 12.6 for 12060."""
    return f'{number // 1000}.{number % 1000 // 10}'


def _text(words: bytes | str) -> str:
    return words.decode(errors='replace').strip('\0') if isinstance(words, bytes) else words
