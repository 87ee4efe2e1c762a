"""Overrides of a subscription's quality of service."""

from __future__ import annotations

from collections.abc import Mapping

from keypoint_perception.errors import ConfigError
from keypoint_perception.settings import Setting

QOS_PREFIX = 'qos_overrides.'
CHOICES = {
    'reliability': ('best_effort', 'reliable', 'best_available', 'system_default'),
    'durability': ('volatile', 'transient_local', 'best_available', 'system_default'),
    'history': ('keep_last', 'keep_all', 'system_default'),
}
POLICIES = (*CHOICES, 'depth')


def check_qos_overrides(given: Mapping[str, object]) -> None:
    """
    Check overrides before ROS uses them: invalid ones would end the node without a message.

    :param given: values by name, as ``qos_overrides./image.subscription.reliability``
    :raises ConfigError: if a policy is unknown or a value is not accepted
    """
    for name, value in given.items():
        policy = name.rpartition('.')[2]
        if policy == 'depth':
            Setting(name, int, low=0).check(value)
        elif policy in CHOICES:
            Setting(name, str, choices=CHOICES[policy]).check(value)
        else:
            msg = f'{name}: must end in one of {", ".join(POLICIES)}, found {policy!r}.'
            raise ConfigError(msg)
