"""What may be overridden of a subscription's quality of service, and with which values."""

from __future__ import annotations

from keypoint_perception.errors import ConfigError

QOS_PREFIX = 'qos_overrides.'
CHOICES = {
    'reliability': ('best_effort', 'reliable', 'best_available', 'system_default'),
    'durability': ('volatile', 'transient_local', 'best_available', 'system_default'),
    'history': ('keep_last', 'keep_all', 'system_default'),
}
POLICIES = (*CHOICES, 'depth')


def check_qos_overrides(given: dict[str, object]) -> None:
    """
    Look whether ROS can use overrides; it would end without a word when it subscribes.

    :param given: values by name, as ``qos_overrides./image.subscription.reliability``
    :raises ConfigError: if it cannot
    """
    for name, value in given.items():
        policy = name.rpartition('.')[2]
        if policy not in POLICIES:
            expected = f'one of {", ".join(POLICIES)} at its end'
            msg = f'Parameter {name}: must have {expected}, found {policy!r}.'
            raise ConfigError(msg)
        if policy == 'depth':
            good, expected = type(value) is int and value >= 0, 'a whole number, 0 or more'
        else:
            good, expected = value in CHOICES[policy], f'one of {", ".join(CHOICES[policy])}'
        if not good:
            msg = f'Parameter {name}: must be {expected}, got {value!r}.'
            raise ConfigError(msg)
