"""The processes of the benchmark of the node: started apart from all robots, watched, ended."""

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

from keypoint_perception.benchmarks.latency_figures import growth_per_minute
from keypoint_perception.errors import EngineError
from keypoint_perception.ros.end_with_launch import end_with_parent
from keypoint_perception.ros.installation import DDS_PROFILE_VARIABLES

START_PATIENCE_S = 60.0


class Child:
    """A process of the benchmark, whose reports are lines of JSON among others."""

    def __init__(self, name: str, process: subprocess.Popen) -> None:
        self._name = name
        self._process = process

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._process.pid

    def wait_for(self, event: str, seen: Callable[[dict], None] = lambda report: None) -> dict:
        """
        Read reports until one of an event; give the others to ``seen``.

        :raises EngineError: if the process ends before
        """
        for line in self._process.stdout:
            try:
                report = json.loads(line)
            except json.JSONDecodeError:
                continue
            if report['event'] == event:
                return report
            seen(report)
        return self._fail()

    def tell(self, **message: object) -> None:
        """Send a line of JSON."""
        try:
            self._process.stdin.write(json.dumps(message) + '\n')
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def _fail(self) -> dict:
        msg = (
            f'The process {self._name} of the benchmark ended with {self._process.wait()} before '
            'its work was done; see what the processes said above.'
        )
        raise EngineError(msg)

    def end(self) -> None:
        """Tell the process to end."""
        self._process.terminate()

    def cpu_s(self) -> float:
        """Return the CPU time used so far (Linux)."""
        user, system = self._stat()[11:13]
        return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')

    def memory_mb(self) -> float:
        """Return the memory in use, shared pages of other processes among it (Linux)."""
        return int(self._stat()[21]) * os.sysconf('SC_PAGE_SIZE') / 1e6

    def _stat(self) -> list[str]:
        """Return the fields of /proc/PID/stat behind the name, from the third on."""
        if self._process.poll() is not None:
            self._fail()
        return Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()


class Samples:
    """A process's CPU time and memory, from now on."""

    def __init__(self, process: Child) -> None:
        self._process = process
        self._began_s = time.monotonic()
        self._cpu_s = process.cpu_s()
        self.seconds: list[float] = []
        self.memory_mb: list[float] = []
        self.add()

    def add(self) -> None:
        """Take a sample."""
        self.seconds.append(time.monotonic() - self._began_s)
        self.memory_mb.append(self._process.memory_mb())

    @property
    def cpu_s(self) -> float:
        """Return the CPU time used since the beginning."""
        return round(self._process.cpu_s() - self._cpu_s, 2)

    def memory(self) -> dict:
        """Return the memory at the beginning and the end, and its growth in the second half."""
        half = len(self.seconds) // 2
        return {
            'first': round(self.memory_mb[0], 1),
            'last': round(self.memory_mb[-1], 1),
            'growth_per_min': growth_per_minute(self.seconds[half:], self.memory_mb[half:]),
        }


class Processes:
    """The processes that end with the benchmark, however it ends."""

    def __init__(self, dds_profile: Path | None) -> None:
        self._environment = isolated(dds_profile)
        self._started: list[subprocess.Popen] = []

    def start(self, module: str, *arguments: object) -> Child:
        """Run a module of this room."""
        command = [sys.executable, '-m', f'keypoint_perception.ros.{module}']
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command + [str(argument) for argument in arguments],
            env=self._environment,
            stdin=pipe,
            stdout=pipe,
            text=True,
            start_new_session=True,  # Ctrl-C is for the benchmark, which ends them itself
            preexec_fn=partial(end_with_parent, signal.SIGKILL),
        )
        self._started.append(process)
        return Child(module, process)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *reason: object) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            end(process)


def end(process: subprocess.Popen) -> None:
    """Wait for a process that was told to end; kill it if it does not."""
    with suppress(BrokenPipeError):  # it has ended with words unread
        process.stdin.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def isolated(dds_profile: Path | None) -> dict[str, str]:
    """Return an environment in which no robot hears the benchmark."""
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
def patience(*processes: Child) -> Iterator[None]:
    """End processes that wait for others for too long, so that who waits for them learns it."""
    timer = threading.Timer(START_PATIENCE_S, lambda: [process.end() for process in processes])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
