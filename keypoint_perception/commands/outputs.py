"""Checks of the files that a verb is asked to write, before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from keypoint_perception.errors import ConfigError

# What may lie beside a recording without becoming part of it.
HARMLESS_SUFFIXES = ('.csv', '.json')


def check_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """
    Refuse outputs that would overwrite what is read, or one another.

    :param outputs: what is written, by option; None means not asked for
    :param inputs: what is read, by what to call it; None means not given
    :raises ConfigError: naming both
    """
    taken: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        place = path.resolve()
        for name, read in inputs.items():
            if read is not None and _harms(place, read.resolve()):
                msg = (
                    f'{option} {str(path)!r} would overwrite or change {name} {str(read)!r}; '
                    'choose another place.'
                )
                raise ConfigError(msg)
        if place in taken:
            msg = f'{taken[place]} and {option} are both {str(path)!r}; choose two places.'
            raise ConfigError(msg)
        taken[place] = option


def check_file(option: str, path: Path) -> None:
    """
    Refuse a directory where a file is to be written.

    :raises ConfigError: naming the option
    """
    if path.is_dir():
        msg = f'{option} {str(path)!r} is a directory; name a file in it.'
        raise ConfigError(msg)


def _harms(place: Path, read: Path) -> bool:
    inside = read in place.parents and place.suffix.lower() not in HARMLESS_SUFFIXES
    return place == read or inside
