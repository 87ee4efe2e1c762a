"""An engine that does not get warm is given back."""

from keypoint_perception.errors import EngineError
from keypoint_perception.ros.perception.engine_loading import EngineSpec, load_warm
import pytest


class Cold:
    """An engine that has no memory for what it is asked."""

    input_hw = (8, 8)
    closed = False

    def run(self, images):
        raise RuntimeError(f'no memory for {len(images)}')

    def close(self):
        self.closed = True


def test_an_engine_that_does_not_get_warm_is_given_back(tmp_path):
    engine = Cold()
    with pytest.raises(EngineError, match=r"cannot run '.*': RuntimeError: no memory for 1\."):
        load_warm(lambda *_, **__: engine, EngineSpec(str(tmp_path), 'torch', 1), 2)
    assert engine.closed
