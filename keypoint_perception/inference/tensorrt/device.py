"""
TensorRT on one GPU: every call of its library that this package makes, and nothing else.

One way for TensorRT 10.3 (JetPack 6) to 11: the network is strongly typed, so that its precision
is the ONNX file's, and tensors are bound by name. All decisions are made elsewhere; this file and
the two of CUDA need a GPU to be tried, and the names they use are held against TensorRT's own
Python bindings by ``test/inference/test_tensorrt_names.py``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import logging
from typing import NamedTuple

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.tensorrt.build_progress import BuildProgress
from keypoint_perception.inference.tensorrt.cuda_memory import Cuda, Gpu, open_cuda
from keypoint_perception.inference.tensorrt.library import (
    import_tensorrt,
    make_logger,
    make_monitor,
)
import numpy as np

KINDS = {'FLOAT': np.float32, 'UINT8': np.uint8}

log = logging.getLogger('keypoint_perception')


@dataclass(frozen=True)
class BuildOptions:
    """
    What the builder is told besides the network.

    :param max_batch: images of one pass, from 1 to this
    :param level: how long it looks for the fastest kernels, 0 to 5
    :param workspace_bytes: GPU memory that one kernel may take for itself
    :param tf32: let fp32 be multiplied with 10 bits instead of 23
    """

    max_batch: int = 1
    level: int = 3
    workspace_bytes: int = 1 << 30
    tf32: bool = False

    def facts(self) -> dict:
        """Return them for an engine's key."""
        return asdict(self)


class Tensor(NamedTuple):
    """
    An input or output of a compiled engine.

    :param kind: its NumPy type's name; TensorRT's own where NumPy has none
    :param shape: -1 where it is free
    """

    name: str
    is_input: bool
    kind: str
    shape: tuple[int, ...]


class PlanRefusedError(Exception):
    """TensorRT does not take a compiled engine; the message says why, as part of a sentence."""


class TensorRTDevice:
    """
    TensorRT, and the GPU that it uses.

    :raises EngineError: if there is no TensorRT from 10.3, or no GPU
    """

    def __init__(self) -> None:
        self._trt = import_tensorrt()
        self.version = self._trt.__version__
        self.cuda: Cuda = open_cuda()
        self.gpu: Gpu = self.cuda.gpu
        self._logger = make_logger(self._trt)
        try:
            self._runtime = self._trt.Runtime(self._logger)
        except TypeError as error:  # what its bindings make of a null pointer
            msg = f'TensorRT {self.version} cannot be started ({self._said() or error}).'
            raise EngineError(msg) from error

    def build(
        self, onnx: bytes, options: BuildOptions, progress: BuildProgress, timings: bytes
    ) -> tuple[bytes, bytes]:
        """
        Compile a network.

        :param timings: what :meth:`build` gave before on this machine, empty if nothing
        :return: the compiled engine and the builder's timings
        :raises EngineError: with TensorRT's own words, if it cannot be compiled
        """
        trt = self._trt
        self._logger.said.clear()
        try:
            builder = trt.Builder(self._logger)
        except TypeError as error:
            raise self._failed('TensorRT cannot start its builder') from error
        # the flag is ignored in 11, where there is no other kind of network
        network = builder.create_network(
            1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        )
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(onnx):
            words = '; '.join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise self._failed('TensorRT cannot read the ONNX file', words)
        config = self._configure(builder, network, options)
        cache = config.create_timing_cache(timings)
        if not config.set_timing_cache(cache, False):
            log.info('the timings of earlier builds do not fit this machine; they are not used')
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
            raise self._failed('TensorRT cannot build the engine')
        measured = config.get_timing_cache()
        return bytes(plan), b'' if measured is None else bytes(measured.serialize())

    def _configure(self, builder, network, options: BuildOptions):
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
            least, most = (1, *rest), (options.max_batch, *rest)
            profile.set_shape(tensor.name, least, most, most)
        if config.add_optimization_profile(profile) < 0:
            raise self._failed('TensorRT refuses the sizes of the input')
        return config

    def load(self, plan: bytes, max_batch: int) -> LoadedPlan:
        """
        Load a compiled engine and bind its buffers.

        It runs code that it holds: it must come from :meth:`build`, unchanged.

        :param max_batch: as it was built for
        :raises PlanRefusedError: if TensorRT does not take it
        """
        self._logger.said.clear()
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise PlanRefusedError(self._said() or 'it gives no reason')
        return LoadedPlan(self._trt, self.cuda, engine, max_batch)

    def close(self) -> None:
        """Give back the stream and all memory; engines that were loaded must be closed before."""
        self._runtime = None
        self.cuda.close()

    def _said(self) -> str:
        """Return what TensorRT complained of last."""
        return self._logger.said[-1].rstrip('. ') if self._logger.said else ''

    def _failed(self, what: str, words: str = '') -> EngineError:
        words = words or self._said() or 'it gives no reason'
        return EngineError(
            f'{what} ({words}); export the model again with this version of keypoint_perception, '
            'and report this with what `doctor --gpu` prints if it stays.'
        )


