"""The program ``keypoint_perception``: its verbs, and how its errors reach the user."""

from __future__ import annotations

from collections.abc import Callable
import errno
import logging
import sys
from types import UnionType
from typing import Annotated, get_args, get_origin, get_type_hints, Union

from keypoint_perception.commands.benchmark import benchmark
from keypoint_perception.commands.detect import detect
from keypoint_perception.commands.doctor import doctor
from keypoint_perception.commands.evaluate import evaluate
from keypoint_perception.commands.export import export
from keypoint_perception.commands.extract import extract
from keypoint_perception.commands.landmarks import landmarks
from keypoint_perception.commands.record import record
from keypoint_perception.commands.train import train
from keypoint_perception.errors import PerceptionError
import typer

# One line a verb, in the order in which a user meets them.
VERBS = (record, extract, train, detect, evaluate, landmarks, export, doctor)

# The base of all complaints about a command line. Older Typer takes it from click, newer Typer
# carries its own copy; by this way it is found in both.
UsageError = typer.BadParameter.__base__
CommandLineError = UsageError.__base__

# Places that cannot be written, and disks that are full: for the user to mend, not for us.
MENDABLE_ERRNOS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,  # a file where a directory is needed
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}

NAME = 'keypoint_perception'
STOPPED_BY_CTRL_C = 130

app = typer.Typer(
    name=NAME,
    help='From an unlabelled rosbag to live keypoints on a robot.',
    pretty_exceptions_enable=False,
    add_completion=False,
)


def spell_out_optional(verb: Callable) -> Callable:
    """
    Return a verb whose ``X | None`` reads ``Optional[X]``.

    Ubuntu 24.04 has Typer 0.9, which does not know the former.
    """
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
for command in benchmark.registered_commands:
    spell_out_optional(command.callback)
app.add_typer(benchmark, name='benchmark')


def main(arguments: list[str] | None = None) -> None:
    """
    Run one verb and exit: 0 on success, 2 with one sentence for what the user can mend.

    :param arguments: command line without the program's name, by default the process's own
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    show_log()
    try:
        code = app(args=arguments or ['--help'], prog_name=NAME, standalone_mode=False)
    except PerceptionError as error:
        stop(str(error), error)
    except CommandLineError as error:
        stop(usage_sentence(error), error)
    except ModuleNotFoundError as error:
        stop(missing_sentence(error), error)
    except OSError as error:
        if error.errno not in MENDABLE_ERRNOS:
            raise
        place = '' if error.filename is None else f': {str(error.filename)!r}'
        stop(f'{error.strerror}{place}; choose a place that can be read and written.', error)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED_BY_CTRL_C
    if code == STOPPED_BY_CTRL_C:
        print('stopped by Ctrl-C', file=sys.stderr)
    raise SystemExit(code if isinstance(code, int) else 0)


def show_log() -> None:
    """Print what the rooms have to say (what was chosen and why, what was lost) on stderr."""
    log = logging.getLogger(NAME)
    if not log.handlers:
        log.addHandler(StderrHandler())
        log.setLevel(logging.INFO)


class StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the moment; a progress bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        level = '' if record.levelno < logging.WARNING else f'{record.levelname.lower()}: '
        print(f'{level}{record.getMessage()}', file=sys.stderr)


def stop(sentence: str, cause: Exception) -> None:
    """Print one sentence and exit with 2."""
    print(f'error: {sentence}', file=sys.stderr)
    raise SystemExit(2) from cause


def missing_sentence(error: ModuleNotFoundError) -> str:
    """
    Return which extra is not installed and how to get it.

    :raises ModuleNotFoundError: the same again, if it is none of them but a fault of ours
    """
    from keypoint_perception.commands.diagnosis import LIBRARIES

    name = (error.name or '').split('.')[0]
    for library in LIBRARIES:
        if library.module == name:
            return (
                f'{name} is not installed, which this verb needs for {library.part}: '
                f'{library.remedy}; `{NAME} doctor` lists all that is missing.'
            )
    raise error


def usage_sentence(error: CommandLineError) -> str:
    """Return what is wrong with the command line, and where to read how it should be."""
    complaint = ' '.join(error.format_message().split()).rstrip('.')
    context = getattr(error, 'ctx', None)
    command = NAME if context is None else context.command_path
    verbs = getattr(getattr(context, 'command', None), 'commands', {})
    if verbs and 'command' in complaint:
        complaint += f'; verbs: {", ".join(verbs)}'
    return f'{complaint}; see `{command} --help`.'
