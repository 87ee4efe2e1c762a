"""Values of files and command lines: the types that are meant, and no others."""

from dataclasses import dataclass, field

from keypoint_perception.errors import ConfigError
from keypoint_perception.settings import build, refuse_unknown
import pytest


@dataclass(frozen=True)
class Plain:
    """Types as classes; the package's own are text, which TrainConfig's tests go through."""

    rate: float = 1.0
    count: int = 2
    name: str = 'a'
    flag: bool = False
    weights: dict[str, float] = field(default_factory=dict)
    several: str | list = 'a'


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'rate': 2}, Plain(rate=2.0)),
        ({'rate': '1e-3'}, Plain(rate=0.001)),
        ({'name': 16}, Plain(name='16')),
        ({'flag': True, 'count': 3}, Plain(flag=True, count=3)),
        (
            {'weights': {'a': 1}, 'several': ['a', 'b']},
            Plain(weights={'a': 1}, several=['a', 'b']),
        ),
    ],
)
def test_what_is_meant_is_taken(values, expected):
    built = build(Plain, values, 'the file')
    assert built == expected
    assert type(built.rate) is float


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'rate': 'fast'}, "rate: must be a number, got 'fast'"),
        ({'rate': True}, 'rate: must be a number, got True'),
        ({'rate': None}, 'rate: must be a number, got None'),
        ({'count': 1.5}, r'count: must be a whole number, got 1\.5'),
        ({'count': True}, 'count: must be a whole number, got True'),
        ({'name': True}, 'name: must be text, got True'),
        ({'name': ['a']}, r"name: must be text, got \['a'\]"),
        ({'flag': 1}, 'flag: must be true or false, got 1'),
        ({'weights': [1]}, r'weights: must be a mapping of names to values, got \[1\]'),
        ({'rat': 1, 2: 3}, "the file has no '2', 'rat'; known: count, flag, name, rate, several"),
    ],
)
def test_what_is_not_is_refused_by_name(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build(Plain, values, 'the file')


def test_only_mappings_have_names():
    with pytest.raises(ConfigError, match=r"settings: must be a mapping .*, got \['a'\]"):
        refuse_unknown(['a'], ['a'], 'settings')
    refuse_unknown({}, ['a'], 'settings')
