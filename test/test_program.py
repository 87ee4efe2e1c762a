"""The program answers a wrong command line with one sentence and exit code 2."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys

from keypoint_perception.commands import program
from keypoint_perception.errors import SourceError
import pytest
import typer


@pytest.fixture
def main(monkeypatch):
    """Return ``main`` of a program with one verb, ``work ITEM``, that does what the test says."""

    def run(arguments: list[str], outcome: BaseException | None = None) -> int:
        def work(item: str, times: int = 1) -> None:
            """Work."""
            if outcome is not None:
                raise outcome

        app = typer.Typer(name='keypoint_perception', pretty_exceptions_enable=False)
        app.callback()(lambda: None)
        app.command()(work)
        monkeypatch.setattr(program, 'app', app)
        with pytest.raises(SystemExit) as stopped:
            program.main(arguments)
        return stopped.value.code

    return run


def test_success_is_0(main, capsys):
    assert main(['work', 'x']) == 0
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['play'], "No such command 'play'; verbs: work; see `keypoint_perception --help`."),
        (['work'], "Missing argument 'item'"),
        (['work', 'x', 'y'], 'Got unexpected extra argument'),
        (['work', 'x', '--twice'], 'No such option: --twice'),
        (['work', 'x', '--times', 'two'], "Invalid value for '--times'"),
        (['work', 'x', '--times'], "Option '--times' requires an argument"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(main, capsys, arguments, sentence):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith('error: ')
    assert sentence.lower() in printed.err.lower()
    assert '--help`.' in printed.err
    assert printed.err.count('\n') == 1
    assert printed.out == ''


def test_what_a_user_can_mend_is_one_sentence(main, capsys):
    assert main(['work', 'x'], SourceError('Bag is empty.')) == 2
    assert capsys.readouterr().err == 'error: Bag is empty.\n'


def test_a_place_that_cannot_be_written_is_one_sentence(main, capsys):
    assert main(['work', 'x'], PermissionError(errno.EACCES, 'Permission denied', '/etc/x')) == 2
    assert capsys.readouterr().err == (
        "error: Permission denied: '/etc/x'; check its permissions, or choose another path.\n"
    )


def test_a_full_disk_is_one_sentence(main, capsys):
    assert main(['work', 'x'], OSError(errno.ENOSPC, 'No space left on device')) == 2
    assert 'No space left on device; make room' in capsys.readouterr().err


def test_our_own_faults_are_told_as_such(main, capsys):
    assert main(['work', 'x'], KeyError('height')) == 2
    assert "bug of keypoint_perception (KeyError: 'height')" in capsys.readouterr().err


def test_an_extra_that_is_not_installed_is_one_sentence(main, capsys):
    absent = ModuleNotFoundError("No module named 'torch.nn'", name='torch.nn')
    assert main(['work', 'x'], absent) == 2
    said = capsys.readouterr().err
    assert said.startswith('error: torch is not installed, but this verb needs it for training')
    assert '`pip install torch`' in said
    assert said.count('\n') == 1


def test_a_module_of_ours_that_is_not_there_is_a_bug(main, capsys):
    assert main(['work', 'x'], ModuleNotFoundError('No module of ours', name='gone')) == 2
    assert 'bug of keypoint_perception (ModuleNotFoundError' in capsys.readouterr().err


def test_ctrl_c_is_130(main, capsys):
    assert main(['work', 'x'], KeyboardInterrupt()) == 130
    assert 'Ctrl-C' in capsys.readouterr().err


# Sends a signal to itself when a module is imported, then runs the program.
SIGNALLED_IMPORT = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Finder:
    def find_spec(name, path, target=None):
        if name == 'keypoint_perception.commands.options':
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
runpy.run_module('keypoint_perception', run_name='__main__')
"""


def test_ctrl_c_while_importing_leaves_no_traceback():
    command = [sys.executable, '-c', SIGNALLED_IMPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, '', '')


def run_program(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, '-m', 'keypoint_perception', *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_no_arguments_show_help():
    done = run_program()
    assert done.returncode == 0, done.stderr
    assert 'doctor' in done.stdout


def test_the_process_itself_exits_with_2_and_no_traceback():
    done = run_program('no-such-verb')
    assert done.returncode == 2
    assert done.stderr.count('\n') == 1
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('verb', [verb.__name__ for verb in program.VERBS])
def test_help_of_every_verb(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main([verb, '--help'])
    assert stopped.value.code == 0
    assert verb in capsys.readouterr().out


TROUBLE = """
import os, pathlib, signal, sys, threading, typer, warnings
from keypoint_perception import __main__
from keypoint_perception.commands import program

class Broken:
    def __del__(self):
        raise ValueError('in a destructor')

def fail():
    raise OSError(28, 'No space left on device')

def work(item: str) -> None:
    warnings.warn('a library warns')
    Broken()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    print('\\udcff')
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        pathlib.Path(item).write_text('in order')

program.app = typer.Typer(pretty_exceptions_enable=False)
program.app.callback()(lambda: None)
program.app.command()(work)
__main__.main(['work', sys.argv[1]])
"""


def test_threads_destructors_warnings_and_sigterm_leave_no_traceback(tmp_path):
    command = [sys.executable, '-c', TROUBLE, tmp_path / 'done']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    full = 'No space left on device; make room, then run the same command again.'
    assert done.stderr.splitlines() == [
        f'warning: A thread of keypoint_perception has ended: {full}',
        'stopped by SIGTERM',
    ]
    assert done.stdout == '\\udcff\n'
    assert done.returncode == 128 + signal.SIGTERM
    assert (tmp_path / 'done').read_text() == 'in order'


def test_closed_streams_do_not_change_what_a_verb_does(tmp_path):
    command = [sys.executable, '-m', 'keypoint_perception', 'extract', str(tmp_path / 'none')]
    command += ['--out', str(tmp_path / 'out')]
    done = subprocess.run(
        ['bash', '-c', '"$@" >&- 2>&- <&-', 'bash', *command], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, b'', b'')


@pytest.mark.parametrize('stderr', ['/dev/full', '>(:)'])
def test_work_goes_on_when_nothing_can_be_shown(tmp_path, stderr):
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b/1.png').write_bytes(b'no image')
    command = [sys.executable, '-m', 'keypoint_perception', 'extract', str(tmp_path / 'b')]
    shell = ['bash', '-c', f'"$@" 2> {stderr}', 'bash', *command, '--out', str(tmp_path / 's')]
    assert subprocess.run(shell, check=False).returncode == 2


def test_a_library_that_is_broken_is_told_as_such(main, capsys):
    broken = ImportError('libcudart.so.12: cannot open shared object file', name='onnxruntime.x')
    assert main(['work', 'x'], broken) == 2
    said = capsys.readouterr().err
    assert 'onnxruntime is broken (libcudart.so.12: cannot open shared object file), but' in said
    assert '`pip install onnxruntime`' in said
