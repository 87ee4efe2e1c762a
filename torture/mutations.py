"""Damage to bytes, as by disks, networks, programs and hostile people, from one generator."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

# Sizes, offsets and counts that lie.
EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63)


def flip_bit(content: bytearray, chance: Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_bits(content: bytearray, chance: Random) -> None:
    for _ in range(chance.randrange(2, 9)):
        flip_bit(content, chance)


def flip_near_an_end(content: bytearray, chance: Random) -> None:
    """Damage a header or an index."""
    at = chance.randrange(min(600, len(content)))
    content[at if chance.random() < 0.5 else -1 - at] ^= 1 << chance.randrange(8)


def truncate(content: bytearray, chance: Random) -> None:
    del content[chance.randrange(len(content)) :]


def clear(content: bytearray, chance: Random) -> None:
    part = _part(content, chance, (4, 64, 512, 4096))
    content[part] = bytes(len(content[part]))


def scramble(content: bytearray, chance: Random) -> None:
    part = _part(content, chance, (8, 64, 512))
    content[part] = chance.randbytes(len(content[part]))


def swap_blocks(content: bytearray, chance: Random) -> None:
    size = chance.choice((16, 512, 4096))
    blocks = max(1, len(content) // size)
    first, second = (slice(size * i, size * (i + 1)) for i in chance.choices(range(blocks), k=2))
    if len(content[first]) == len(content[second]):
        content[first], content[second] = content[second], content[first]


def remove(content: bytearray, chance: Random) -> None:
    del content[_part(content, chance, (1, 16, 512, 4096))]


def insert(content: bytearray, chance: Random) -> None:
    at = chance.randrange(len(content))
    content[at:at] = chance.randbytes(chance.choice((1, 16, 512)))


def lie_about_a_length(content: bytearray, chance: Random) -> None:
    size = chance.choice((4, 8))
    at = chance.randrange(max(1, len(content) - size))
    value = chance.choice((*EXTREMES, len(content), 2 * len(content))) % 2 ** (8 * size)
    content[at : at + size] = value.to_bytes(size, chance.choice(('little', 'big')))


def repeat(content: bytearray, chance: Random) -> None:
    part = _part(content, chance, (512, 4096, 30_000))
    content[part.start : part.start] = content[part]


Mutation = Callable[[bytearray, Random], None]
# The most frequent damage of a disk is most frequent here.
MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bit, flip_bit, flip_bit, flip_bits, flip_near_an_end),
    *(truncate, truncate, clear, scramble, swap_blocks),
    *(remove, insert, lie_about_a_length, repeat),
)


def mutate(content: bytes, chance: Random) -> tuple[str, bytes]:
    """Return the name of a mutation and its result; the content must not be empty."""
    mutation = chance.choice(MUTATIONS)
    changed = bytearray(content)
    mutation(changed, chance)
    return mutation.__name__, bytes(changed)


def _part(content: bytearray, chance: Random, sizes: tuple[int, ...]) -> slice:
    at = chance.randrange(len(content))
    return slice(at, at + chance.choice(sizes))
