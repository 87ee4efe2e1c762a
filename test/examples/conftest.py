"""Processes and peers of the node's tests serve the examples' tests too."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parents[1] / 'ros' / 'conftest.py'
_SPEC = importlib.util.spec_from_file_location('conftest_of_ros', _PATH)
_shared = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_shared)

ros_domain, start, peer = _shared.ros_domain, _shared.start, _shared.peer
