"""Processes that are started end, whatever happens, and say why."""

from __future__ import annotations

import os

from examples import children as children_module
from examples.children import Children, StepError
import pytest


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Return a function that makes a module which other processes can run."""

    def write(name: str, source: str) -> str:
        (tmp_path / f'{name}.py').write_text(source)
        return name

    monkeypatch.chdir(tmp_path)
    return write


def test_a_child_reports_and_ends(script):
    talk = script(
        'talk', 'import sys\nprint(\'{"event": "ready", "n": 3}\', flush=True)\nsys.stdin.read()'
    )
    with Children(dict(os.environ)) as children:
        child = children.start('talk', talk, [])
        assert child.wait_for('ready', others=[], patience_s=60)['n'] == 3
        assert child.process.poll() is None
    assert child.process.poll() is not None


def test_a_child_that_does_not_listen_ends_too(script, monkeypatch):
    monkeypatch.setattr(children_module, '_PATIENCE_S', 0.2)
    stubborn = script(
        'stubborn',
        'import signal\n'
        'signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
        'print(\'{"event": "ready"}\', flush=True)\n'
        'signal.pause()',
    )
    started = []

    def go():
        with Children(dict(os.environ)) as children:
            started.append(children.start('stubborn', stubborn, []))
            started[0].wait_for('ready', others=[], patience_s=60)
            msg = 'a step failed'
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match='a step failed'):
        go()
    assert started[0].process.poll() is not None


def test_a_child_that_fails_speaks(script, tmp_path):
    fail = script('fail', "raise SystemExit('error: no such model.')")
    wait = script('wait', 'import signal\nsignal.pause()')
    with Children(dict(os.environ)) as children:
        failing = children.start('node', fail, [], log=tmp_path / 'node.log')
        waiting = children.start('receiver', wait, [], log=tmp_path / 'receiver.log')
        expected = 'node ended with exit code 1: error: no such model'
        with pytest.raises(StepError, match=expected):
            waiting.wait_for('matched', others=[failing], patience_s=60)


def test_a_child_that_ends_without_a_report_is_said(script, tmp_path):
    silent = script('silent', "print('no report')")
    with Children(dict(os.environ)) as children:
        child = children.start('receiver', silent, [], log=tmp_path / 'receiver.log')
        with pytest.raises(StepError, match='receiver ended with exit code 0'):
            child.wait_for('done', others=[], patience_s=60)
