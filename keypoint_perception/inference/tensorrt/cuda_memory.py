"""
What a compiled engine needs of CUDA besides TensorRT: memory, a stream, graphs.

Two libraries can give it and neither comes with TensorRT: PyTorch, where it is installed with
CUDA, and NVIDIA's cuda-python, which is small and is what a robot has. Their classes are twins:
:mod:`keypoint_perception.inference.tensorrt.cuda_torch` and
:mod:`keypoint_perception.inference.tensorrt.cuda_python`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from keypoint_perception.errors import EngineError
import numpy as np


class Gpu(NamedTuple):
    """
    What a GPU says of itself.

    :param capability: compute capability, as 8.7
    :param memory_bytes: all that it has
    :param cuda: versions of the driver's and of the library's CUDA, as 12.6
    """

    name: str
    capability: str
    multiprocessors: int
    memory_bytes: int
    cuda: str


class UnavailableError(Exception):
    """A library cannot reach a GPU; the message says why, as part of a sentence."""


class Buffer(Protocol):
    """
    An array twice: in pinned memory of the host and on the GPU.

    :ivar host: the host's array
    :ivar address: of the GPU's
    """

    host: np.ndarray
    address: int

    def upload(self, count: int) -> None:
        """Begin to copy the first ``count`` rows to the GPU, in the stream."""

    def download(self, count: int) -> None:
        """Begin to copy the first ``count`` rows from the GPU, in the stream."""


class Cuda(Protocol):
    """
    One GPU, the first that the process sees, and a stream of its own.

    :ivar library: name and version of what is behind it
    :ivar stream: the stream's handle
    """

    library: str
    gpu: Gpu
    stream: int

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        """Return new memory; it lives as long as the object."""

    def capture(self, enqueue: Callable[[], None]) -> object:
        """Return a graph of what a function enqueues in the stream, which is not run."""

    def launch(self, graph: object) -> None:
        """Begin to run a graph, in the stream."""

    def release_graphs(self) -> None:
        """Give back all graphs, before what they run is given back."""

    def wait(self) -> None:
        """Wait for all that is in the stream."""

    def memory(self) -> tuple[int, int]:
        """Return bytes in use on the GPU, by everyone, and all that it has."""

    def close(self) -> None:
        """Give everything back."""


def open_cuda() -> Cuda:
    """
    Return the GPU by way of PyTorch if that can reach one, else of cuda-python.

    :raises EngineError: if neither can
    """
    from keypoint_perception.inference.tensorrt.cuda_python import CudaPython
    from keypoint_perception.inference.tensorrt.cuda_torch import CudaTorch

    reasons = []
    for kind in (CudaTorch, CudaPython):
        try:
            return kind()
        except (UnavailableError, RuntimeError) as error:  # the latter is both libraries' own
            reasons.append(str(error).splitlines()[0].rstrip('. '))
    msg = (
        f'Engine tensorrt finds no GPU that it can use: {"; ".join(reasons)}; it needs an NVIDIA '
        'GPU with its driver (what does `nvidia-smi` say?), and `pip install cuda-python` or a '
        'PyTorch with CUDA, or choose engine onnxruntime.'
    )
    raise EngineError(msg)
