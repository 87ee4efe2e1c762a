"""A short part of ``make torture``, and that the campaign notices what may not happen."""

from dataclasses import replace
from pathlib import Path
from random import Random
import time

from keypoint_perception.errors import SourceError
import pytest
from torture.bags import bag_subjects, picture, use_bag, whole_identities
from torture.campaign import FAULTS, judge, Subject, torture
from torture.isolation import Outcome, run_case
from torture.models import model_subjects
from torture.mutations import mutate, MUTATIONS
from torture.run import import_libraries, table

BAGS = ['bag mcap', 'bag mcap lz4', 'bag mcap zstd', 'bag db3', 'bag ros1', 'bag ros1 bz2']
OTHERS = ['model: manifest', 'model: ONNX', 'annotations', 'metadata.yaml', 'frame store']
OTHERS += ['image folder', 'JPEG folder']


@pytest.fixture(scope='module')
def subjects(tmp_path_factory):
    import_libraries()
    place = tmp_path_factory.mktemp('subjects')
    made = [*bag_subjects(place)]
    made += [s for name in OTHERS for s in model_subjects(place / 'others', only=name)]
    return {subject.name: subject for subject in made}


@pytest.mark.parametrize(
    ('name', 'cases', 'noticed'), [(n, 60, 20) for n in BAGS] + [(n, 40, 5) for n in OTHERS]
)
def test_what_is_damaged_does_no_harm(subjects, name, cases, noticed):
    tally = torture(subjects[name], cases=cases, seed=1)
    assert tally.counts['cases'] == cases
    assert tally.counts['refused'] + tally.counts['told'] > noticed
    assert tally.examples == []


def test_undamaged_bags_are_read_and_the_reference_agrees(subjects):
    for name in BAGS:
        subject = subjects[name]
        assert set(subject.use(subject.original)) == subject.whole == whole_identities()
        assert subject.promised(subject.original) == subject.whole


def test_mutations_follow_from_the_seed_and_change_something():
    content = picture(0)
    for mutation in MUTATIONS:
        results = []
        for _ in range(2):
            changed, chance = bytearray(content), Random(5)
            while changed == content:  # a block may be swapped with itself
                mutation(changed, chance)
            results.append(changed)
        assert results[0] == results[1] != content, mutation
    assert mutate(content, Random(3)) == mutate(content, Random(3))


def raise_user_error() -> list[str]:
    raise SourceError('It is gone; look elsewhere.')


def end_by_a_signal() -> list[str]:
    import os

    os.abort()


def test_what_a_case_does_is_noticed():
    assert run_case(lambda: ['a']).found == ['a']
    assert run_case(raise_user_error).sentence == 'It is gone; look elsewhere.'
    assert 'ZeroDivisionError' in run_case(lambda: [str(1 // 0)]).fault
    assert run_case(end_by_a_signal).fault == 'ended by SIGABRT'
    assert run_case(lambda: [str(len(b'x' * (400 << 20)))]).peak_bytes > 150 << 20
    waited = run_case(lambda: [str(time.sleep(0.2))])
    assert waited.seconds >= 0.2


@pytest.mark.parametrize(
    ('outcome', 'promised', 'fault'),
    [
        (Outcome(['a', 'b']), {'a', 'b'}, None),
        (Outcome(['a'], notices=['1 is lost']), {'a'}, None),
        (Outcome(sentence='damaged'), set(), None),
        (Outcome(sentence='damaged'), {'a'}, 'lost'),
        (Outcome(['a'], notices=['1 is lost']), {'a', 'b'}, 'lost'),
        (Outcome(['a']), {'a'}, 'silent'),
        (Outcome(['a', 'x']), {'a'}, 'wrong'),
        (Outcome(fault='Traceback'), set(), 'traceback'),
        (Outcome(fault='ended by SIGSEGV'), set(), 'killed'),
        (Outcome(['a', 'b'], seconds=6), set(), 'slow'),
        (Outcome(['a', 'b'], peak_bytes=2 << 30), set(), 'large'),
    ],
)
def test_what_may_not_happen_is_judged(outcome, promised, fault):
    subject = Subject('x', Path(), (), lambda _: [], whole=frozenset('ab'), checked=True)
    assert judge(subject, outcome, promised, 'cut') & set(FAULTS) == ({fault} if fault else set())


def test_a_loss_is_in_the_table(subjects):
    kept = subjects['bag mcap']

    def forget_the_last(place):
        return use_bag(place, 'bag.mcap')[:-1]

    forgetful = replace(kept, name='forgetful', use=forget_the_last)
    tally = torture(forgetful, cases=3, seed=0)
    assert tally.faults >= 1
    assert table([tally]).splitlines()[2].startswith('| forgetful | 3 |')
