"""
Put faults into the objectives and the read-out, and list those that their unit tests do not see.

    python -m torture.mutation_testing [--only transport] [--sample 200] [--seed 0]

A mutant is tested by the unit tests of its file alone: ``learning/loss_terms.py`` by
``test/learning/test_loss_terms.py``. Mutants that no test can see are listed with the reason in
``torture/equivalent_mutants.txt`` and are not counted. The exit status is 1 if more than one in 20
survives.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import date
import os
from pathlib import Path
import platform
from random import Random
import sys
import time

from torture.mutant_trials import import_libraries, PACKAGE, ROOT, survivors
from torture.mutants import Mutant, mutants

EQUIVALENTS = Path(__file__).with_name('equivalent_mutants.txt')
MOST_SURVIVORS = 1 / 20
# A mutant may loop for ever: it is given so much longer than its tests take, s.
SECONDS = 20
OBJECTIVES = 'learning/objectives'
# The files that are mutated, and tests of theirs beside the one that mirrors them.
FILES = (
    'learning/data/foreground.py', 'learning/data/pairs.py', 'learning/data/photometric.py',
    'learning/data/warps.py', 'learning/loss_terms.py', 'learning/motion_losses.py',
    'learning/reconstruction.py', 'model/heatmaps.py',
)  # fmt: skip
COMMON = (
    f'test/{OBJECTIVES}/test_objectives.py::test_settings_and_weights_are_those_of_the_documents'
)


def mutated_files() -> list[str]:
    """Return the files of the package that are mutated."""
    folder = ROOT / PACKAGE / OBJECTIVES
    names = sorted(path.name for path in folder.glob('*.py') if path.stem[0] != '_')
    return [f'{OBJECTIVES}/{name}' for name in names] + list(FILES)


def unit_tests(file: str) -> list[str]:
    """Return the unit tests of a file of the package."""
    folder, name = os.path.split(file)
    common = [f'{COMMON}[{name.removesuffix(".py")}]'] if folder == OBJECTIVES else []
    return [f'test/{folder}/test_{name}', *common]


def equivalents() -> dict[str, str]:
    """Return the mutants that no test can see, ``file: key``, and the reasons."""
    lines = EQUIVALENTS.read_text().splitlines()
    pairs = [line.rsplit(' | ', 1) for line in lines if line and not line.startswith('#')]
    return {key.strip(): reason.strip() for key, reason in pairs}


def mutants_of(file: str) -> list[Mutant]:
    """Return the mutants of a file of the package."""
    return list(mutants((ROOT / PACKAGE / file).read_text()))


def _survivors(file: str, chosen: Sequence[Mutant]) -> list[str]:
    """Return those of a file's mutants that its tests accept, as ``file: key``, and print them."""
    began = time.monotonic()
    found = [chosen[i] for i in sorted(survivors(file, unit_tests(file), chosen, SECONDS))]
    for mutant in found:
        print(f'line {mutant.line} | {file}: {mutant.key}')
    spent = time.monotonic() - began
    print(f'{file}: {len(chosen)} mutants, {len(found)} survive, {spent:.0f} s', flush=True)
    return [f'{file}: {mutant.key}' for mutant in found]


def main() -> int:
    """Run the campaign and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--only', default='', help='files whose path contains this')
    parser.add_argument('--sample', type=int, default=0, help='mutants of all files; 0: all')
    parser.add_argument('--seed', type=int, default=0, help='of the sample')
    parser.add_argument('--out', type=Path, help='file for the survivors')
    parser.add_argument('--again', type=Path, help='try those of such a file alone')
    options = parser.parse_args()
    os.chdir(ROOT)
    import_libraries()
    made = [(f, m) for f in mutated_files() if options.only in f for m in mutants_of(f)]
    known = options.again.read_text().splitlines() if options.again else None
    if known is not None:
        made = [(f, m) for f, m in made if f'{f}: {m.key}' in known]
    made = [(f, m) for f, m in made if f'{f}: {m.key}' not in equivalents()]
    if not made:
        parser.error(f'no file has {options.only!r} in its path')
    total = len(made)
    if options.sample:
        made = Random(options.seed).sample(made, min(options.sample, total))
    left: list[str] = []
    for file in dict.fromkeys(file for file, _ in sorted(made, key=lambda pair: pair[0])):
        left += _survivors(file, [mutant for name, mutant in made if name == file])
    share = len(left) / len(made)
    print(
        f'{len(left)} of {len(made)} mutants survive ({100 * share:.1f} %; {total} can be '
        f'made), seed {options.seed}, {platform.processor() or platform.machine()}, '
        f'{date.today()}.'
    )
    if options.out:
        options.out.write_text(''.join(f'{key}\n' for key in left))
    return int(share > MOST_SURVIVORS)


if __name__ == '__main__':
    sys.exit(main())
