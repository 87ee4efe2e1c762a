"""
Damage what the package reads, kill what it runs, and fill its disks; print what came of it.

    python -m torture.run [--cases 1000] [--kills 20] [--seed 0] [--only bag] [--out torture.md]

Every case follows from the seed, the subject and its number. The exit status is 1 if anything
happened that may not: a traceback, a crash, more than 5 s or 1 GB, an image lost that a simple
reader gives, or damage that is not told.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import date
import os
from pathlib import Path
import platform
import sys
import tempfile

from torture.bags import bag_subjects
from torture.campaign import Tally, torture
from torture.disks import can_mount, fill_disks
from torture.kills import kill_verbs
from torture.models import model_subjects


def import_libraries() -> None:
    """Import once what the cases need, which are forks of this process."""
    import cv2  # noqa: F401
    import keypoint_perception.frames.source
    import keypoint_perception.model.checkpoint  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch

    torch.set_num_threads(1)


def campaign(directory: Path, options: argparse.Namespace) -> Iterator[Tally]:
    """Yield the tally of one subject after another."""
    for make in (bag_subjects, model_subjects):
        for subject in make(directory / make.__name__, options.only):
            yield torture(subject, options.cases, options.seed)
    if options.kills and options.only in 'kill':
        yield from kill_verbs(directory, options.kills, options.seed)
    if options.kills and options.only in 'full disk':
        if can_mount():
            yield from fill_disks(directory)
        else:
            print('full disks: left out, this system lets no user mount a file system')


def table(tallies: list[Tally]) -> str:
    """Return the counts as a table in Markdown."""
    rows = [tally.row() for tally in tallies]
    lines = ['| ' + ' | '.join(rows[0]) + ' |', '|' + ' --- |' * len(rows[0])]
    lines += ['| ' + ' | '.join(map(str, row.values())) + ' |' for row in rows]
    return '\n'.join(lines)


def main() -> int:
    """Run the campaign and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--cases', type=int, default=1000, help='per subject')
    parser.add_argument(
        '--kills', type=int, default=20, help='per verb; 0: neither kills nor disks'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', default='', help='subjects whose name contains this')
    parser.add_argument('--out', type=Path, help='file for the table')
    options = parser.parse_args()
    import_libraries()
    tallies: list[Tally] = []
    with tempfile.TemporaryDirectory(prefix='torture_') as directory:
        os.environ['TMPDIR'] = tempfile.tempdir = directory
        for tally in campaign(Path(directory), options):
            tallies.append(tally)
            print(', '.join(f'{name} {value}' for name, value in tally.row().items()), flush=True)
            for example in tally.examples:
                print(f'    {example}', flush=True)
    if not tallies:
        parser.error(f'no subject has {options.only!r} in its name')
    text = (
        f'Seed {options.seed}, {platform.processor() or platform.machine()}, {date.today()}.\n\n'
    )
    if options.out:
        options.out.write_text(f'{text}{table(tallies)}\n')
    print(table(tallies))
    return int(any(tally.faults for tally in tallies))


if __name__ == '__main__':
    sys.exit(main())
