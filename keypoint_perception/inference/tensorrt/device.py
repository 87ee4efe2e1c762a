"""
TensorRT on one GPU: every call that this package makes of the library.

One code path serves TensorRT 10.3 (JetPack 6) to 11: the network is strongly typed, so that its
precision is that of the ONNX file, and tensors are bound by name. All decisions are made
elsewhere, because this file and ``cuda.py`` can only be tested on a GPU; the names they use are
compared with TensorRT's Python bindings by ``test/inference/tensorrt/test_tensorrt_names.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
import logging
from typing import Any, NamedTuple

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.tensorrt.build_progress import BuildProgress
from keypoint_perception.inference.tensorrt.cuda import Cuda, Graph
from keypoint_perception.inference.tensorrt.library import (
    import_tensorrt,
    make_logger,
    make_monitor,
)
import numpy as np

DTYPES = {'FLOAT': 'float32', 'UINT8': 'uint8'}

log = logging.getLogger('keypoint_perception')


@dataclass(frozen=True)
class BuildOptions:
    """
    Settings of the builder.

    :param max_batch: images per pass, from 1 to this
    :param level: effort of the search for the fastest kernels, 0 to 5
    :param workspace_bytes: GPU memory that one kernel may use
    :param tf32: allow fp32 products with 10 instead of 23 bits
    """

    max_batch: int = 1
    level: int = 3
    workspace_bytes: int = 1 << 30
    tf32: bool = False


class Tensor(NamedTuple):
    """
    An input or output of a compiled engine.

    :param dtype: name of the NumPy type, or TensorRT's own where NumPy has none
    :param shape: -1 where it is dynamic
    """

    name: str
    is_input: bool
    dtype: str
    shape: tuple[int, ...]


class PlanRefusedError(Exception):
    """TensorRT rejects a compiled engine; the message is the reason, as part of a sentence."""


class TensorRTDevice:
    """
    TensorRT and the GPU that it uses.

    :raises EngineError: if there is no TensorRT 10.3 or newer, or no GPU
    """

    def __init__(self) -> None:
        self._trt = import_tensorrt()
        self.version: str = self._trt.__version__
        self.cuda = Cuda()
        self.gpu = self.cuda.gpu
        self._logger = make_logger(self._trt)
        try:
            self._runtime: Any = self._trt.Runtime(self._logger)
        except TypeError as error:  # raised by the bindings for a null pointer
            msg = f'TensorRT {self.version} cannot be started ({self._last_error() or error}).'
            raise EngineError(msg) from error

    def build(
        self, onnx: bytes, options: BuildOptions, progress: BuildProgress, timings: bytes
    ) -> tuple[bytes, bytes]:
        """
        Compile a network.

        :param timings: timing cache of an earlier build on this machine, or empty
        :return: the compiled engine and the new timing cache
        :raises EngineError: with TensorRT's own message, if the build fails
        """
        trt = self._trt
        self._logger.errors.clear()
        try:
            builder = trt.Builder(self._logger)
        except TypeError as error:
            raise self._failure('TensorRT cannot start its builder') from error
        # the flag is ignored in TensorRT 11, where all networks are strongly typed
        flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        network = builder.create_network(1 << int(flag))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(onnx):
            reasons = '; '.join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise self._failure('TensorRT cannot read the ONNX file', reasons)
        config = self._configure(builder, network, options)
        if not config.set_timing_cache(config.create_timing_cache(timings), False):
            log.info('the timing cache of earlier builds does not fit this machine; ignoring it')
            config.set_timing_cache(config.create_timing_cache(b''), False)
        monitor = make_monitor(trt, progress)
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if progress.interruption is not None:
            raise progress.interruption
        if progress.stopped:
            msg = 'The build of the engine was stopped; start it again.'
            raise EngineError(msg)
        if plan is None:
            raise self._failure('TensorRT cannot build the engine')
        measured = config.get_timing_cache()
        return bytes(plan), b'' if measured is None else bytes(measured.serialize())

    def _configure(self, builder: Any, network: Any, options: BuildOptions) -> Any:
        """Return the builder's configuration, with one profile for 1 to ``max_batch`` images."""
        trt = self._trt
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
        config.builder_optimization_level = options.level
        if not options.tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        profile = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            rest = tuple(tensor.shape)[1:]
            smallest, largest = (1, *rest), (options.max_batch, *rest)
            profile.set_shape(tensor.name, smallest, largest, largest)
        if config.add_optimization_profile(profile) < 0:
            raise self._failure('TensorRT rejects the input sizes')
        return config

    def load(self, plan: bytes, max_batch: int) -> LoadedPlan:
        """
        Load a compiled engine and bind its buffers.

        An engine contains code that this runs: it must come from :meth:`build`, unchanged.

        :param max_batch: as it was built for
        :raises PlanRefusedError: if TensorRT rejects it
        """
        self._logger.errors.clear()
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanRefusedError(self._last_error() or 'without a reason')
        return LoadedPlan(self._trt, self.cuda, engine, max_batch)

    def close(self) -> None:
        """Free the stream and all memory; loaded engines must be closed before."""
        self._runtime = None
        self.cuda.close()

    def _last_error(self) -> str:
        errors = self._logger.errors
        return str(errors[-1]).rstrip('. ') if errors else ''

    def _failure(self, what: str, reason: str = '') -> EngineError:
        reason = reason or self._last_error() or 'without a reason'
        return EngineError(
            f'{what} ({reason}); export the model again with this version of keypoint_perception, '
            'and report this with the output of `doctor --gpu` if it persists.'
        )


