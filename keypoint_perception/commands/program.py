"""The program ``keypoint_perception``: its verbs, and how errors are reported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
import logging
import os
import signal
import sys
import threading
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints, Union
import warnings

from keypoint_perception.commands.benchmark import benchmark
from keypoint_perception.commands.detect import detect
from keypoint_perception.commands.doctor import doctor
from keypoint_perception.commands.evaluate import evaluate
from keypoint_perception.commands.export import export
from keypoint_perception.commands.extract import extract
from keypoint_perception.commands.label import label
from keypoint_perception.commands.landmarks import landmarks
from keypoint_perception.commands.record import record
from keypoint_perception.commands.train import train
from keypoint_perception.errors import ConfigError, PerceptionError
from keypoint_perception.faults import fault_sentence
import typer

# In the order of use.
VERBS = (record, extract, train, detect, evaluate, landmarks, export, doctor)

# The base of all command line errors, which is click's in older versions of Typer and a copy of it
# in newer ones: BadParameter -> UsageError -> ClickException.
CommandLineError: type[typer.BadParameter] = typer.BadParameter.__mro__[2]

NAME = 'keypoint_perception'
INTERRUPTED = 130

app = typer.Typer(
    name=NAME,
    help='From an unlabelled rosbag to live keypoints on a robot.',
    pretty_exceptions_enable=False,
    add_completion=False,
)


def spell_out_optional(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Replace ``X | None`` by ``Optional[X]``, as Typer 0.9 of Ubuntu 24.04 requires."""
    hints = get_type_hints(verb, include_extras=True)
    for name, hint in hints.items():
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if isinstance(kind, UnionType):
            kind = Union[get_args(kind)]
            hints[name] = Annotated[(kind, *notes)] if notes else kind
    verb.__annotations__ = hints
    return verb


@app.callback()
def program() -> None:
    """From an unlabelled rosbag to live keypoints on a robot."""


for verb in VERBS:
    app.command()(spell_out_optional(verb))
for name, group in {'label': label, 'benchmark': benchmark}.items():
    for command in group.registered_commands:
        if command.callback is not None:
            spell_out_optional(command.callback)
    app.add_typer(group, name=name)


def main(arguments: list[str] | None = None) -> None:
    """Run one verb and exit: 0, or 2 with one sentence for an error that the user can fix."""
    arguments = sys.argv[1:] if arguments is None else arguments
    show_log()
    if isinstance(sys.stdout, TextIOWrapper):  # a name that the terminal cannot show is no error
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        refuse_empty(arguments)
        code = app(args=arguments or ['--help'], prog_name=NAME, standalone_mode=False)
    except PerceptionError as error:
        stop(str(error), error)
    except CommandLineError as error:
        stop(usage_sentence(error), error)
    except ImportError as error:
        stop(missing_sentence(error), error)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # the last net: no traceback reaches the screen
        stop(fault_sentence(error), error)
    if code == INTERRUPTED:
        code = 128 + (_terminated or signal.SIGINT)
        print(f'stopped by {"SIGTERM" if _terminated else "Ctrl-C"}', file=sys.stderr)
    raise SystemExit(code if isinstance(code, int) else 0)


def refuse_empty(arguments: list[str]) -> None:
    """Raise ConfigError for an empty argument, which a path would take for the current folder."""
    for before, argument in zip((NAME, *arguments), arguments, strict=False):
        if not argument or (argument.startswith('--') and argument.endswith('=')):
            msg = (
                f'Nothing follows {argument or before!r}; check the command for an unset variable.'
            )
            raise ConfigError(msg)


def prepare_process() -> None:
    """Let neither closed streams nor threads, destructors and libraries spoil what is printed."""
    # the next file that is opened would take the place of a closed stream
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, 'w'), sys.stderr or os.fdopen(2, 'w')
    if isinstance(sys.stderr, TextIOWrapper):
        coding = (sys.stderr.encoding, sys.stderr.errors)
        sys.stderr = Stderr(sys.stderr.detach(), *coding, line_buffering=True)
    if not sys.warnoptions:
        warnings.simplefilter('ignore')
    sys.unraisablehook = lambda _: None
    threading.excepthook = _tell_thread
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


_terminated = 0


def _terminate(number: int, _frame: object) -> None:
    """End as after Ctrl-C, so that nothing is left half written; a second one ends at once."""
    global _terminated  # click keeps no more of an interrupt than that there was one
    _terminated = number
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


def _tell_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None:
        log = logging.getLogger(NAME)
        log.warning('A thread of %s has ended: %s', NAME, fault_sentence(failed.exc_value))


def show_log() -> None:
    """Print log messages of the package on stderr."""
    log = logging.getLogger(NAME)
    if not log.handlers:
        log.addHandler(StderrHandler())
        log.setLevel(logging.INFO)


class Stderr(TextIOWrapper):
    """Loses what cannot be shown, as on a full disk or to a pipe that is closed: work goes on."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


class StderrHandler(logging.Handler):
    """Writes to the current stderr, which progress bars redirect."""

    def emit(self, record: logging.LogRecord) -> None:
        level = '' if record.levelno < logging.WARNING else f'{record.levelname.lower()}: '
        print(f'{level}{record.getMessage()}', file=sys.stderr)


def stop(sentence: str, cause: Exception) -> None:
    """Print one sentence and exit with status 2."""
    print(f'error: {sentence}', file=sys.stderr)
    raise SystemExit(2) from cause


def missing_sentence(error: ImportError) -> str:
    """
    Return which optional library is missing or broken and how to install it.

    Any other module that is missing is a bug.
    """
    from keypoint_perception.commands.diagnosis import LIBRARIES

    name = (error.name or '').split('.')[0]
    absent = isinstance(error, ModuleNotFoundError)
    state = 'not installed' if absent else f'broken ({" ".join(str(error).split())[:200]})'
    for library in LIBRARIES:
        if library.module == name:
            return (
                f'{name} is {state}, but this verb needs it for {library.part}: '
                f'{library.how_to_get}; `{NAME} doctor` lists everything that is missing.'
            )
    return fault_sentence(error)


def usage_sentence(error: typer.BadParameter) -> str:
    """Return what is wrong with the command line, and which help to read."""
    message = ' '.join(error.format_message().split()).rstrip('.')
    context = getattr(error, 'ctx', None)
    command = NAME if context is None else context.command_path
    verbs = getattr(getattr(context, 'command', None), 'commands', {})
    if verbs and 'command' in message:
        message += f'; verbs: {", ".join(verbs)}'
    return f'{message}; see `{command} --help`.'
