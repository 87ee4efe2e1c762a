"""CUDA through cuda-python: why it is unavailable, or, where there is a GPU, that it works."""

import sys
from types import ModuleType, SimpleNamespace

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.tensorrt.cuda import Cuda, Gpu
import numpy as np
import pytest


@pytest.fixture
def cuda():
    """Return a real GPU."""
    try:
        opened = Cuda()
    except EngineError as error:
        pytest.skip(f'no GPU: {error}')
    yield opened
    opened.close()


def pretend(monkeypatch, place, **functions):
    """Pretend a cuda-python whose runtime is at a place, with a GPU unless functions differ."""
    runtime = ModuleType(place)
    properties = SimpleNamespace(
        name=b'Orin\0', major=8, minor=7, multiProcessorCount=16, totalGlobalMem=8 << 30
    )
    functions = {
        'cudaGetDeviceCount': lambda: (0, 1),
        'cudaGetErrorString': lambda status: (0, b'out of memory'),
        'cudaSetDevice': lambda device: (0,),
        'cudaRuntimeGetVersion': lambda: (0, 12060),
        'cudaDriverGetVersion': lambda: (0, 13100),
        'cudaGetDeviceProperties': lambda device: (0, properties),
        'cudaStreamCreateWithFlags': lambda flags: (0, 77),
        'cudaStreamNonBlocking': 1,
    } | functions
    for name, function in functions.items():
        setattr(runtime, name, function)
    for name in ('cuda', 'cuda.bindings', 'cuda.bindings.runtime', 'cuda.cudart'):
        monkeypatch.setitem(sys.modules, name, None)
    *parents, _ = place.split('.')
    for count in range(len(parents)):
        package = '.'.join(parents[: count + 1])
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    setattr(sys.modules['.'.join(parents)], place.split('.')[-1], runtime)
    monkeypatch.setitem(sys.modules, place, runtime)


def test_a_missing_library_is_reported(monkeypatch):
    for name in ('cuda', 'cuda.bindings'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r'no usable GPU: cuda-python is not installed .*; it n'):
        Cuda()


@pytest.mark.parametrize(
    ('count', 'reason'),
    [((2, 0), 'cudaGetDeviceCount: out of memory;'), ((0, 0), 'cuda-python sees no GPU;')],
)
def test_a_gpu_that_cannot_be_used_is_reported(monkeypatch, count, reason):
    pretend(monkeypatch, 'cuda.bindings.runtime', cudaGetDeviceCount=lambda: count)
    with pytest.raises(EngineError, match=f'finds no usable GPU: {reason} it needs an NVIDIA'):
        Cuda()


# cudart is its place before cuda-python 12.8
@pytest.mark.parametrize('place', ['cuda.bindings.runtime', 'cuda.cudart'])
def test_the_gpu_of_either_place_is_described(monkeypatch, place):
    pretend(monkeypatch, place)
    cuda = Cuda()
    assert cuda.gpu == Gpu('Orin', '8.7', 16, 8 << 30, '13.10 (driver), 12.6')
    assert cuda.library == 'cuda-python for CUDA 12.6'
    assert cuda.stream == 77


def test_cuda_without_a_driver_is_unavailable():
    """With the real cuda-python, on a machine without a GPU."""
    runtime = pytest.importorskip('cuda.bindings.runtime', reason='cuda-python is not installed')
    status, count = runtime.cudaGetDeviceCount()
    if not int(status) and count:
        pytest.skip('there is a GPU')
    with pytest.raises(EngineError, match=r'cudaGetDeviceCount: .*driver|sees no GPU'):
        Cuda()


def test_rows_go_to_the_gpu_and_come_back(cuda):
    buffer = cuda.buffer((3, 4), np.dtype(np.float32))
    assert buffer.host.shape == (3, 4)
    assert not buffer.host.any()
    buffer.host[...] = np.arange(12).reshape(3, 4)
    buffer.upload(2)
    cuda.wait()
    buffer.host[...] = -1
    buffer.download(3)
    cuda.wait()
    np.testing.assert_array_equal(buffer.host[:2], np.arange(8).reshape(2, 4))


def test_a_graph_repeats_what_was_captured(cuda):
    buffer = cuda.buffer((2, 3), np.dtype(np.uint8))
    buffer.host[...] = 7
    buffer.upload(2)
    cuda.wait()
    graph = cuda.capture(lambda: buffer.download(2))
    for value in (0, 1):
        buffer.host[...] = value
        cuda.launch(graph)
        cuda.wait()
        assert (buffer.host == 7).all()


def test_the_gpu_describes_itself(cuda):
    assert cuda.gpu.name
    assert cuda.gpu.capability.count('.') == 1
    assert cuda.gpu.multiprocessors > 0
    used, total = cuda.memory()
    assert 0 < used <= total
