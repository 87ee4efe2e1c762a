"""The package is formatted, linted and typed, as ROS packages hold their own by tests."""

from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]
CHECKS = {
    'ruff check': ['ruff', 'check', '.'],
    'ruff format': ['ruff', 'format', '--check', '.'],
    'mypy': ['mypy'],
}


@pytest.mark.parametrize('arguments', CHECKS.values(), ids=CHECKS)
def test_the_package_passes(arguments):
    done = subprocess.run(
        [sys.executable, '-m', *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
