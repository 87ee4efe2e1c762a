"""
``doctor --gpu``: a check of the GPU to paste into a bug report.

The machine is described first; the check itself runs in a subprocess, which may crash.
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
from typing import Any

from keypoint_perception import __version__
from keypoint_perception.errors import PerceptionError
from keypoint_perception.evaluation.tables import markdown_table

PACKAGES = (
    *('numpy', 'onnx', 'onnxruntime', 'onnxruntime-gpu', 'cuda-python', 'cuda-bindings', 'torch'),
    *('tensorrt', 'tensorrt-cu12-bindings', 'tensorrt-cu13-bindings'),
)
DRIVER = Path('/proc/driver/nvidia/version')
JETSON = Path('/etc/nv_tegra_release')
SMI_QUERY = '--query-gpu=name,driver_version,memory.total,compute_cap'
SMI = ('nvidia-smi', SMI_QUERY, '--format=csv,noheader')
SMI_TIMEOUT_S = 20
# Longer than builds for several precisions on a small Jetson.
CHECK_TIMEOUT_S = 3600
CHECK = (sys.executable, '-m', 'keypoint_perception.inference.gpu_check')

Row = tuple[str, str]
Step = dict[str, Any]


def gpu_report(model: Path | None, *, max_batch: int, as_json: bool) -> None:
    """
    Print a description of the machine and the results of the check.

    :raises PerceptionError: after printing, if a step failed or none was run
    """
    machine = [*software(), *hardware()]
    steps = run_check(model, max_batch)
    reason = fault(steps)
    if as_json:
        print(json.dumps({'machine': dict(machine), 'steps': steps, 'ok': not reason}, indent=2))
    else:
        rows = [*machine, *((s['name'], f'{s["state"]}: {s["found"]}') for s in steps)]
        print('### `doctor --gpu`\n')
        print(markdown_table(('', ''), rows, align=False))
    if reason:
        raise PerceptionError(reason)


def software() -> Iterator[Row]:
    """Yield the versions of the relevant software."""
    yield 'keypoint_perception', __version__
    try:
        system = platform.freedesktop_os_release()['PRETTY_NAME']
    except OSError:
        system = platform.system()
    yield 'system', f'{system}, {platform.platform()}'
    yield 'python', platform.python_version()
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def hardware() -> Iterator[Row]:
    """Yield what can be found out about the GPU without using it."""
    yield 'processor', f'{platform.machine()}, {os.cpu_count()} cores'
    if JETSON.is_file():
        yield 'Jetson', first_line(JETSON)
    yield 'driver', first_line(DRIVER) if DRIVER.is_file() else f'none ({DRIVER} does not exist)'
    yield 'nvidia-smi', query_smi()
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible is not None:
        yield 'CUDA_VISIBLE_DEVICES', repr(visible)


def query_smi() -> str:
    """Return name, driver, memory and compute capability of each GPU, or the reason for none."""
    try:
        done = subprocess.run(
            SMI, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        return 'not installed'
    except subprocess.TimeoutExpired:
        return f'no response within {SMI_TIMEOUT_S} s'
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        return f'failed: {lines[0] if lines else done.returncode}'
    return '; '.join(done.stdout.strip().splitlines()) or 'no GPU'


def run_check(model: Path | None, max_batch: int, command: tuple[str, ...] = CHECK) -> list[Step]:
    """Return the steps of the check; a crash or timeout is a failed step."""
    arguments = ['-' if model is None else str(model), str(max_batch)]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        output, _ = process.communicate(timeout=CHECK_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        ended = f'not finished within {CHECK_TIMEOUT_S} s'
    else:
        code = process.returncode
        ended = '' if code in (0, 2) else f'exited with status {code}'
        if code < 0:
            ended = f'killed by {signal.Signals(-code).name}, a sign of a broken library'
    steps = [json.loads(line) for line in output.splitlines() if line.startswith('{')]
    if ended:
        last = steps[-1]['name'] if steps else 'none'
        found = f'{ended}, after step: {last}'
        steps.append({'name': 'check', 'state': 'failed', 'found': found, 'facts': {}})
    return steps


def fault(steps: list[Step]) -> str:
    """Return a sentence about the failed steps, empty if there are none."""
    failed = [f'{s["name"]}: {str(s["found"]).rstrip(".")}' for s in steps if s['state'] != 'ok']
    if failed:
        return f'The GPU check failed: {"; ".join(failed)}.'
    return '' if steps else 'The GPU check did not start.'


def first_line(path: Path) -> str:
    """Return the first line of a file, or why it cannot be read."""
    try:
        return path.read_text(errors='replace').splitlines()[0].strip()
    except (OSError, IndexError) as error:
        return f'unknown ({error})'