class LoadedPlan:
    """
    A compiled engine with its buffers, which are bound once.

    :ivar images: pinned input, (max_batch, H, W, 3) uint8; written before :meth:`upload`
    :ivar outputs: pinned, (max_batch, P, 3) float32 each; read after :meth:`wait`
    """

    def __init__(self, trt: Any, cuda: Cuda, engine: Any, max_batch: int) -> None:
        self._trt, self._cuda, self._engine = trt, cuda, engine
        self._buffers = {}
        self._contexts: list[Any] = []
        self.tensors = tuple(self._describe(i) for i in range(engine.num_io_tensors))
        for tensor in self.tensors:
            if tensor.dtype not in DTYPES.values():
                msg = f'its tensor {tensor.name} is of type {tensor.dtype}'
                raise PlanRefusedError(msg)
            shape = (max_batch, *tensor.shape[1:])
            if min(shape) < 1:
                msg = f'its tensor {tensor.name} has the shape {tensor.shape}'
                raise PlanRefusedError(msg)
            self._buffers[tensor.name] = cuda.buffer(shape, np.dtype(tensor.dtype))
        self._inputs = [self._buffers[tensor.name] for tensor in self.tensors if tensor.is_input]
        self._outputs = {t.name: self._buffers[t.name] for t in self.tensors if not t.is_input}
        self.images: np.ndarray = self._inputs[0].host
        self.outputs = {name: buffer.host for name, buffer in self._outputs.items()}

    def _describe(self, index: int) -> Tensor:
        name = self._engine.get_tensor_name(index)
        dtype = self._engine.get_tensor_dtype(name).name
        return Tensor(
            name,
            self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT,
            DTYPES.get(dtype, dtype),
            tuple(self._engine.get_tensor_shape(name)),
        )

    def context(self, count: int) -> Any:
        """
        Return an execution context for one batch size, with shapes and addresses set.

        Each size needs its own, because a graph refers to the memory of its context.

        :raises EngineError: if TensorRT rejects the size
        """
        context = self._engine.create_execution_context()
        good = context is not None
        for tensor in self.tensors:
            if good and tensor.is_input:
                good = context.set_input_shape(tensor.name, (count, *tensor.shape[1:]))
            good = good and context.set_tensor_address(
                tensor.name, self._buffers[tensor.name].address
            )
        if not good or context.infer_shapes():
            msg = f'TensorRT rejects batches of {count}; build the engine again.'
            raise EngineError(msg)
        self._contexts.append(context)
        return context

    def upload(self, count: int) -> None:
        """Enqueue a copy of the first images to the GPU."""
        for buffer in self._inputs:
            buffer.upload(count)

    def enqueue(self, context: Any) -> None:
        """Enqueue one pass of the network."""
        if not context.execute_async_v3(self._cuda.stream):
            msg = 'TensorRT could not start the network; check `nvidia-smi` and load it again.'
            raise EngineError(msg)

    def capture(self, context: Any) -> Graph:
        """Return a CUDA graph of one pass of the network."""
        return self._cuda.capture(lambda: self.enqueue(context))

    def launch(self, graph: Graph) -> None:
        """Enqueue a CUDA graph."""
        self._cuda.launch(graph)

    def download(self, count: int) -> None:
        """Enqueue a copy of the first outputs from the GPU."""
        for buffer in self._outputs.values():
            buffer.download(count)

    def wait(self) -> None:
        """Wait for everything enqueued."""
        self._cuda.wait()

    def close(self) -> None:
        """Release the engine: first graphs, which use the contexts' memory, then the contexts."""
        self._cuda.release_graphs()
        self._contexts.clear()
        self._engine = None
