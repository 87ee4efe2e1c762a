"""The benchmarks of nodes use the isolated domain and the model of the nodes' tests."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parents[2] / 'ros' / 'conftest.py'
_SPEC = importlib.util.spec_from_file_location('conftest_of_ros', _PATH)
_shared = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_shared)

ros_domain, model_dir = _shared.ros_domain, _shared.model_dir
