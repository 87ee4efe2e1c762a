"""Checks of output paths, before any work is done, and what is printed about a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from keypoint_perception.errors import ConfigError

Paths = Mapping[str, Path | None]

# Files that may be written into a recording's directory, because readers ignore them.
IGNORED_SUFFIXES = ('.csv', '.json')


def check_outputs(outputs: Paths, inputs: Paths) -> None:
    """
    Reject outputs that would overwrite an input or another output.

    :param outputs: paths by option, None if not requested
    :param inputs: paths by description, None if not given
    :raises ConfigError: with the names of both
    """
    seen: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        resolved = path.resolve()
        for name, source in inputs.items():
            if source is not None and _overwrites(resolved, source.resolve()):
                msg = (
                    f'{option} {str(path)!r} would overwrite or change {name} {str(source)!r}; '
                    'choose another path.'
                )
                raise ConfigError(msg)
        if resolved in seen:
            msg = f'{seen[resolved]} and {option} are both {str(path)!r}; choose different paths.'
            raise ConfigError(msg)
        seen[resolved] = option


def check_file(option: str, path: Path | None) -> None:
    """Raise ConfigError if the path of an output file is a directory."""
    if path is not None and path.is_dir():
        msg = f'{option} {str(path)!r} is a directory; specify a file.'
        raise ConfigError(msg)


def print_run(engine: str, frames: int, seconds: float, paths: Iterable[Path | None]) -> None:
    """Print how fast a recording was processed, and the files that were written."""
    print(f'engine: {engine}')
    print(f'{frames} frames in {seconds:.1f} s, {frames / seconds:.0f} per s; wrote')
    for path in filter(None, paths):
        print(f'  {path}')


def _overwrites(output: Path, source: Path) -> bool:
    inside = source in output.parents and output.suffix.lower() not in IGNORED_SUFFIXES
    return output == source or inside
