"""Where a recording is damaged, and what that cost."""

from __future__ import annotations

from typing import NamedTuple


class Damage(NamedTuple):
    """
    One damaged place of a file.

    :param place: where it begins, as ``'byte 1,234'`` or ``'row 12'``
    :param lost: bytes that could not be used; 0 if none are known to be lost
    :param reason: what was found there, as a clause
    """

    place: str
    lost: int
    reason: str


def byte_place(offset: int) -> str:
    """Return a place in a file, in words."""
    return f'byte {offset:,}'


def damage_sentence(file: str, damages: list[Damage], images: int) -> str:
    """
    Return one sentence on what was lost and where.

    :param file: the file's path
    :param images: how many images of the file could be read
    """
    first, lost = damages[0], sum(damage.lost for damage in damages)
    more = f'; damaged places: {len(damages)}' if len(damages) > 1 else ''
    cost = f'about {lost:,} bytes are lost' if lost else 'how much is lost is not known'
    gain = f'the {images} images that could be read are used' if images else 'no image is left'
    return f'{file!r} is damaged at {first.place} ({first.reason}{more}): {cost}, {gain}.'
