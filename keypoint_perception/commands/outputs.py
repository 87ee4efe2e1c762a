"""Checks of output paths, before any work is done, and what is printed about a run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
import os
from pathlib import Path
import tempfile

from keypoint_perception.errors import ConfigError

DEVICES = Path('/dev')
Paths = Mapping[str, Path | None]

# Files that may be written into a recording's directory, because readers ignore them.
IGNORED_SUFFIXES = ('.csv', '.json')
# What is written beside an output of this name before it is complete: ``.NAME.part``.
PART_BYTES = len('..part')


def check_outputs(outputs: Paths, inputs: Paths, *, directories: Collection[str] = ()) -> None:
    """
    Reject outputs that cannot be written or would overwrite an input or another output.

    :param outputs: paths by option, None if not requested
    :param inputs: paths by description, None if not given
    :param directories: the options whose outputs are directories
    :raises ConfigError: with the names of both
    """
    seen: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        resolved = Path(os.path.realpath(path))  # of links that lead to themselves too
        for name, source in inputs.items():
            if source is not None and _overwrites(resolved, Path(os.path.realpath(source))):
                msg = (
                    f'{option} {str(path)!r} would overwrite or change {name} {str(source)!r}; '
                    'choose another path.'
                )
                raise ConfigError(msg)
        _check_place(option, path, is_directory=option in directories)
        if resolved in seen:
            msg = f'{seen[resolved]} and {option} are both {str(path)!r}; choose different paths.'
            raise ConfigError(msg)
        seen[resolved] = option


@contextmanager
def changed_model(model: Path) -> Iterator[None]:
    """
    Be the only writer of a model directory, if there is one: who reads it tells if there is none.

    :raises ConfigError: if it cannot be written
    """
    from keypoint_perception.atomic_files import sole_writer

    if not model.is_dir():
        yield
        return
    check_outputs({'MODEL': model}, {}, directories=('MODEL',))
    with sole_writer(model):
        yield


def videos_of(video: Path | None) -> dict[str, Path | None]:
    """Return what ``--video`` writes."""
    return {'--video': video, 'the sheet beside --video': video and video.with_suffix('.png')}


def print_run(engine: str, frames: int, seconds: float, paths: Iterable[Path | None]) -> None:
    """Print how fast a recording was processed, and the files that were written."""
    print(f'engine: {engine}')
    print(f'{frames} frames in {seconds:.1f} s, {frames / seconds:.0f} per s; wrote')
    for path in filter(None, paths):
        print(f'  {path}')


def _overwrites(output: Path, source: Path) -> bool:
    inside = source in output.parents and output.suffix.lower() not in IGNORED_SUFFIXES
    return output == source or inside


def _check_place(option: str, path: Path, *, is_directory: bool) -> None:
    """Raise ConfigError if an output cannot be written, which is tried with a nameless file."""
    what = f'{option} {str(path)!r}'
    try:
        is_plain = path.is_file() and path.parent != DEVICES  # /dev/stdout may lead to a file
        is_right = path.is_dir() if is_directory else is_plain
        if os.path.lexists(path) and not is_right:
            others = 'a file' if is_plain else 'a pipe, a device or a broken link'
            found, wanted = 'a directory' if path.is_dir() else others, 'directory'
            msg = f'{what} is {found}; specify a {wanted if is_directory else "file"}.'
            raise ConfigError(msg)
        place = path if path.is_dir() else path.parent
        while not place.exists():
            place = place.parent
        longest = max((len(os.fsencode(n)) for n in path.parts[len(place.parts) :]), default=0)
        if longest > (most := os.statvfs(place).f_namemax - PART_BYTES):
            msg = f'{what} has a name of {longest} bytes; specify one of at most {most}.'
            raise ConfigError(msg)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        msg = (
            f'{what} cannot be written ({error.strerror}); choose another path, or check the '
            'permissions of its directory.'
        )
        raise ConfigError(msg) from error
