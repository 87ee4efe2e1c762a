"""Values of YAML files and command lines -> checked dataclasses."""

from __future__ import annotations

from dataclasses import fields

from keypoint_perception.errors import ConfigError


def build(kind: type, values: dict, where: str):
    """
    Return a dataclass made of values by name.

    :raises ConfigError: if a name is unknown or a value of another type
    """
    refuse_unknown(values, [f.name for f in fields(kind)], where)
    # a type is text in modules that put off annotations, and a class in others
    kinds = {f.name: getattr(f.type, '__name__', str(f.type)) for f in fields(kind)}
    # YAML reads 2 where 2.0 is meant, 1e-3 as text and the precision 16 as a number
    return kind(**{name: _number(value, kinds[name], name) for name, value in values.items()})


def _number(value, kind: str, name: str):
    if kind == 'float':
        try:
            # true is no number, though Python takes it for one
            return float(str(value) if isinstance(value, bool) else value)
        except (TypeError, ValueError) as error:
            msg = f'{name}: must be a number, got {value!r}.'
            raise ConfigError(msg) from error
    if kind == 'str' and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if kind == 'str' and not isinstance(value, str):
        msg = f'{name}: must be text, got {value!r}.'
        raise ConfigError(msg)
    if kind == 'int' and (isinstance(value, bool) or not isinstance(value, int)):
        msg = f'{name}: must be a whole number, got {value!r}.'
        raise ConfigError(msg)
    if kind == 'bool' and not isinstance(value, bool):
        msg = f'{name}: must be true or false, got {value!r}.'
        raise ConfigError(msg)
    if kind.startswith('dict') and not isinstance(value, dict):
        msg = f'{name}: must be a mapping of names to values, got {value!r}.'
        raise ConfigError(msg)
    return value


def refuse_unknown(values: dict, known, where: str) -> None:
    """
    Refuse names that are not known.

    :raises ConfigError: naming them and the known ones
    """
    if not isinstance(values, dict):
        msg = f'{where}: must be a mapping of names to values, got {values!r}.'
        raise ConfigError(msg)
    unknown = sorted(str(name) for name in values if name not in known)
    if unknown:
        msg = f'{where} has no {", ".join(map(repr, unknown))}; known: {", ".join(sorted(known))}.'
        raise ConfigError(msg)
