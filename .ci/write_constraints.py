"""Write the package versions of this environment to ``constraints.txt``, with their hashes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions
import json
from pathlib import Path
import re
import urllib.request

from pip._internal.models.index import PyPI

HEAD = """\
# The versions with which `make demo` and `make test` are known to work on Python 3.11, with the
# hashes of their files for Linux and Python 3.11 and 3.12: pip installs no other file.
# `make constraints` rewrites this file from .venv/. setup.py declares version ranges.
"""
NOT_PINNED = {'keypoint-perception', 'pip', 'torch'}  # torch is pinned in the Makefile
# Packages that are not for every machine: as in setup.py.
ON_X86_64 = 'python_version < "3.12" and platform_machine == "x86_64" and sys_platform == "linux"'
MARKERS = {'pybullet': ON_X86_64}
WHEEL = re.compile(r'-(cp31[12]-\w+|cp3\d+-abi3|(py2\.)?py3-none)-(any|.*linux_.*)\.whl$')


def pins() -> list[tuple[str, str]]:
    """
    Return the name and version of each distribution.

    The ROS wheels contain metadata of parts that no registry offers, so only what pip installed is
    listed. The local suffix of a version such as ``2.13.0+cpu`` is one machine only: dropped.
    """
    found = {}
    for distribution in distributions():
        name = distribution.metadata['Name'].lower().replace('_', '-')
        if distribution.read_text('INSTALLER') is not None and name not in NOT_PINNED:
            found[name] = distribution.version.split('+')[0]
    return sorted(found.items())


def hashes(pin: tuple[str, str]) -> list[str]:
    """Return the SHA-256 of the wheels of a version, or of its source where there is none."""
    name, version = pin
    accept = {'Accept': 'application/vnd.pypi.simple.v1+json'}
    request = urllib.request.Request(f'{PyPI.simple_url}/{name}/', headers=accept)
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)['files']
    names = re.compile(rf'[^-]+-{re.escape(version)}(-|\.tar|\.zip)')
    by_file = {f['filename']: f['hashes']['sha256'] for f in files if names.match(f['filename'])}
    wheels = [value for file, value in by_file.items() if WHEEL.search(file)]
    return sorted(wheels or by_file.values())


def lines() -> Iterator[str]:
    """Yield the lines of each distribution, in the syntax of pip's requirements files."""
    found = pins()
    with ThreadPoolExecutor(8) as pool:
        for (name, version), values in zip(found, pool.map(hashes, found), strict=True):
            if not values:
                raise SystemExit(f'{name} {version} has no file on PyPI')
            marker = f' ; {MARKERS[name]}' if name in MARKERS else ''
            options = [f'--hash=sha256:{value}' for value in values]
            yield ' \\\n    '.join([f'{name}=={version}{marker}', *options])


if __name__ == '__main__':
    Path('constraints.txt').write_text(HEAD + '\n'.join(lines()) + '\n', encoding='utf-8')
