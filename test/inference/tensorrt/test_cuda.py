"""CUDA through cuda-python: why it is unavailable, or, where there is a GPU, that it works."""

import sys
from types import ModuleType, SimpleNamespace

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.tensorrt import cuda as cuda_module
from keypoint_perception.inference.tensorrt.cuda import Cuda
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
    runtime = SimpleNamespace(
        cudaGetDeviceCount=lambda: count,
        cudaGetErrorString=lambda status: (0, b'out of memory'),
    )
    monkeypatch.setattr(cuda_module, '_import_runtime', lambda: runtime)
    with pytest.raises(EngineError, match=f'finds no usable GPU: {reason} it needs an NVIDIA'):
        Cuda()


def test_the_module_of_older_versions_is_found(monkeypatch):
    """Before 12.8, cuda-python had it as ``cuda.cudart``."""
    cudart = ModuleType('cuda.cudart')
    package = ModuleType('cuda')
    package.cudart = cudart
    monkeypatch.setitem(sys.modules, 'cuda', package)
    monkeypatch.setitem(sys.modules, 'cuda.bindings', None)
    monkeypatch.setitem(sys.modules, 'cuda.cudart', cudart)
    assert cuda_module._import_runtime() is cudart


def test_cuda_without_a_driver_is_unavailable():
    """With the real cuda-python, on a machine without a GPU."""
    runtime = pytest.importorskip('cuda.bindings.runtime', reason='cuda-python is not installed')
    status, count = runtime.cudaGetDeviceCount()
    if not int(status) and count:
        pytest.skip('there is a GPU')
    with pytest.raises(EngineError, match=r'cudaGetDeviceCount: .*driver|sees no GPU'):
        Cuda()


@pytest.mark.parametrize(
    ('number', 'version'), [(12060, '12.6'), (11080, '11.8'), (13000, '13.0')]
)
def test_versions_are_read(number, version):
    assert cuda_module._version(number) == version


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
