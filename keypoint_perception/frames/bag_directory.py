"""
Which files of a rosbag2 directory are read, and in which order.

What lies in the directory counts, not what ``metadata.yaml`` announces: a recorder that crashed
leaves none, or one that lists fewer files than there are; files are renamed, packed, unpacked and
copied; ``ros2 bag play`` leaves the unpacked file beside the packed one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
import re

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.bag_writer import METADATA_NAME
from keypoint_perception.frames.digest import sampled_digest
from keypoint_perception.frames.frame import Topic
from keypoint_perception.frames.message import normal_type
from keypoint_perception.frames.salvage.partial_decompression import zstd_module
from keypoint_perception.yaml_files import read_yaml_file

PACKED = '.zstd'
PACKED_SUFFIXES = (f'.mcap{PACKED}', f'.db3{PACKED}')
STORAGE_SUFFIXES = ('.mcap', '.db3', *PACKED_SUFFIXES)
COMPARED_BYTES, FRAME_HEADER_BYTES = 1 << 20, 18
NAMED = 5  # of many files in a sentence


@dataclass
class BagDirectory:
    """
    The files of a bag.

    :param paths: storage files in order
    :param stated: topics as stated by metadata that list exactly these files, or None
    :param notices: sentences on what differs
    """

    paths: list[Path]
    stated: dict[str, Topic] | None = None
    notices: list[str] = field(default_factory=list)


def open_directory(path: Path, name: str) -> BagDirectory:
    """
    Return the files of a bag's directory.

    :param name: the bag's in messages
    :raises SourceError: if it has no storage file
    """
    names, stated, problem = list[str](), None, ''
    try:
        names, stated = _read_metadata(path / METADATA_NAME)
    except FileNotFoundError:
        problem = f'has no {METADATA_NAME}, as after a crash of the recorder'
    except (OSError, ValueError) as error:
        problem = f'has an unusable {METADATA_NAME} ({error})'
    notices = [f'Bag {name!r} {problem}: its storage files are read directly.'] if problem else []
    present = storage_paths(path)
    found = {n: _present(path, n, present) for n in names}
    listed = [p for p in found.values() if p is not None]
    missing = [n for n, p in found.items() if p is None]
    bag = BagDirectory(list(dict.fromkeys([*listed, *present])), stated, notices)
    if not bag.paths:
        msg = (
            f'Bag {name!r} lacks its storage ({_some(missing) or "a .mcap or .db3 file"}); copy '
            'the whole directory again.'
        )
        raise SourceError(msg)
    _drop_twins(bag, listed)
    unlisted = [p.name for p in bag.paths if p not in listed]
    moved = [f'{n} instead of {p.name}' for n, p in found.items() if p and p != path / n]
    differences = (
        ('does not have', [] if stated is None else unlisted),
        ('has', moved),
        ('has more than once', [n for n, count in Counter(names).items() if count > 1]),
    )
    if clauses := [f'{verb} {_some(them)}' for verb, them in differences if them]:
        bag.notices.append(
            f'The list of files in the {METADATA_NAME} of bag {name!r} {"; ".join(clauses)}: the '
            'files that are there are read, each once.'
        )
    if missing:
        bag.notices.append(
            f'Bag {name!r} lacks {_some(missing)}, which its {METADATA_NAME} lists: only what is '
            'in the other files is read.'
        )
    if missing or unlisted:
        bag.stated = None
    return bag


def natural_key(name: str) -> list[int | str]:
    """Return a sorting key that puts 2 before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r'(\d+)', name)]


def visible_files(directory: Path) -> list[Path]:
    """
    Return the files of a directory whose names do not begin with a dot.

    Those that do are no recordings: macOS, for one, puts ``._NAME`` beside each ``NAME``.
    """
    return [p for p in directory.iterdir() if not p.name.startswith('.') and p.is_file()]


def storage_paths(directory: Path) -> list[Path]:
    """Return the storage files in a directory by name, as they were recorded."""
    found = [p for p in visible_files(directory) if p.name.lower().endswith(STORAGE_SUFFIXES)]
    return sorted(found, key=lambda path: natural_key(path.name))


def _read_metadata(path: Path) -> tuple[list[str], dict[str, Topic]]:
    """Return the names of the files and the topics; raise OSError or ValueError."""
    values = read_yaml_file(path)
    try:
        values = values['rosbag2_bagfile_information']
        files, topics = values['relative_file_paths'], values['topics_with_message_count']
        if not (isinstance(files, list) and isinstance(topics, list)):
            raise TypeError('its files or topics are no list')
        counts = [(entry['topic_metadata'], int(entry['message_count'])) for entry in topics]
        if any(count < 0 for _, count in counts):
            raise ValueError('a message_count is negative')
        stated = {str(t['name']): Topic(normal_type(t['type']), n) for t, n in counts}
        return [str(file) for file in files], stated
    except (TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f'{type(error).__name__}: {str(error)[:100]}') from error


def _present(directory: Path, name: str, present: list[Path]) -> Path | None:
    """Return the file of a name, which may have been moved, packed or unpacked since."""
    inside = directory / name
    if '..' not in inside.parts and not Path(name).is_absolute() and inside.is_file():
        return inside if inside.name.lower().endswith(STORAGE_SUFFIXES) else None
    last = re.split(r'[/\\]', name)[-1]  # of other directories and systems too
    names = {path.name: path for path in present}
    others = (last, last.removesuffix(PACKED), last + PACKED)
    return next((names[other] for other in others if other in names), None)


def _drop_twins(bag: BagDirectory, listed: list[Path]) -> None:
    """Drop copies, and packed files beside the unpacked ones, which are listed with them."""
    first: dict[tuple[int, str], Path] = {}
    sizes = {path: path.stat().st_size for path in bag.paths}
    several = {size for size, count in Counter(sizes.values()).items() if size and count > 1}
    for path, size in sizes.items():
        twin = path.with_suffix('')
        if size in several:
            twin = first.setdefault((size, sampled_digest(path)), path)
        elif not (path.suffix.lower() == PACKED and twin in sizes and _is_packed(path, twin)):
            continue
        if twin != path:
            bag.paths.remove(path)
            listed += [twin] * (path in listed)
            same = f'its size and samples of it are those of {twin.name!r}'
            bag.notices.append(f'{str(path)!r} is not read: {same}.')


def _is_packed(packed: Path, unpacked: Path) -> bool:
    """Return whether a file was unpacked from another; the beginning and size may tell."""
    zstd, left = zstd_module(), unpacked.stat().st_size + 1
    try:
        with packed.open('rb') as stream:
            size = zstd.get_frame_info(stream.read(FRAME_HEADER_BYTES)).decompressed_size
        if size is not None:
            if size + 1 != left:
                return False
            left = COMPARED_BYTES
        with zstd.open(packed) as stream, unpacked.open('rb') as plain:
            while left > 0 and (piece := plain.read(COMPARED_BYTES)):
                if stream.read(len(piece)) != piece:
                    return False
                left -= len(piece)
            return left <= 0 or not stream.read(1)
    except (zstd.ZstdError, EOFError):
        return False


def _some(names: Sequence[str]) -> str:
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return ', '.join(names[:NAMED]) + more
