"""CUDA by either library: what is missing is said; where there is a GPU, it is used for real."""

import sys

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.tensorrt import cuda_python, cuda_torch
from keypoint_perception.inference.tensorrt.cuda_memory import open_cuda, UnavailableError
import numpy as np
import pytest

KINDS = (cuda_torch.CudaTorch, cuda_python.CudaPython)


@pytest.fixture(params=KINDS)
def cuda(request):
    """Return a real GPU."""
    try:
        opened = request.param()
    except UnavailableError as error:
        pytest.skip(f'no GPU: {error}')
    yield opened
    opened.close()


def test_what_each_library_lacks_is_said_once(monkeypatch):
    for name in ('torch', 'cuda', 'cuda.bindings'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r'torch is not installed .*; cuda-python is not inst'):
        open_cuda()


def test_a_library_that_fails_gives_the_next_its_turn(monkeypatch):
    def broken(_):
        raise RuntimeError('CUDA error: out of memory\nmore')

    for kind in KINDS:
        monkeypatch.setattr(kind, '__init__', broken)
    twice = 'CUDA error: out of memory; CUDA error: out of memory; it needs'
    with pytest.raises(EngineError, match=twice):
        open_cuda()
    monkeypatch.setattr(cuda_python.CudaPython, '__init__', lambda self: None)
    assert isinstance(open_cuda(), cuda_python.CudaPython)


def test_cuda_without_a_driver_is_unavailable():
    """With the real cuda-python, on a machine without a GPU."""
    runtime = pytest.importorskip('cuda.bindings.runtime', reason='cuda-python is not installed')
    status, count = runtime.cudaGetDeviceCount()
    if not int(status) and count:
        pytest.skip('there is a GPU')
    with pytest.raises(UnavailableError, match=r'cudaGetDeviceCount: .*driver|sees no GPU'):
        cuda_python.CudaPython()


@pytest.mark.parametrize(
    ('number', 'version'), [(12060, '12.6'), (11080, '11.8'), (13000, '13.0')]
)
def test_versions_are_read(number, version):
    assert cuda_python._version(number) == version


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
    assert not buffer.host[2].any()  # it was not sent, and began at zero


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


def test_the_gpu_says_what_it_is(cuda):
    assert cuda.gpu.name
    assert cuda.gpu.capability.count('.') == 1
    assert cuda.gpu.multiprocessors > 0
    used, total = cuda.memory()
    assert 0 < used <= total
