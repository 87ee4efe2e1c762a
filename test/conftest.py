"""What all tests have in common: Ctrl-C is heard, and nothing is left in the user's home."""

import os
import signal

import pytest

# A shell starts what it runs in the background deaf to Ctrl-C, and children inherit that; many
# tests end processes by it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope='session')
def engine_cache_of_the_tests(tmp_path_factory):
    """Keep compiled engines and optimised graphs of the tests in a folder of their own."""
    name = 'KEYPOINT_PERCEPTION_ENGINE_CACHE'
    before = os.environ.get(name)
    os.environ[name] = str(tmp_path_factory.mktemp('engines') / 'cache')
    yield
    os.environ.pop(name)
    if before is not None:
        os.environ[name] = before
