"""
Settings: dataclass fields that are declared once and checked wherever their values come from.

A setting states its default, what it accepts and its help text::

    @dataclass(frozen=True)
    class Limits(Settings):
        threads: int = setting(0, low=0, high=256, help='CPU threads; 0: chosen by the library.')

Making ``Limits`` checks its values. :func:`from_yaml` makes it of a file or a command line and
:func:`from_parameters` of a node's parameters; :func:`settings_of` lists the declarations, and
:func:`table` prints them for the documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
import re
from typing import Any, get_origin, get_type_hints, TypeVar

from keypoint_perception.errors import ConfigError

# The kinds of values that are checked: the name of the ROS type, and what is expected, in words.
KINDS: dict[type, tuple[str, str]] = {
    bool: ('bool', 'true or false'),
    int: ('int', 'an integer'),
    float: ('double', 'a number'),
    str: ('string', 'text'),
    tuple: ('string array', 'a list of text, such as [a, b]'),
    dict: ('', 'a mapping of names to values'),
    object: ('', ''),
}
NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
Value = bool | int | float | str | tuple[str, ...]
T = TypeVar('T')
S = TypeVar('S', bound='Settings')


@dataclass(frozen=True)
class Setting:
    """
    One setting; see :func:`setting`.

    :param kind: type of the values; ``object`` accepts all
    """

    name: str
    kind: type = object
    default: Any = None
    help: str = ''
    low: float | None = None
    above: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    names: bool = False
    live: bool = True
    alias: str = ''

    @property
    def expected(self) -> str:
        """Return in words which values are accepted."""
        if self.choices:
            return f'one of {", ".join(self.choices)}'
        if self.names:
            return 'a list of distinct names of letters, digits and _'
        low, above, high = map(_bound, (self.low, self.above, self.high))
        bounds = f' above {above}' if above else f' from {low}' if high else f', {low} or more'
        if high:
            bounds += f' and at most {high}' if above else f' to {high}'
        return KINDS[self.kind][1] + (bounds if low or above else '')

    def check(self, value: object) -> Any:
        """
        Return the value as its kind: a list as a tuple, an integer as a float.

        The list of one empty text is an empty list: ROS cannot tell the type of the latter.

        :raises ConfigError: if the value is not accepted
        """
        found = value
        if self.kind is float and type(value) is int:
            found = float(value)
        elif self.kind is tuple and isinstance(value, list):
            found = () if value == [''] else tuple(value)
        if not self._accepts(found):
            msg = f'{self.name}: must be {self.expected}, got {value!r:.200}.'
            raise ConfigError(msg)
        return found

    def _accepts(self, value: object) -> bool:
        if not isinstance(value, self.kind):
            return False
        if isinstance(value, bool):
            return self.kind in (bool, object)
        if isinstance(value, tuple):
            if self.names and len(set(value)) < len(value):
                return False
            return all(isinstance(t, str) and (not self.names or NAME.fullmatch(t)) for t in value)
        if isinstance(value, (int, float)):
            above = float('-inf') if self.above is None else self.above
            low = above if self.low is None else self.low
            high = float('inf') if self.high is None else self.high
            # infinite numbers are refused even without bounds
            return low <= value <= high and above < value < float('inf')
        return not self.choices or value in self.choices


def setting(
    default: T,
    *,
    help: str,  # noqa: A002 as everywhere where options are declared
    name: str = '',
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    choices: Iterable[str] = (),
    names: bool = False,
    live: bool = True,
    alias: str = '',
) -> T:
    """
    Return the field of a setting.

    A subclass may restate a field with another default alone; the rest stays as declared.

    :param help: one sentence for users, with the unit and the meaning of special values
    :param name: as users know it, if that is not the name of the field
    :param low: smallest accepted number, or ``above``, an exclusive bound
    :param high: largest accepted number
    :param choices: the accepted texts
    :param names: accept distinct names alone
    :param live: whether a change takes effect while a node runs
    :param alias: former name, still accepted in files
    """
    rules = {
        'help': help, 'name': name, 'low': low, 'above': above, 'high': high,
        'choices': tuple(choices), 'names': names, 'live': live, 'alias': alias,
    }  # fmt: skip
    if isinstance(default, dict):
        return field(default_factory=lambda: type(default)(default), metadata=rules)
    return field(default=default, metadata=rules)


class Settings:
    """Base of dataclasses whose fields are settings, or groups of settings."""

    def __post_init__(self) -> None:
        for name, member in _members(type(self)).items():
            if isinstance(member, Setting):
                object.__setattr__(self, name, member.check(getattr(self, name)))


_MEMBERS: dict[type[Settings], dict[str, Setting | type[Settings]]] = {}


def _members(kind: type[Settings]) -> dict[str, Setting | type[Settings]]:
    """Return a setting or a group of settings for each field."""
    if kind not in _MEMBERS:
        hints = get_type_hints(kind)
        _MEMBERS[kind] = {name: _member(kind, name, hint) for name, hint in hints.items()}
    return _MEMBERS[kind]


def _member(kind: type[Settings], name: str, hint: Any) -> Setting | type[Settings]:
    origin = get_origin(hint) or hint
    if isinstance(origin, type) and issubclass(origin, Settings):
        return origin
    declared = [getattr(base, '__dataclass_fields__', {}).get(name) for base in kind.__mro__]
    rules = next((dict(d.metadata) for d in declared if d is not None and d.metadata), {})
    return Setting(
        **rules | {'name': rules.get('name') or name},
        kind=origin if origin in KINDS else object,
        default=getattr(kind, name, None),
    )


def settings_of(kind: type[Settings]) -> dict[str, Setting]:
    """Return the settings of a dataclass and of its groups by the names that users know."""
    found: dict[str, Setting] = {}
    for member in _members(kind).values():
        found |= {member.name: member} if isinstance(member, Setting) else settings_of(member)
    return found


def from_parameters(kind: type[S], values: Mapping[str, object]) -> S:
    """
    Return settings made of values by name; other names are ignored, missing ones take defaults.

    :raises ConfigError: if a value is not accepted
    """
    given: dict[str, Any] = {}
    for name, member in _members(kind).items():
        if not isinstance(member, Setting):
            given[name] = from_parameters(member, values)
        elif member.name in values:
            given[name] = values[member.name]
    return kind(**given)


def from_yaml(kind: type[S], values: object, where: str) -> S:
    """
    Return settings made of the values of a YAML file or a command line.

    YAML reads 1e-3 as text and the text 16 as a number: both are taken as they are meant.

    :param where: what holds the values, for error sentences
    :raises ConfigError: if a name is unknown or a value is not accepted
    """
    known = settings_of(kind)
    values = current_names(kind, values, where)
    refuse_unknown(values, known, where)
    return from_parameters(kind, {n: _as_meant(value, known[n]) for n, value in values.items()})


def _as_meant(value: object, known: Setting) -> object:
    if known.kind is str and type(value) is int:
        return str(value)
    if known.kind is float and isinstance(value, str):
        with suppress(ValueError):  # refused as it is
            return float(value)
    return value


def current_names(kind: type[Settings], values: object, where: str) -> dict[str, Any]:
    """
    Return values by name, with former names of settings replaced by the current ones.

    :raises ConfigError: if a setting is given by both of its names, or values have no names
    """
    given = _mapping(values, where)
    current = {known.alias: name for name, known in settings_of(kind).items() if known.alias}
    for alias, name in current.items():
        if alias in given and name in given:
            msg = f'{where} states {name!r} and its former name {alias!r}; remove {alias!r}.'
            raise ConfigError(msg)
    return {current.get(name, name): value for name, value in given.items()}


def refuse_unknown(values: object, known: Iterable[str], where: str) -> None:
    """Raise ConfigError, which lists the known names, if there are any others."""
    names = sorted(known)
    unknown = sorted(str(name) for name in _mapping(values, where) if name not in names)
    if unknown:
        msg = f'{where} has no {", ".join(map(repr, unknown))}; known: {", ".join(names)}.'
        raise ConfigError(msg)


def _mapping(values: object, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        msg = f'{where}: must be a mapping of names to values, got {values!r:.100}.'
        raise ConfigError(msg)
    return values


def table(kind: type[Settings], *, live: bool = False) -> str:
    """
    Return the settings as a Markdown table.

    :param live: add the ROS types, and which settings can change while a node runs
    """
    head = ['setting', 'default', 'values', '']
    rows = [['parameter', 'type', 'default', 'values', 'live', ''] if live else head]
    rows.append(['---'] * len(rows[0]))
    for known in settings_of(kind).values():
        default = str(known.default).lower() if known.kind is bool else str(known.default)
        row = [f'`{known.name}`', '' if known.default in ('', (), None) else f'`{default}`']
        row += [known.expected, known.help]
        if live:
            row.insert(1, KINDS[known.kind][0])
            row.insert(4, 'yes' if known.live else 'no')
        rows.append(row)
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def _bound(value: float | None) -> str:
    if value is None:
        return ''
    return str(value) if isinstance(value, int) else f'{value:.10g}'
