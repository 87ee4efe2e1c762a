"""Settings: declared once, checked and printed for files, command lines and parameters."""

from dataclasses import dataclass, field
import math

from keypoint_perception.errors import ConfigError
from keypoint_perception.settings import (
    from_parameters,
    from_yaml,
    refuse_unknown,
    Setting,
    setting,
    Settings,
    settings_of,
    table,
)
import pytest


@dataclass(frozen=True)
class Inner(Settings):
    angle: float = setting(20.0, low=0, high=180, help='Rotation, degrees.')
    kind: str = setting('none', name='filter', choices=('none', 'kalman'), help='Filter.')


@dataclass(frozen=True)
class Plain(Settings):
    rate: float = setting(1.0, above=0, high=1e9, help='Images per second.')
    count: int = setting(2, low=0, help='Keypoints.', alias='number')
    name: str = setting('a', help='Name.', live=False)
    flag: bool = setting(False, help='Whether.')
    cameras: tuple[str, ...] = setting((), names=True, help='Cameras.')
    topics: tuple[str, ...] = setting((), help='Topics.')
    weights: dict[str, float] = setting({}, help='Weights.')
    several: str | list = 'a'
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Wide(Inner):
    angle: float = 180.0


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ({'rate': 2}, Plain(rate=2.0)),
        ({'rate': '1e-3'}, Plain(rate=0.001)),
        ({'name': 16}, Plain(name='16')),
        ({'flag': True, 'count': 3}, Plain(flag=True, count=3)),
        ({'number': 3}, Plain(count=3)),
        ({'cameras': ['a', 'b'], 'topics': ['']}, Plain(cameras=('a', 'b'))),
        ({'angle': 90, 'filter': 'kalman'}, Plain(inner=Inner(angle=90.0, kind='kalman'))),
        (
            {'weights': {'a': 1}, 'several': ['a', 'b']},
            Plain(weights={'a': 1}, several=['a', 'b']),
        ),
    ],
)
def test_what_is_meant_is_taken(values, expected):
    built = from_yaml(Plain, values, 'the file')
    assert built == expected
    assert type(built.rate) is float


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'rate': 'fast'}, "rate: must be a number above 0 and at most 1000000000, got 'fast'"),
        ({'rate': 0}, 'rate: must be a number above 0 .*, got 0'),
        ({'rate': math.nan}, 'rate: must be a number above 0 .*, got nan'),
        ({'rate': True}, 'rate: must be a number .*, got True'),
        ({'rate': None}, 'rate: must be a number .*, got None'),
        ({'count': -1}, r'count: must be an integer, 0 or more, got -1\.'),
        ({'count': 1.5}, r'count: must be an integer, 0 or more, got 1\.5'),
        ({'count': True}, 'count: must be an integer, 0 or more, got True'),
        ({'count': 1, 'number': 1}, "file states 'count' and its former name 'number'; remove 'n"),
        ({'angle': 181}, r'angle: must be a number from 0 to 180, got 181\.'),
        ({'filter': 'mean'}, "filter: must be one of none, kalman, got 'mean'"),
        ({'name': True}, 'name: must be text, got True'),
        ({'name': ['a']}, r"name: must be text, got \['a'\]"),
        ({'flag': 1}, 'flag: must be true or false, got 1'),
        ({'cameras': 'a'}, "cameras: must be a list of distinct names of letters, .* got 'a'"),
        ({'cameras': ['a', 'a']}, 'cameras: must be a list of distinct names'),
        ({'cameras': ['a', '']}, 'cameras: must be a list of distinct names'),
        ({'cameras': ['front left']}, 'cameras: must be a list of distinct names'),
        ({'topics': '/a'}, r"topics: must be a list of text, such as \[a, b\], got '/a'"),
        ({'topics': [1]}, r'topics: must be a list of text, .*, got \[1\]'),
        ({'weights': [1]}, r'weights: must be a mapping of names to values, got \[1\]'),
        ({'rat': 1, 2: 3}, "the file has no '2', 'rat'; known: angle, cameras, count, filter, f"),
        ([1], r'the file: must be a mapping of names to values, got \[1\]'),
    ],
)
def test_what_is_not_is_refused_by_name(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        from_yaml(Plain, values, 'the file')


def test_values_are_checked_wherever_they_come_from():
    with pytest.raises(ConfigError, match='angle: must be a number from 0 to 180, got -1'):
        Inner(angle=-1)
    assert type(Inner(angle=1).angle) is float


def test_parameters_are_not_read_as_yaml():
    assert from_parameters(Plain, {'filter': 'kalman', 'unknown': 1}).inner.kind == 'kalman'
    with pytest.raises(ConfigError, match=r"rate: must be a number .*, got '1e-3'"):
        from_parameters(Plain, {'rate': '1e-3'})
    with pytest.raises(ConfigError, match='name: must be text, got 16'):
        from_parameters(Plain, {'name': 16})


def test_numbers_are_finite():
    with pytest.raises(ConfigError, match='weight: must be a number, got inf'):
        Setting('weight', float).check(math.inf)


def test_a_default_is_restated_alone():
    assert Wide().angle == settings_of(Wide)['angle'].default == 180.0
    with pytest.raises(ConfigError, match='angle: must be a number from 0 to 180, got 181'):
        Wide(angle=181)


def test_mappings_are_not_shared():
    Plain().weights['a'] = 1.0
    assert Plain().weights == {}


def test_only_mappings_have_names():
    with pytest.raises(ConfigError, match=r"settings: must be a mapping .*, got \['a'\]"):
        refuse_unknown(['a'], ['a'], 'settings')
    refuse_unknown({}, ['a'], 'settings')


def test_table():
    lines = table(Plain, live=True).splitlines()
    assert lines[:5] == [
        '| parameter | type | default | values | live |  |',
        '| --- | --- | --- | --- | --- | --- |',
        '| `rate` | double | `1.0` | a number above 0 and at most 1000000000 | yes | Images per '
        'second. |',
        '| `count` | int | `2` | an integer, 0 or more | yes | Keypoints. |',
        '| `name` | string | `a` | text | no | Name. |',
    ]
    assert lines[-1] == '| `filter` | string | `none` | one of none, kalman | yes | Filter. |'
    plain = table(Plain).splitlines()
    assert plain[0] == '| setting | default | values |  |'
    assert plain[5] == '| `flag` | `false` | true or false | Whether. |'
    assert plain[8] == '| `weights` |  | a mapping of names to values | Weights. |'
