"""
The names and signatures of TensorRT and CUDA that are used, against the libraries' own bindings.

TensorRT cannot be run without a GPU, and its bindings cannot even be loaded without its libraries.
But the bindings know their signatures: with empty libraries of the same names they load. The table
is compared with an installed ``tensorrt`` and with every folder in ``TENSORRT_BINDINGS`` (paths
with colons between), as made by::

    pip install --no-deps --target DIR tensorrt-cu12-bindings==10.3.0
"""

import ast
import importlib.util
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

import pytest

PACKAGE = Path(__file__).parents[3] / 'keypoint_perception'
# What is called, with the arguments' and the answer's types.
METHODS = {
    'Builder.__init__': '(logger: ILogger) -> None',
    'Builder.create_network': '(flags: int = 0) -> INetworkDefinition',
    'Builder.create_builder_config': '() -> IBuilderConfig',
    'Builder.create_optimization_profile': '() -> IOptimizationProfile',
    'Builder.build_serialized_network': (
        '(network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory'
    ),
    'OnnxParser.__init__': '(network: INetworkDefinition, logger: ILogger) -> None',
    'OnnxParser.parse': '(model: buffer, path: str = None) -> bool',
    'OnnxParser.get_error': '(index: int) -> nvonnxparser::IParserError',
    'ParserError.desc': '() -> str',
    'INetworkDefinition.get_input': '(index: int) -> ITensor',
    'IBuilderConfig.set_memory_pool_limit': '(pool: MemoryPoolType, pool_size: int) -> None',
    'IBuilderConfig.clear_flag': '(flag: BuilderFlag) -> None',
    'IBuilderConfig.create_timing_cache': '(serialized_timing_cache: buffer) -> ITimingCache',
    'IBuilderConfig.set_timing_cache': '(cache: ITimingCache, ignore_mismatch: bool) -> bool',
    'IBuilderConfig.get_timing_cache': '() -> ITimingCache',
    'IBuilderConfig.add_optimization_profile': '(profile: IOptimizationProfile) -> int',
    'IOptimizationProfile.set_shape': '(input: str, min: Dims, opt: Dims, max: Dims) -> None',
    'ITimingCache.serialize': '() -> IHostMemory',
    'Runtime.__init__': '(logger: ILogger) -> None',
    'Runtime.deserialize_cuda_engine': '(serialized_engine: buffer) -> ICudaEngine',
    'ICudaEngine.create_execution_context': (
        '(strategy: ExecutionContextAllocationStrategy = '
        '<ExecutionContextAllocationStrategy.STATIC: 0>) -> IExecutionContext'
    ),
    'ICudaEngine.get_tensor_name': '(index: int) -> str',
    'ICudaEngine.get_tensor_mode': '(name: str) -> TensorIOMode',
    'ICudaEngine.get_tensor_dtype': '(name: str) -> DataType',
    'ICudaEngine.get_tensor_shape': '(name: str) -> Dims',
    'IExecutionContext.set_input_shape': '(name: str, shape: tuple) -> bool',
    'IExecutionContext.set_tensor_address': '(name: str, memory: int) -> bool',
    'IExecutionContext.infer_shapes': '() -> list[str]',
    'IExecutionContext.execute_async_v3': '(stream_handle: int) -> bool',
    # what TensorRT calls of ours
    'ILogger.__init__': '() -> None',
    'ILogger.log': '(severity: Severity, msg: str) -> None',
    'IProgressMonitor.__init__': '() -> None',
    'IProgressMonitor.phase_start': (
        '(phase_name: str, parent_phase: str, num_steps: int) -> None'
    ),
    'IProgressMonitor.step_complete': '(phase_name: str, step: int) -> bool',
    'IProgressMonitor.phase_finish': '(phase_name: str) -> None',
}
READ = (
    'OnnxParser.num_errors',
    'INetworkDefinition.num_inputs',
    'ITensor.name',
    'ITensor.shape',
    'ICudaEngine.num_io_tensors',
)
WRITTEN = ('IBuilderConfig.builder_optimization_level', 'IBuilderConfig.progress_monitor')
MEMBERS = (
    'NetworkDefinitionCreationFlag.STRONGLY_TYPED',
    'MemoryPoolType.WORKSPACE',
    'BuilderFlag.TF32',
    'TensorIOMode.INPUT',
    'DataType.FLOAT',
    'DataType.UINT8',
    'ILogger.Severity.INTERNAL_ERROR',
    'ILogger.Severity.ERROR',
    'ILogger.Severity.VERBOSE',
)
CUDA = {
    'cudaGetDeviceCount': '()',
    'cudaSetDevice': '(int device)',
    'cudaGetDeviceProperties': '(int device)',
    'cudaDriverGetVersion': '()',
    'cudaRuntimeGetVersion': '()',
    'cudaGetErrorString': '(error: cudaError_t)',
    'cudaStreamCreateWithFlags': '(unsigned int flags)',
    'cudaStreamSynchronize': '(stream)',
    'cudaStreamDestroy': '(stream)',
    'cudaStreamBeginCapture': '(stream, mode: cudaStreamCaptureMode)',
    'cudaStreamEndCapture': '(stream)',
    'cudaGraphInstantiate': '(graph, unsigned long long flags)',
    'cudaGraphLaunch': '(graphExec, stream)',
    'cudaGraphDestroy': '(graph)',
    'cudaGraphExecDestroy': '(graphExec)',
    'cudaMallocHost': '(size_t size)',
    'cudaFreeHost': '(ptr)',
    'cudaMalloc': '(size_t size)',
    'cudaFree': '(devPtr)',
    'cudaMemcpyAsync': '(dst, src, size_t count, kind: cudaMemcpyKind, stream)',
    'cudaMemGetInfo': '()',
}
CUDA_MEMBERS = (
    'cudaStreamNonBlocking',
    'cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal',
    'cudaMemcpyKind.cudaMemcpyHostToDevice',
    'cudaMemcpyKind.cudaMemcpyDeviceToHost',
)

