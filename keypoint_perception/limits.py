"""
Limits on what is read: no file or message can claim so much that reading it exhausts the machine.

Every process takes them from the environment, so that commands, nodes and their workers agree::

    KEYPOINT_PERCEPTION_LIMITS='max_image_megapixels=200' keypoint_perception extract ...
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
import math
import os
from pathlib import Path
import stat

from keypoint_perception.errors import ConfigError
from keypoint_perception.settings import from_yaml, setting, Settings

VARIABLE = 'KEYPOINT_PERCEPTION_LIMITS'


@dataclass(frozen=True)
class Limits(Settings):
    """Largest sizes that are accepted; see ``docs/reliability.md``."""

    max_image_megapixels: float = setting(
        64.0, above=0, help='Millions of pixels of an image, before it is decoded.'
    )
    max_message_mb: float = setting(
        256.0, above=0, help='Megabytes of a message, after decompression.'
    )
    max_chunk_mb: float = setting(
        256.0, above=0, help='Megabytes of a chunk of a bag, after decompression.'
    )
    max_expansion: float = setting(
        200.0, above=0, help='Times the size of a compressed bag that it expands to.'
    )
    max_network_mb: float = setting(
        768.0, above=0, help='Megabytes of memory of the networks in ONNX Runtime on the CPU.'
    )
    max_json_mb: float = setting(
        16.0, above=0, help='Megabytes of a JSON file, such as the manifest of a model.'
    )
    max_model_mb: float = setting(
        8192.0, above=0, help='Megabytes of the files that the manifest of a model lists.'
    )
    max_yaml_mb: float = setting(
        2.0, above=0, help='Megabytes of a YAML file, such as the metadata of a bag.'
    )
    max_csv_mb: float = setting(
        16.0, above=0, help='Megabytes of a CSV file, such as annotations.'
    )
    max_urdf_mb: float = setting(
        8.0, above=0, help='Megabytes of the URDF of a robot, a file or in a bag.'
    )
    max_mesh_mb: float = setting(
        64.0, above=0, help="Megabytes of a file of a robot's collision geometry."
    )


def limits() -> Limits:
    """
    Return the limits of this process.

    :raises ConfigError: if the environment variable has an unknown limit or a value that is none
    """
    return _parsed(os.environ.get(VARIABLE, ''))


@cache
def _parsed(text: str) -> Limits:
    values = {}
    for part in filter(None, text.replace(',', ' ').split()):
        name, _, value = part.partition('=')
        try:
            values[name] = float(value)
        except ValueError:
            msg = f'{VARIABLE}: expected NAME=NUMBER, got {part!r}.'
            raise ConfigError(msg) from None
    return from_yaml(Limits, values, VARIABLE)


def remedy(name: str, needed: float) -> str:
    """
    Return what to do about something legitimate that is larger than a limit, to end a sentence.

    :param name: the limit's
    :param needed: the value that would accept it, in the limit's unit
    """
    given = os.environ.get(VARIABLE, '').replace(',', ' ').split()
    kept = [part for part in given if not part.startswith(f'{name}=')]
    value = ','.join([*kept, f'{name}={math.ceil(needed)}'])
    return f'if it is meant to be so large, set {VARIABLE}={value}'


def check_file_size(path: Path, name: str) -> None:
    """
    Check a file before it is read.

    :param name: of its limit in megabytes
    :raises OSError: if it is missing
    :raises ValueError: if it is larger, or a pipe or device; the message is a reason
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would wait for its writer
        raise ValueError('it is not a regular file')
    megabytes, largest = status.st_size / 1e6, getattr(limits(), name)
    if megabytes > largest:
        reason = remedy(name, megabytes)
        raise ValueError(f'it has {megabytes:.4g} MB, expected {largest:g} or less; {reason}')
