"""The benchmarks of learning run the program as the commands' tests do."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parents[2] / 'commands' / 'conftest.py'
_SPEC = importlib.util.spec_from_file_location('conftest_of_commands', _PATH)
_shared = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_shared)

run_verb = _shared.run_verb
