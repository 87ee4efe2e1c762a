"""Mutants of a source are what a slip of the pen makes, and the trials tell which are noticed."""

import ast

from torture.mutant_trials import PACKAGE, ROOT, survivors
from torture.mutants import Mutant, mutants
from torture.mutation_testing import equivalents, mutants_of, mutated_files, unit_tests

SOURCE = '''
"""Words, which nobody mutates."""

def f(a: int, b: int = 2) -> int:
    """Return 3."""
    if a < b:
        raise ValueError(f'{a + b}')
    with torch.no_grad():
        x = g(a, b).detach().clamp(min=0.5, max=a)
    return {'sum': x.sum() + 1}, (a - b).square()
'''
CHANGES = {
    '2 -> 3',
    'if a < b: -> if not a < b:',
    'a < b -> a <= b',
    'a < b -> a >= b',
    'with torch.no_grad(): -> if True:',
    'g(a, b).detach().clamp(min=0.5, max=a) -> g(a, b).detach()',
    'g(a, b).detach().clamp(min=0.5, max=a) -> g(a, b).detach().clamp(min=0.5)',
    'g(a, b).detach().clamp(min=0.5, max=a) -> g(a, b).detach().clamp(max=a)',
    'g(a, b).detach() -> g(a, b)',
    'g(a, b) -> g(b, a)',
    '0.5 -> 1.0',
    "return ({'sum': x.sum() + 1}, (a - b).square()) -> "
    "return ((a - b).square(), {'sum': x.sum() + 1})",
    "{'sum': x.sum() + 1} -> {'sum': (x.sum() + 1) * 0}",
    'x.sum() + 1 -> x.sum() - 1',
    'x.sum() + 1 -> x.sum()',
    'x.sum() + 1 -> 1',
    'x.sum() -> x.mean()',
    '1 -> 2',
    '(a - b).square() -> a - b',
    'a - b -> a + b',
    'a - b -> a',
}


def test_a_mutant_has_one_slip():
    made = list(mutants(SOURCE))
    assert {mutant.key.removeprefix('f: ') for mutant in made} == CHANGES
    assert len(made) == len(CHANGES)
    assert len({mutant.source for mutant in made}) == len(made)
    # a default value is no part of the function's code
    assert {mutant.key for mutant in made if mutant.function != 'f'} == {'f: 2 -> 3'}
    for mutant in made:
        ast.parse(mutant.source)


def test_the_files_that_are_mutated_have_unit_tests_their_own():
    files = mutated_files()
    assert 'learning/objectives/default.py' in files and 'model/heatmaps.py' in files
    for file in files:
        for test in unit_tests(file):
            assert (ROOT / test.split('::')[0]).is_file()


def test_mutants_that_no_test_can_see_have_a_reason_and_can_be_made():
    """A few may be of code that has changed since; a new one is then tried."""
    keys = {f'{file}: {mutant.key}' for file in mutated_files() for mutant in mutants_of(file)}
    known = equivalents()
    assert len(set(known) - keys) <= len(known) / 5
    assert all(known.values())


def test_the_trials_tell_what_is_noticed():
    file = 'learning/reconstruction.py'
    source = (ROOT / PACKAGE / file).read_text()
    traced = source.replace('pixel.detach()', 'pixel')
    endless = source.replace(
        '    return (1 - 2', '    while True:\n        pass\n    return (1 - 2'
    )
    assert len({source, traced, endless}) == 3
    tried = [Mutant('', 0, 'explained_motion', lambda t=t: t) for t in (source, traced, endless)]
    test = f'{unit_tests(file)[0]}::test_an_error_of_one_half_explains_nothing'
    assert survivors(file, [test], tried, seconds=5) == {0}
