"""Processes of a benchmark: isolated from all robots, sampled, and ended with the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
import json
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any, IO

from keypoint_perception.benchmarks.ros.latency_figures import growth_per_minute
from keypoint_perception.errors import EngineError
from keypoint_perception.ros.end_with_launch import end_with_parent
from keypoint_perception.ros.installation import DDS_PROFILE_VARIABLES

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
Report = dict[str, Any]


class ChildProcess:
    """
    A process of the benchmark that reports in lines of JSON.

    Its methods raise :class:`EngineError` if it has ended too early.
    """

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._name = name
        self._process = process
        self._stdin: IO[str] = process.stdin
        self._stdout: IO[str] = process.stdout

    def wait_for(
        self, event: str, seen: Callable[[Report], object] = lambda report: None
    ) -> Report:
        """Read reports until one of an event; pass the others to ``seen``."""
        for line in self._stdout:
            try:
                report: Report = json.loads(line)
            except json.JSONDecodeError:
                continue
            if report['event'] == event:
                return report
            seen(report)
        raise self._failure()

    def send(self, **message: object) -> None:
        """Send a line of JSON."""
        try:
            self._stdin.write(json.dumps(message) + '\n')
            self._stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def _failure(self) -> EngineError:
        return EngineError(
            f'The benchmark process {self._name} ended with {self._process.wait()} before its '
            'work was done; see the output of the processes above.'
        )

    def cpu_s(self) -> float:
        """Return the CPU time used so far (Linux)."""
        user, system = self._stat()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')

    def memory_mb(self) -> float:
        """Return the resident memory, including pages shared with other processes (Linux)."""
        return int(self._stat()[21]) * os.sysconf('SC_PAGE_SIZE') / 1e6

    def _stat(self) -> list[str]:
        """Return the fields of /proc/PID/stat after the name, that is from the third on."""
        if self._process.poll() is not None:
            raise self._failure()
        text = Path(f'/proc/{self._process.pid}/stat').read_text()
        return text.rpartition(')')[2].split()

    def terminate(self) -> None:
        """Ask the process to end."""
        self._process.terminate()

    def close(self) -> None:
        """Wait for a terminated process; kill it after a timeout."""
        with suppress(BrokenPipeError):  # it left input unread
            self._stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()


class ProcessSamples:
    """CPU time and memory of a process from now on."""

    def __init__(self, process: ChildProcess) -> None:
        self._process = process
        self._started_s = time.monotonic()
        self._cpu_s = process.cpu_s()
        self.seconds: list[float] = []
        self.memory_mb: list[float] = []
        self.add()

    def add(self) -> None:
        """Sample the memory."""
        self.seconds.append(time.monotonic() - self._started_s)
        self.memory_mb.append(self._process.memory_mb())

    @property
    def cpu_s(self) -> float:
        """Return the CPU time used since the start."""
        return round(self._process.cpu_s() - self._cpu_s, 2)

    def memory(self) -> dict[str, float | None]:
        """Return the first and last sample of memory, and its growth in the second half."""
        half = len(self.seconds) // 2
        return {
            'first': round(self.memory_mb[0], 1),
            'last': round(self.memory_mb[-1], 1),
            'growth_per_min': growth_per_minute(self.seconds[half:], self.memory_mb[half:]),
        }


class ChildProcesses:
    """Starts processes that end with the benchmark, whatever ends it."""

    def __init__(self, dds_profile: Path | None) -> None:
        self._environment = isolated_environment(dds_profile)
        self._started: list[ChildProcess] = []

    def start(self, module: str, *arguments: object) -> ChildProcess:
        """Run a module, whose name is given below the package."""
        process = subprocess.Popen(
            [sys.executable, '-m', f'keypoint_perception.{module}', *map(str, arguments)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C goes to the benchmark, which ends its processes
            preexec_fn=partial(end_with_benchmark, os.getpid()),
        )
        self._started.append(ChildProcess(module.rpartition('.')[2], process))
        return self._started[-1]

    def __enter__(self) -> ChildProcesses:
        return self

    def __exit__(self, *reason: object) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.close()


def end_with_benchmark(benchmark_pid: int) -> None:
    """Have the kernel kill this new process with the benchmark, even if that is killed."""
    end_with_parent(signal.SIGKILL)
    if os.getppid() != benchmark_pid:  # it ended before the kernel was told
        os._exit(1)


def isolated_environment(dds_profile: Path | None) -> dict[str, str]:
    """Return an environment whose processes no robot can hear."""
    environment = os.environ | {
        'ROS_DOMAIN_ID': str(random.SystemRandom().randint(1, 101)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    for variable in DDS_PROFILE_VARIABLES:
        environment.pop(variable, None)
        if dds_profile is not None:
            environment[variable] = str(Path(dds_profile).resolve())
    return environment


@contextmanager
def start_timeout(*processes: ChildProcess) -> Iterator[None]:
    """Terminate processes after a timeout, so that whoever waits for their reports fails."""

    def expire() -> None:
        for process in processes:
            process.terminate()

    timer = threading.Timer(START_TIMEOUT_S, expire)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
