"""
The checks of ``doctor``.

Heavy libraries are imported in subprocesses, so that a broken one cannot crash the doctor, which
itself needs only the base installation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import util
import json
import os
from pathlib import Path
import platform
from shlex import quote
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

OK, MISSING, WARNING, BROKEN = 'ok', 'missing', 'warning', 'broken'
OLDEST_PYTHON = (3, 10)
MIN_SHM_BYTES = 256 << 20
PROBE_TIMEOUT_S = 120

Answer = dict[str, Any]


class Finding(NamedTuple):
    """The result of one check: ``ok``, ``missing`` (an extra), ``warning`` or ``broken``."""

    part: str
    name: str
    state: str
    found: str
    remedy: str = ''


class Library(NamedTuple):
    """
    A library and how to check it.

    :param part: the part of the package that needs it
    :param probe: expression that a subprocess evaluates after the import, as ``m``; empty: do not
        import it, only look up its version
    """

    part: str
    module: str
    distribution: str
    probe: str = ''
    remedy: str = ''

    @property
    def how_to_get(self) -> str:
        return self.remedy or f'`pip install {self.distribution}`'


ROS_REMEDY = (
    '`source /opt/ros/jazzy/setup.bash`, or without ROS '
    "`pip install 'ros-rclpy[fastrtps]==7.1.6' ros-jazzy-sensor-msgs ros-jazzy-diagnostic-msgs`"
)
# Repeats the choices of `precision: auto` in learning/training_loop.py.
TORCH_PROBE = (
    "{'version': m.__version__, 'threads': m.get_num_threads(), "
    "'device': 'cuda: ' + m.cuda.get_device_name(0) if m.cuda.is_available() else 'cpu', "
    "'precision': ('bf16' if m.cuda.is_bf16_supported() else 'fp16') if m.cuda.is_available() "
    "else 'bf16 (AMX)' if getattr(m.cpu, '_is_amx_tile_supported', lambda: False)() else 'fp32'}"
)
ONNXRUNTIME_PROBE = "{'version': m.__version__, 'device': ', '.join(m.get_available_providers())}"
VERSION_PROBE = "{'version': m.__version__}"
IMPORT_PROBE = '{}'
PROBE = 'import json, {0.module} as m; print(json.dumps({0.probe}))'

LIBRARIES = (
    Library('base', 'numpy', 'numpy', VERSION_PROBE),
    Library('base', 'cv2', 'opencv-python-headless', VERSION_PROBE),
    Library('base', 'yaml', 'pyyaml'),
    Library('base', 'typer', 'typer'),
    Library('base', 'rich', 'rich'),
    Library('recordings', 'rosbags', 'rosbags'),
    Library('recorder', 'mcap', 'mcap'),
    Library('engine', 'onnxruntime', 'onnxruntime', ONNXRUNTIME_PROBE),
    Library('engine', 'tensorrt', 'tensorrt', VERSION_PROBE,
            'on a Jetson: JetPack; else `pip install tensorrt`'),
    Library('training', 'torch', 'torch', TORCH_PROBE),
    Library('training', 'lightning_fabric', 'lightning-fabric'),
    Library('training', 'safetensors', 'safetensors'),
    Library('training', 'tensorboard', 'tensorboard'),
    Library('training', 'onnx', 'onnx'),
    Library('ros', 'rclpy', 'rclpy', IMPORT_PROBE, ROS_REMEDY),
    Library('ros', 'sensor_msgs', 'sensor_msgs', IMPORT_PROBE, ROS_REMEDY),
    Library('ros', 'diagnostic_msgs', 'diagnostic_msgs', IMPORT_PROBE, ROS_REMEDY),
    Library('ros', 'lifecycle_msgs', 'lifecycle_msgs', IMPORT_PROBE, ROS_REMEDY),
    Library('ros', 'launch_ros', 'launch_ros',
            remedy='only with a ROS installation: `apt install ros-jazzy-ros2launch`'),
)  # fmt: skip


def diagnose() -> Iterator[Finding]:
    """Yield the results of all checks of this machine."""
    yield python_version()
    answers = probe([lib for lib in LIBRARIES if lib.probe and is_installed(lib.module)])
    for library in LIBRARIES:
        yield library_state(library, answers)
    yield engine_cache()
    yield from middleware()
    yield from shared_memory()
    yield torch_device(answers.get('torch'))


def python_version() -> Finding:
    """Check the version of Python."""
    found = f'{platform.python_version()} at {sys.executable}'
    old = sys.version_info[:2] < OLDEST_PYTHON
    result = (BROKEN, found, 'install Python 3.10 or newer') if old else (OK, found)
    return Finding('base', 'python', *result)


def is_installed(module: str) -> bool:
    """Return whether a module is installed, without importing it."""
    try:
        return util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def probe(libraries: Sequence[Library]) -> dict[str, Answer]:
    """
    Import libraries in parallel, each in its own subprocess.

    :return: the results of the probes by module, with the key ``error`` if the import failed
    """
    running = {
        lib.module: subprocess.Popen(
            (sys.executable, '-W', 'ignore', '-c', PROBE.format(lib)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for lib in libraries
    }
    return {module: _answer(process) for module, process in running.items()}


def _answer(process: subprocess.Popen[str]) -> Answer:
    try:
        output, errors = process.communicate(timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {'error': f'the import took longer than {PROBE_TIMEOUT_S} s'}
    if process.returncode:
        lines = errors.strip().splitlines() or [f'exit code {process.returncode}']
        return {'error': lines[-1]}
    answer: Answer = json.loads(output.splitlines()[-1])
    return answer


def library_state(library: Library, answers: dict[str, Answer]) -> Finding:
    """Check a library; a missing one is broken only if it belongs to the base installation."""
    from importlib import metadata  # slow to import

    part, module, remedy = library.part, library.module, library.how_to_get
    if not is_installed(module):
        state = BROKEN if part == 'base' else MISSING
        return Finding(part, module, state, 'not installed', remedy)
    answer = answers.get(module, {})
    if 'error' in answer:
        return Finding(part, module, BROKEN, answer['error'], f'reinstall it: {remedy}')
    try:
        version = answer.get('version') or metadata.version(library.distribution)
    except metadata.PackageNotFoundError:
        version = 'installed'
    return Finding(part, module, OK, version)


def engine_cache() -> Finding:
    """Check the cache of compiled engines."""
    from keypoint_perception.errors import EngineError
    from keypoint_perception.inference import engine_cache

    try:
        cache = engine_cache.EngineCache()
    except EngineError as error:
        return Finding('engine', 'engine cache', WARNING, str(error))
    path, fault = cache.path, cache.folder.fault()
    if fault:
        variable = engine_cache.CACHE_VARIABLE
        remedy = f'`chmod 700 {quote(str(path))}`, or set {variable} to a folder of your own'
        return Finding('engine', 'engine cache', WARNING, f'{path} is not used: {fault}', remedy)
    sizes = cache.folder.sizes()
    engines = sum(name.endswith(engine_cache.PLAN_SUFFIX) for name in sizes)
    mebibytes = sum(size for size, _ in sizes.values()) / 2**20
    found = f'{engines} engines, {mebibytes:.1f} MiB with all other files, in {path}'
    return Finding('engine', 'engine cache', OK, found)


def torch_device(answer: Answer | None) -> Finding:
    """Return the device and precision that training will use."""
    if answer is None or 'error' in answer:
        return Finding('will be used', 'training device', MISSING, 'none: torch is not available')
    device = answer['device']
    if device == 'cpu':
        device = f'CPU with {answer["threads"]} threads, because torch sees no CUDA device'
    return Finding('will be used', 'training device', OK, f'{device}; {answer["precision"]}')


def middleware() -> Iterator[Finding]:
    """Check the environment of ROS and its middleware."""
    prefix = os.environ.get('AMENT_PREFIX_PATH', '')
    if prefix:
        yield Finding('ros', 'AMENT_PREFIX_PATH', OK, prefix)
    else:
        remedy = 'source a ROS installation; with ROS from wheels the node sets it itself'
        yield Finding('ros', 'AMENT_PREFIX_PATH', WARNING, 'not set', remedy)
    implementation = os.environ.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp (the default)')
    yield Finding('ros', 'RMW_IMPLEMENTATION', OK, implementation)
    if 'fastrtps' in implementation:
        yield dds_profile()


def dds_profile() -> Finding:
    """Check the Fast DDS profile that reserves shared memory for images."""
    from keypoint_perception.ros.installation import DDS_PROFILE, dds_profile_in_use, shipped_file

    shipped = shipped_file('config', DDS_PROFILE)
    remedy = (
        f'`export FASTRTPS_DEFAULT_PROFILES_FILE={quote(str(shipped.absolute()))}` before '
        'starting the camera and the node; without it, images above 0.5 MB are lost'
    )
    in_use = dds_profile_in_use()
    if not shipped.is_file() and not in_use:
        return Finding('ros', 'DDS profile', MISSING, f'{shipped} not found', 'install again')
    if not in_use:
        return Finding('ros', 'DDS profile', WARNING, 'not set in this shell', remedy)
    if not Path(in_use).is_file():
        return Finding('ros', 'DDS profile', BROKEN, f'{in_use} does not exist', remedy)
    return Finding('ros', 'DDS profile', OK, in_use)


def shared_memory(path: str = '/dev/shm') -> Iterator[Finding]:
    """Check the free shared memory, if the system has any."""
    if not Path(path).is_dir():
        return
    usage = shutil.disk_usage(path)
    found = f'{usage.free / 2**20:.0f} MiB free of {usage.total / 2**20:.0f}'
    if usage.free >= MIN_SHM_BYTES:
        yield Finding('ros', path, OK, found)
        return
    remedy = 'in Docker: `--shm-size=1g`, or `--ipc=host` to reach nodes outside the container'
    yield Finding('ros', path, WARNING, found, remedy)
