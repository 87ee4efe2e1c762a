"""Cases in processes of their own, so that a crash, a hang or much memory ends the case alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
import faulthandler
import json
import logging
import os
from pathlib import Path
import resource
import signal
import tempfile
import time
import traceback

LOGGER = 'keypoint_perception'
# The bars of one case.
MOST_SECONDS, MOST_BYTES = 5.0, 1 << 30
# When a case is killed; it may not take the machine with it.
KILL_SECONDS, KILL_BYTES = 30, 8 << 30


@dataclass
class Outcome:
    """
    What a case came to.

    :param found: what it returned, empty after an error
    :param sentence: of the error that the user is told
    :param notices: what was logged
    :param fault: a traceback of another error, or the signal that ended the process
    """

    found: list[str] = field(default_factory=list)
    sentence: str = ''
    notices: list[str] = field(default_factory=list)
    fault: str = ''
    seconds: float = 0.0
    peak_bytes: int = 0


def run_case(use: Callable[[], list[str]]) -> Outcome:
    """Run a function in a fork of this process, which should have imported what it needs."""
    with tempfile.TemporaryDirectory() as directory:
        answer = Path(directory, 'answer.json')
        before, began = _resident_bytes(), time.monotonic()
        child = os.fork()
        if not child:
            _answer(use, answer)
        _, status, usage = os.wait4(child, 0)
        outcome = Outcome(fault=f'ended by {_reason(status)}')
        if answer.is_file():
            outcome = Outcome(**json.loads(answer.read_text()))
    outcome.seconds = time.monotonic() - began
    outcome.peak_bytes = max(0, usage.ru_maxrss * 1024 - before)
    return outcome


def _answer(use: Callable[[], list[str]], answer: Path) -> None:
    """Write the outcome, and end the process without what the parent has registered."""
    from keypoint_perception.errors import PerceptionError

    faulthandler.disable()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(KILL_SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (KILL_BYTES, KILL_BYTES))
    outcome = Outcome()
    log = logging.getLogger(LOGGER)
    log.handlers, log.propagate = [_Notices(outcome.notices)], False
    try:
        outcome.found = use()
    except PerceptionError as error:
        outcome.sentence = str(error)
    except BaseException:
        outcome.fault = traceback.format_exc()
    part = answer.with_suffix('.part')
    part.write_text(json.dumps(vars(outcome)))
    part.rename(answer)
    os._exit(0)


class _Notices(logging.Handler):
    def __init__(self, notices: list[str]) -> None:
        super().__init__()
        self._notices = notices

    def emit(self, record: logging.LogRecord) -> None:
        self._notices.append(record.getMessage())


def _reason(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f'exit status {os.WEXITSTATUS(status)}'


def _resident_bytes() -> int:
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()
