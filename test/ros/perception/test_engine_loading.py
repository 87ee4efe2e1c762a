"""An engine that fails to warm up is closed."""

from keypoint_perception.errors import EngineError
from keypoint_perception.ros.perception.engine_loading import EngineSpec, load_warm
import pytest


class Cold:
    """An engine that runs out of memory."""

    input_hw = (8, 8)
    closed = False

    def run(self, images):
        raise RuntimeError(f'no memory for {len(images)}')

    def close(self):
        self.closed = True


def test_an_engine_that_fails_to_warm_up_is_closed(tmp_path):
    engine = Cold()
    with pytest.raises(EngineError, match=r"cannot run '.*': RuntimeError: no memory for 1\."):
        load_warm(lambda *_, **__: engine, EngineSpec(str(tmp_path), 'torch', 1), 2)
    assert engine.closed
