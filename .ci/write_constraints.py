"""Write the package versions of this environment to ``constraints.txt``."""

from importlib.metadata import distributions
from pathlib import Path

HEAD = """\
# The versions with which `make demo` and `make test` are known to work on Python 3.11.
# `make constraints` rewrites this file from .venv/. setup.py declares version ranges.
"""
NOT_PINNED = {'keypoint-perception', 'pip'}


def pins() -> list[str]:
    """
    Return one line per distribution.

    The ROS wheels contain metadata of parts that no registry offers, so only what pip installed is
    listed. The local suffix of a version such as ``2.13.0+cpu`` is one machine only: dropped.
    """
    found = {}
    for distribution in distributions():
        name = distribution.metadata['Name'].lower().replace('_', '-')
        if distribution.read_text('INSTALLER') is not None and name not in NOT_PINNED:
            found[name] = distribution.version.split('+')[0]
    return [f'{name}=={version}' for name, version in sorted(found.items())]


if __name__ == '__main__':
    text = HEAD + '\n'.join(pins()) + '\n'
    Path('constraints.txt').write_text(text, encoding='utf-8')
