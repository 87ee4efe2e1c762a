"""What all tests have in common: Ctrl-C is heard, and nothing is left in the user's home."""

import os
from pathlib import Path
import signal

import pytest

# A shell starts what it runs in the background deaf to Ctrl-C, and children inherit that; many
# tests end processes by it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope='session')
def environment_of_processes(tmp_path_factory):
    """Give processes of tests an engine cache of their own, and the modules in test/support."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp('engines') / 'cache'
        patch.setenv('KEYPOINT_PERCEPTION_ENGINE_CACHE', str(cache))
        patch.setenv('PYTHONPATH', str(Path(__file__).parent / 'support'), prepend=os.pathsep)
        yield