# Every function that the bindings want of TensorRT's libraries, in C.
STUB = """
#define FUNCTION(name) void *name(void) { return (void *)0; }
FUNCTION(createInferBuilder_INTERNAL) FUNCTION(createInferRefitter_INTERNAL)
FUNCTION(createInferRuntime_INTERNAL) FUNCTION(createNvOnnxParserRefitter_INTERNAL)
FUNCTION(createNvOnnxParser_INTERNAL) FUNCTION(getBuilderPluginRegistry)
FUNCTION(getPluginRegistry) FUNCTION(getNvOnnxParserVersion) FUNCTION(initLibNvInferPlugins)
"""
LOAD = """
import ctypes, sys
for library in sys.argv[2:]:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
sys.path.insert(0, sys.argv[1])
try:
    import tensorrt
except ImportError:
    import tensorrt_bindings as tensorrt
    sys.modules['tensorrt'] = tensorrt
"""
ASK = """
import json
def find(name):
    found = tensorrt
    for part in name.split('.'):
        found = getattr(found, part)
    return found
answers = {}
for name in json.load(sys.stdin):
    try:
        found = find(name)
        answers[name] = {
            'doc': found.__doc__ or '',
            'settable': getattr(found, 'fset', None) is not None,
            'name': getattr(found, 'name', ''),
        }
    except AttributeError:
        answers[name] = None
print(json.dumps(answers))
"""
START = """
from keypoint_perception.errors import EngineError
from keypoint_perception.inference.tensorrt import device
from fake_device import FAKE_GPU, FakeCuda
from keypoint_perception.inference.tensorrt.library import make_logger, make_monitor
from keypoint_perception.inference.tensorrt.build_progress import BuildProgress

told = []
monitor = make_monitor(tensorrt, BuildProgress(lambda *what: told.append(what)))
monitor.phase_start('Building', None, 2)
assert monitor.step_complete('Building', 0) is True
assert told == [(0, 1000, 'Building'), (500, 1000, 'Building')], told
def interrupt(*_):
    raise KeyboardInterrupt
progress = BuildProgress(interrupt)
monitor = make_monitor(tensorrt, progress)
monitor.phase_start('Building', None, 2)  # nothing may be raised into the builder
assert monitor.step_complete('Building', 0) is False
assert isinstance(progress.interruption, KeyboardInterrupt)
logger = make_logger(tensorrt)
logger.log(tensorrt.ILogger.Severity.WARNING, 'a warning')
logger.log(tensorrt.ILogger.Severity.ERROR, 'an error')
assert list(logger.errors) == ['an error']
device.Cuda = lambda: FakeCuda(FAKE_GPU)
try:
    device.TensorRTDevice()
except EngineError as error:
    print(error)
"""


def folders():
    """Return where bindings are, empty for the installed ones."""
    named = [part for part in os.environ.get('TENSORRT_BINDINGS', '').split(':') if part]
    installed = importlib.util.find_spec('tensorrt') is not None
    return [*([''] if installed else []), *named]


@pytest.fixture(scope='module', params=folders() or [None])
def bindings(request, tmp_path_factory):
    """Return a function that runs a program with the bindings loaded."""
    if request.param is None:
        pytest.skip('no tensorrt is installed, and TENSORRT_BINDINGS names no folder with one')
    libraries = []
    if not can_load(request.param, libraries):
        compiler = shutil.which('cc')
        if compiler is None:
            pytest.skip('the bindings find no libnvinfer, and there is no cc to make a stand-in')
        libraries = make_libraries(tmp_path_factory.mktemp('stub'), compiler, request.param)

    def run(program, given=''):
        done = call(request.param, libraries, program, given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def call(folder, libraries, program, given=''):
    command = [sys.executable, '-c', LOAD + program, folder, *libraries]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, cwd=PACKAGE.parent
    )


