"""What all tests have in common: they leave nothing in the user's home."""

import os

import pytest


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
