"""CUDA by way of PyTorch."""

from __future__ import annotations

from collections.abc import Callable

from keypoint_perception.inference.tensorrt.cuda_memory import Gpu, UnavailableError
import numpy as np


class CudaTorch:
    """See :class:`keypoint_perception.inference.tensorrt.cuda_memory.Cuda`."""

    def __init__(self) -> None:
        try:
            import torch
        except ImportError as error:
            msg = f'torch is not installed ({error})'
            raise UnavailableError(msg) from error
        if not torch.cuda.is_available():
            why = 'sees no GPU' if torch.version.cuda else 'was built without CUDA'
            msg = f'torch {torch.__version__} {why}'
            raise UnavailableError(msg)
        self._torch = torch
        self.library = f'torch {torch.__version__}'
        properties = torch.cuda.get_device_properties(0)
        self.gpu = Gpu(
            properties.name,
            f'{properties.major}.{properties.minor}',
            properties.multi_processor_count,
            properties.total_memory,
            torch.version.cuda,
        )
        self._stream = torch.cuda.Stream(0)
        self.stream = self._stream.cuda_stream

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype) -> TorchBuffer:
        """Return new memory."""
        return TorchBuffer(self._torch, self._stream, shape, dtype)

    def capture(self, enqueue: Callable[[], None]) -> object:
        """Return a graph of what a function enqueues in the stream."""
        graph = self._torch.cuda.CUDAGraph()
        # other threads of the node may use CUDA meanwhile
        with self._torch.cuda.graph(graph, stream=self._stream, capture_error_mode='thread_local'):
            enqueue()
        return graph

    def launch(self, graph: object) -> None:
        """Begin to run a graph."""
        with self._torch.cuda.stream(self._stream):
            graph.replay()

    def release_graphs(self) -> None:
        """Do nothing: a graph of PyTorch goes with the last who holds it."""

    def wait(self) -> None:
        """Wait for all that is in the stream."""
        self._stream.synchronize()

    def memory(self) -> tuple[int, int]:
        """Return bytes in use and all bytes."""
        free, total = self._torch.cuda.mem_get_info(0)
        return total - free, total

    def close(self) -> None:
        """Wait; PyTorch frees what is no longer used."""
        self._stream.synchronize()


class TorchBuffer:
    """See :class:`keypoint_perception.inference.tensorrt.cuda_memory.Buffer`."""

    def __init__(self, torch, stream, shape: tuple[int, ...], dtype: np.dtype) -> None:
        kind = getattr(torch, np.dtype(dtype).name)
        self._torch, self._stream = torch, stream
        self._host = torch.zeros(shape, dtype=kind).pin_memory()
        self._device = torch.zeros(shape, dtype=kind, device='cuda:0')
        torch.cuda.synchronize(0)  # the zeros are written in another stream
        self.host = self._host.numpy()
        self.address = self._device.data_ptr()

    def upload(self, count: int) -> None:
        """Begin to copy rows to the GPU."""
        with self._torch.cuda.stream(self._stream):
            self._device[:count].copy_(self._host[:count], non_blocking=True)

    def download(self, count: int) -> None:
        """Begin to copy rows from the GPU."""
        with self._torch.cuda.stream(self._stream):
            self._host[:count].copy_(self._device[:count], non_blocking=True)
