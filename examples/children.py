"""Processes that are started, watched and, whatever happens, ended."""

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
    """A process of the demo or of an example did not do what it should."""


def environment(out: Path) -> dict[str, str]:
    """
    Return the environment of all ROS processes that are started.

    A domain of their own keeps them from talking to robots, and to other demos.
    """
    chosen = {
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(PROFILE),
        'FASTDDS_DEFAULT_PROFILES_FILE': str(PROFILE),
        'PYTHONPATH': os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])),
        'PYTHONUNBUFFERED': '1',
        'ROS_LOG_DIR': str(out / 'ros_log'),
    }
    defaults = {
        # The ROS wheels are laid out as a ROS installation is.
        'AMENT_PREFIX_PATH': sys.prefix,
        'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
    }
    return defaults | dict(os.environ) | chosen


# Asked of the kernel in each process that is started, before anything else.
_end_with_parent = partial(end_with_parent, signal.SIGTERM)


def run_program(work: Callable[[], None]) -> None:
    """Do the work of a program; whatever stops it, all processes it started end with it."""
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
    """Run a verb of the package, as a user would; its words go to the user."""
    command = [sys.executable, '-m', 'keypoint_perception', *arguments]
    code = subprocess.run(command, env=env, check=False, preexec_fn=_end_with_parent).returncode
    if code:
        raise SystemExit(code)


class Child:
    """
    A process that reports on stdout, one JSON object a line.

    :param log: where what it writes to stderr goes; None = to the user
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
        Return the report of an event.

        :param others: processes without which the event cannot come
        :raises StepError: if one of the processes ends first, or nothing comes in time
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
                continue  # a line that is no report
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
        Wait until the process has done its work and ended.

        :param others: processes without which it cannot do it
        :raises StepError: if it fails, one of the others ends first, or it takes too long
        """
        deadline = time.monotonic() + patience_s
        while self.process.poll() is None:
            for child in others:
                child.check_running()
            if time.monotonic() > deadline:
                msg = f'{self.name} was not done after {patience_s:.0f} s; see its output above.'
                raise StepError(msg)
            time.sleep(0.2)
        if self.process.returncode:
            self.check_running()

    def check_running(self) -> None:
        """
        Check that the process is running.

        :raises StepError: with its own last words, if it has ended
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
        """End the process: kindly, then firmly."""
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
    """The running processes; leaving the context ends them all."""

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
    """Return the last lines of a log that say something."""
    lines = [line.strip() for line in path.read_text(errors='replace').splitlines()]
    return [line for line in lines if line][-count:]
