"""
Run unit tests with mutants in place of one of the package's files.

To start Python, import PyTorch, collect tests and run them for the first time takes longer than
to run them again. So the tests of a file are collected and run once, in a fork of this process,
and each mutant is tried in a fork of that one, where the code of the changed function is replaced.
Mutants outside of functions (constants, defaults, decorators) are loaded in place of the module
before tests are collected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import os
from pathlib import Path
import signal
import sys
import tempfile
import time
from types import CodeType, FunctionType, ModuleType

from _pytest.main import pytest_runtestloop
import pytest
from torture.mutants import Mutant

ROOT = Path(__file__).parents[1]
PACKAGE = 'keypoint_perception'
PASSED, FAILED, UNTRIED = 0, 1, 2
PATIENCE = 5


def import_libraries() -> None:
    """Import what the tests need, all but the package, of which a mutant is a part."""
    import cv2
    import lightning_fabric  # noqa: F401
    import rosbags.highlevel  # noqa: F401
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def survivors(
    file: str, tests: Sequence[str], mutants: Sequence[Mutant], seconds: int
) -> set[int]:
    """
    Return which mutants of a file of the package its tests pass with.

    :param seconds: more than :data:`PATIENCE` times what the tests take without a mutant, after
        which they are taken to hang, and to fail
    :raises RuntimeError: if the tests fail without a mutant
    """
    with tempfile.TemporaryDirectory() as directory:
        options = ['-x', '-q', '-p', 'no:cacheprovider', f'--basetemp={directory}/tests', *tests]
        path = ROOT / PACKAGE / file
        module = f'{PACKAGE}.{file.removesuffix(".py").replace("/", ".")}'
        answers = Path(directory, 'answers')
        trials = _Trials(module, mutants, seconds, answers)
        if _in_fork(lambda: int(pytest.main(options, plugins=[trials]))) != PASSED:
            msg = f'{", ".join(tests)} fail without any mutant; mend that first.'
            raise RuntimeError(msg)
        found = list(answers.read_bytes())

        def reload(mutant: Mutant) -> int:
            sys.meta_path.insert(0, _Loader(module, path, mutant.source))
            return int(pytest.main(options))

        for i in [i for i, answer in enumerate(found) if answer == UNTRIED]:
            found[i] = _in_fork(lambda: reload(mutants[i]), seconds)  # noqa: B023 called at once
    return {i for i, answer in enumerate(found) if answer == PASSED}


class _Trials:
    """A plugin of pytest that runs the collected tests once for each mutant, in forks."""

    def __init__(
        self, module: str, mutants: Sequence[Mutant], seconds: int, answers: Path
    ) -> None:
        self._module, self._mutants, self._seconds = module, mutants, seconds
        self._answers = answers

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        began = time.monotonic()
        pytest_runtestloop(session)
        if session.testsfailed:
            return True
        seconds = self._seconds + round(PATIENCE * (time.monotonic() - began))
        module = importlib.import_module(self._module)
        self._answers.write_bytes(
            bytes(
                _in_fork(lambda: _try(session, module, mutant), seconds)  # noqa: B023
                for mutant in self._mutants
            )
        )
        return True


def _try(session: pytest.Session, module: ModuleType, mutant: Mutant) -> int:
    """Return whether the tests pass with a mutant."""
    if not mutant.function:
        return UNTRIED
    code = compile(mutant.source, str(module.__file__), 'exec')
    try:
        _replace(module, mutant.function.split('.'), code)
    except ValueError:  # with other variables of the functions around it
        return UNTRIED
    for function in vars(module).values():
        if hasattr(function, 'cache_clear'):
            function.cache_clear()
    pytest_runtestloop(session)
    return FAILED if session.testsfailed else PASSED


def _replace(holder: ModuleType | type, names: list[str], code: CodeType) -> None:
    """Give a function or method the code that it has in the code of its module."""
    found = vars(holder)[names[0]]
    code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == names[0])
    if isinstance(found, type):
        _replace(found, names[1:], code)
        return
    if isinstance(found, property):
        found = found.fget
    elif isinstance(found, cached_property):
        found = found.func
    elif isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    function = inspect.unwrap(found)
    assert isinstance(function, FunctionType)
    function.__code__ = code


class _Loader(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Finds one module of the package, and loads another source."""

    def __init__(self, module: str, path: Path, source: str) -> None:
        super().__init__(module, str(path))
        self._code = compile(source, str(path), 'exec')

    def find_spec(
        self, fullname: str, path: object, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        return self._code


def _in_fork(action: Callable[[], int], seconds: int = 0) -> int:
    """Return what an action in a fork of this process returned, and FAILED if it was ended."""
    child = os.fork()
    if not child:
        status = FAILED
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            # options of a test run around this one, such as colcon's, are not for the trials
            os.environ.pop('PYTEST_ADDOPTS', None)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            status = action()
        finally:
            os._exit(status if status in (PASSED, UNTRIED) else FAILED)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else FAILED
