"""A directory has one writer at a time."""

from keypoint_perception.errors import PerceptionError
from keypoint_perception.sole_writer import sole_writer
import pytest


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path):
    with sole_writer(tmp_path):
        second = sole_writer(tmp_path)
        with pytest.raises(PerceptionError, match='is being written by another process; wait'):
            second.__enter__()
        with sole_writer(tmp_path.parent):
            pass
    with sole_writer(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
