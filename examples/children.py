"""Child processes that are started, monitored and always stopped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import json
import logging
import os
from pathlib import Path
import queue
import signal
import subprocess
import sys
import threading
import time

from keypoint_perception.errors import PerceptionError
from keypoint_perception.ros.end_with_launch import end_with_parent

ROOT = Path(__file__).parents[1]
PROFILE = ROOT / 'config' / 'fastdds_large_images.xml'
_PATIENCE_S = 5.0


class StepError(PerceptionError):
    """A process of the demo or of an example failed."""


def environment(out: Path) -> dict[str, str]:
    """
    Return the environment for all ROS child processes.

    A separate domain keeps them from reaching robots and other demos.
    """
    chosen = {
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(PROFILE),
        'FASTDDS_DEFAULT_PROFILES_FILE': str(PROFILE),
        'PYTHONPATH': os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])),
        'PYTHONUNBUFFERED': '1',
        'ROS_LOG_DIR': str(out / 'ros_log'),
    }
    defaults = {
        # The ROS wheels have the layout of a ROS installation.
        'AMENT_PREFIX_PATH': sys.prefix,
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
    }
    return defaults | dict(os.environ) | chosen


# Called in every child process before anything else.
_end_with_parent = partial(end_with_parent, signal.SIGTERM)


def run_program(work: Callable[[], None]) -> None:
    """Run a program's work; however it ends, its child processes end with it."""
    logging.basicConfig(format='%(message)s')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        work()
    except PerceptionError as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error


def run_verb(env: dict[str, str], *arguments: str) -> None:
    """Run a verb of the package as a user would, with its output shown."""
    command = [sys.executable, '-m', 'keypoint_perception', *arguments]
    code = subprocess.run(command, env=env, check=False, preexec_fn=_end_with_parent).returncode
    if code:
        raise SystemExit(code)


class Child:
    """
    A process that reports events on stdout, one JSON object per line.

    :param log: file for its stderr; None = inherit
    """

    def __init__(self, name: str, module: str, arguments: list[str], env: dict, log: Path | None):
        self.name = name
        self.log = log
        self._lines: queue.Queue[str] = queue.Queue()
        stderr = None if log is None else log.open('w')
        self.process = subprocess.Popen(
            [sys.executable, '-m', module, *arguments],
            cwd=Path.cwd(),
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            preexec_fn=_end_with_parent,
        )
        if stderr is not None:
            stderr.close()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)

    def wait_for(self, event: str, *, others: list[Child], patience_s: float) -> dict:
        """
        Wait for an event and return its report.

        :param others: processes that the event depends on
        :raises StepError: if one of the processes ends first, or on timeout
        """
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                report = json.loads(self._lines.get(timeout=0.2))
            except queue.Empty:
                for child in others:
                    child.check_running()
                if self.process.poll() is not None:
                    self._listener.join()
                    if self._lines.empty():
                        self.check_running()
            except json.JSONDecodeError:
                continue  # not a report
            else:
                if report.get('event') == event:
                    return report
        msg = (
            f'{self.name} did not report {event!r} within {patience_s:.0f} s; see the logs in the '
            'output directory.'
        )
        raise StepError(msg)

    def wait_to_end(self, *, others: list[Child], patience_s: float) -> None:
        """
        Wait until the process has finished.

        :param others: processes that it depends on
        :raises StepError: if it fails, one of the others ends first, or on timeout
        """
        deadline = time.monotonic() + patience_s
        while self.process.poll() is None:
            for child in others:
                child.check_running()
            if time.monotonic() > deadline:
                msg = (
                    f'{self.name} did not finish within {patience_s:.0f} s; see its output above.'
                )
                raise StepError(msg)
            time.sleep(0.2)
        if self.process.returncode:
            self.check_running()

    def check_running(self) -> None:
        """
        Check that the process is running.

        :raises StepError: with the end of its log, if it has ended
        """
        code = self.process.poll()
        if code is None:
            return
        words = '' if self.log is None else ' '.join(last_lines(self.log))
        msg = f'{self.name} ended with exit code {code}: {words or "see above"}'
        raise StepError(msg)

    def tell(self, line: str) -> None:
        """Write a line to the process's stdin."""
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def end(self) -> None:
        """Stop the process, with increasingly strong signals."""
        self.process.stdin.close()
        for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is not None:
                break
            self.process.send_signal(stop)
            try:
                self.process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                continue
        self._listener.join()
        self.process.stdout.close()


class Children:
    """The running processes; leaving the context stops them all."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env
        self._started: list[Child] = []

    def start(
        self, name: str, module: str, arguments: list[str], *, log: Path | None = None
    ) -> Child:
        """Start ``python -m module arguments``."""
        child = Child(name, module, arguments, self._env, log)
        self._started.append(child)
        return child

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *reason) -> None:
        for child in reversed(self._started):
            child.end()


def last_lines(path: Path, count: int = 3) -> list[str]:
    """Return the last non-empty lines of a log."""
    lines = [line.strip() for line in path.read_text(errors='replace').splitlines()]
    return [line for line in lines if line][-count:]