class LoadedPlan:
    """
    A compiled engine with its buffers, which are bound once and for all.

    :ivar images: pinned, (max_batch, H, W, 3) uint8; written before :meth:`upload`
    :ivar answers: pinned, (max_batch, P, 3) float32 each; read after :meth:`wait`
    """

    def __init__(self, trt, cuda: Cuda, engine, max_batch: int) -> None:
        self._trt, self._cuda, self._engine = trt, cuda, engine
        self._buffers = {}
        self._contexts: list = []
        self.tensors = tuple(self._describe(i) for i in range(engine.num_io_tensors))
        for tensor in self.tensors:
            if tensor.kind not in {np.dtype(kind).name for kind in KINDS.values()}:
                msg = f'its tensor {tensor.name} is of type {tensor.kind}'
                raise PlanRefusedError(msg)
            shape = (max_batch, *tensor.shape[1:])
            if min(shape) < 1:
                msg = f'its tensor {tensor.name} has the shape {tensor.shape}'
                raise PlanRefusedError(msg)
            self._buffers[tensor.name] = cuda.buffer(shape, np.dtype(tensor.kind))
        self._inputs = [self._buffers[tensor.name] for tensor in self.tensors if tensor.is_input]
        self._outputs = {t.name: self._buffers[t.name] for t in self.tensors if not t.is_input}
        self.answers = {name: buffer.host for name, buffer in self._outputs.items()}

    @property
    def images(self) -> np.ndarray:
        """Return the host's side of the only input."""
        return self._inputs[0].host

    def _describe(self, index: int) -> Tensor:
        name = self._engine.get_tensor_name(index)
        kind = self._engine.get_tensor_dtype(name).name
        return Tensor(
            name,
            self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT,
            np.dtype(KINDS[kind]).name if kind in KINDS else kind,
            tuple(self._engine.get_tensor_shape(name)),
        )

    def context(self, count: int):
        """
        Return what runs batches of one size, with its shapes and addresses set.

        A context for each size, because a graph holds its context's own memory.

        :raises EngineError: if TensorRT refuses the size
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
            msg = f'TensorRT refuses batches of {count}; build the engine again.'
            raise EngineError(msg)
        self._contexts.append(context)
        return context

    def upload(self, count: int) -> None:
        """Begin to copy the first images to the GPU."""
        for buffer in self._inputs:
            buffer.upload(count)

    def enqueue(self, context) -> None:
        """
        Begin to run the network.

        :raises EngineError: if TensorRT refuses
        """
        if not context.execute_async_v3(self._cuda.stream):
            msg = 'TensorRT could not start the network.'
            raise EngineError(msg)

    def capture(self, context) -> object:
        """Return a graph of one run of the network."""
        return self._cuda.capture(lambda: self.enqueue(context))

    def launch(self, graph: object) -> None:
        """Begin to run a graph."""
        self._cuda.launch(graph)

    def download(self, count: int) -> None:
        """Begin to copy the first answers from the GPU."""
        for buffer in self._outputs.values():
            buffer.download(count)

    def wait(self) -> None:
        """Wait for all that was begun."""
        self._cuda.wait()

    def close(self) -> None:
        """Let go of the engine: graphs first, which hold memory of contexts, then these."""
        self._cuda.release_graphs()
        self._contexts.clear()
        self._engine = None
