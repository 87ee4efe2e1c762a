"""
``doctor --gpu``: a report that can be pasted into a bug report.

What can be found out without a GPU is found out first; the check itself runs in a process of its
own and may end wherever it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
import json
import os
from pathlib import Path
import platform
import signal
import subprocess
import sys

from keypoint_perception import __version__
from keypoint_perception.errors import PerceptionError
from keypoint_perception.evaluation.tables import markdown_table

PACKAGES = (
    'numpy',
    'onnx',
    'onnxruntime',
    'onnxruntime-gpu',
    'tensorrt',
    'tensorrt-cu12-bindings',
    'tensorrt-cu13-bindings',
    'cuda-python',
    'cuda-bindings',
    'torch',
)
DRIVER = Path('/proc/driver/nvidia/version')
JETSON = Path('/etc/nv_tegra_release')
SYSTEM = Path('/etc/os-release')
SMI = (
    'nvidia-smi',
    '--query-gpu=name,driver_version,memory.total,compute_cap',
    '--format=csv,noheader',
)
SMI_PATIENCE_S = 20
# Longer than builds for a handful of precisions on a small Jetson.
CHECK_PATIENCE_S = 3600
CHECK = (sys.executable, '-m', 'keypoint_perception.inference.gpu_check')

Row = tuple[str, str]


def gpu_report(model: Path | None, *, max_batch: int, as_json: bool) -> None:
    """
    Print what this machine has and how the check went.

    :raises PerceptionError: if a step failed or could not begin, after all was printed
    """
    machine = [*software(), *hardware()]
    steps = run_check(model, max_batch)
    if as_json:
        found = {'machine': dict(machine), 'steps': steps}
        print(json.dumps(found | {'ok': bool(steps) and fault(steps) == ''}, indent=2))
    else:
        rows = [*machine, *((s['name'], f'{s["state"]}: {s["found"]}') for s in steps)]
        print('### `doctor --gpu`\n')
        print(markdown_table(('', ''), rows, align=False))
    reason = fault(steps)
    if reason:
        raise PerceptionError(reason)


def software() -> Iterator[Row]:
    """Yield the versions of what takes part."""
    yield 'keypoint_perception', __version__
    yield 'system', f'{system_name()}, {platform.platform()}'
    yield 'python', platform.python_version()
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def hardware() -> Iterator[Row]:
    """Yield what is known of the GPU without using it."""
    yield 'processor', f'{platform.machine()}, {os.cpu_count()} cores'
    if JETSON.is_file():
        yield 'Jetson', first_line(JETSON)
    yield 'driver', first_line(DRIVER) if DRIVER.is_file() else f'none ({DRIVER} does not exist)'
    yield 'nvidia-smi', ask_smi()
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible is not None:
        yield 'CUDA_VISIBLE_DEVICES', repr(visible)


def system_name() -> str:
    """Return the distribution's own name."""
    try:
        lines = SYSTEM.read_text().splitlines()
    except OSError:
        return platform.system()
    names = [line.split('=', 1)[1].strip('"') for line in lines if line.startswith('PRETTY_NAME=')]
    return names[0] if names else platform.system()


def ask_smi() -> str:
    """Return name, driver, memory and compute capability of each GPU, or why they are unknown."""
    try:
        done = subprocess.run(
            SMI, capture_output=True, text=True, timeout=SMI_PATIENCE_S, check=False
        )
    except FileNotFoundError:
        return 'not installed'
    except subprocess.TimeoutExpired:
        return f'no answer within {SMI_PATIENCE_S} s'
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        return f'failed: {said[0] if said else done.returncode}'
    return '; '.join(done.stdout.strip().splitlines()) or 'no GPU'


def run_check(
    model: Path | None, max_batch: int, command: tuple[str, ...] = CHECK
) -> list[dict[str, object]]:
    """
    Run the check in a process of its own; its log goes to stderr.

    :return: its steps; if it ends otherwise than by itself, how, as the last one
    """
    arguments = ['-' if model is None else str(model), str(max_batch)]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        said, _ = process.communicate(timeout=CHECK_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        ended = f'no end within {CHECK_PATIENCE_S} s'
    else:
        ended = how_it_ended(process.returncode)
    steps = [json.loads(line) for line in said.splitlines() if line.startswith('{')]
    if ended:
        last = steps[-1]['name'] if steps else 'nothing'
        found = f'{ended}, after: {last}'
        steps.append({'name': 'check', 'state': 'failed', 'found': found, 'facts': {}})
    return steps


def how_it_ended(code: int) -> str:
    """Return in words what an exit status means, empty for what the check itself says."""
    if code < 0:
        return f'ended by {signal.Signals(-code).name}, as broken libraries do'
    return '' if code in (0, 2) else f'ended with status {code}'


def fault(steps: list[dict]) -> str:
    """Return the sentence about what failed, empty if nothing did."""
    failed = [f'{s["name"]}: {str(s["found"]).rstrip(".")}' for s in steps if s['state'] != 'ok']
    if failed:
        return f'The GPU check did not come through: {"; ".join(failed)}.'
    return '' if steps else 'The GPU check did not begin.'


def first_line(path: Path) -> str:
    """Return the first line of a file, or why it cannot be read."""
    try:
        return path.read_text(errors='replace').splitlines()[0].strip()
    except (OSError, IndexError) as error:
        return f'unknown ({error})'