def can_load(folder, libraries):
    return call(folder, libraries, '').returncode == 0


def make_libraries(place, compiler, folder):
    """Return libraries with the names that the bindings ask for."""
    complaint = call(folder, [], '').stderr
    found = re.search(r'lib\w+\.so\.(\d+)', complaint)
    assert found, complaint
    (place / 'stub.c').write_text(STUB)
    made = []
    for name in ('nvinfer', 'nvonnxparser', 'nvinfer_plugin'):
        library = f'lib{name}.so.{found[1]}'
        command = [compiler, '-shared', '-fPIC', f'-Wl,-soname,{library}', 'stub.c', '-o', library]
        subprocess.run(command, cwd=place, check=True)
        made.append(str(place / library))
    return made


@pytest.fixture(scope='module')
def answers(bindings):
    names = [*METHODS, *READ, *WRITTEN, *MEMBERS]
    return json.loads(bindings(ASK, json.dumps(names)).splitlines()[-1])


# pybind11 has changed how it writes types.
SPELLINGS = {
    'typing.SupportsInt': 'int',
    'typing_extensions.Buffer': 'buffer',
    'List[': 'list[',
}


def signatures(name, doc):
    """Return the signatures in a docstring of pybind11, in the words of the table."""
    last = name.rsplit('.', 1)[-1]
    found = re.findall(rf'^(?:\d+\. )?{last}(\(self: .*\) -> .*)$', doc, re.MULTILINE)
    plain = []
    for text in found:
        text = re.sub(r'(?:[a-z_]*tensorrt[a-z_]*\.)+(?:ILogger\.(?=Severity))?', '', text)
        for theirs, ours in SPELLINGS.items():
            text = text.replace(theirs, ours)
        plain.append(re.sub(r'^\(self: \w+(?:, )?', '(', text).strip())
    return plain


def test_what_is_called_has_these_signatures(answers):
    found = {name: signatures(name, (answers[name] or {}).get('doc', '')) for name in METHODS}
    assert {n: f for n, f in found.items() if METHODS[n] not in f} == {}


def test_what_is_read_or_set_exists(answers):
    assert [name for name in (*READ, *WRITTEN, *MEMBERS) if answers[name] is None] == []
    assert [name for name in WRITTEN if not answers[name]['settable']] == []
    kinds = [name for name in MEMBERS if name.startswith('DataType.')]
    assert [answers[name]['name'] for name in kinds] == ['FLOAT', 'UINT8']


def test_our_classes_fit_the_bindings_own(bindings):
    """Real base classes; without libraries, or without a GPU, the start fails in one sentence."""
    said = bindings(START).splitlines()
    if said:
        assert said[-1].startswith('TensorRT 1')
        assert 'cannot be started' in said[-1]


def test_what_is_used_of_cuda_python_has_these_signatures():
    runtime = pytest.importorskip('cuda.bindings.runtime', reason='cuda-python is not installed')
    found = {name: getattr(runtime, name).__doc__.splitlines()[0] for name in CUDA}
    assert found == {name: name + arguments for name, arguments in CUDA.items()}
    for name in CUDA_MEMBERS:
        member = runtime
        for part in name.split('.'):
            member = getattr(member, part)
        assert int(member) >= 0


# Of Python, NumPy and logging.
COMMON = {
    '__init__', '__name__', '__version__', 'append', 'clear', 'debug', 'dtype', 'float32',
    'get', 'getLogger', 'info', 'isdigit', 'items', 'join', 'name', 'ndarray', 'rstrip', 'split',
    'uint8', 'values', 'warning',
}  # fmt: skip


def names_of(tree):
    """Return the names that a file gives to its own functions, classes and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if ast.unparse(node.value) == 'self' else []


def test_the_table_names_all_that_is_used():
    """A call that is new in the files must stand in the table, to be held against the bindings."""
    files = ('device', 'library', 'build_progress', 'cuda')
    folder = PACKAGE / 'inference' / 'tensorrt'
    trees = [ast.parse((folder / f'{name}.py').read_text()) for name in files]
    used = {n.attr for tree in trees[:2] for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    own = {name for tree in trees for name in names_of(tree)}
    listed = {part for name in (*METHODS, *READ, *WRITTEN, *MEMBERS) for part in name.split('.')}
    assert used - own - COMMON - listed == set()
    called = {name.rsplit('.', 1)[-1] for name in (*METHODS, *READ, *WRITTEN)}
    assert called - used - own == set()  # nor is anything listed that is not used


def test_the_table_names_all_that_is_used_of_cuda():
    source = (PACKAGE / 'inference' / 'tensorrt' / 'cuda.py').read_text()
    used = set(re.findall(r'\bcuda[A-Z]\w+', source))
    assert used == {part for name in (*CUDA, *CUDA_MEMBERS) for part in name.split('.')}
