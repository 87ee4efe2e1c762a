"""
The node with fake engines that a test holds busy.

Each call prints ``batch N`` and ``busy`` and waits for a line on standard input: ``go`` answers,
``nan`` answers NaN, ``fail`` raises what a library would raise.
"""

import sys

from fake_engine import FakeEngine
from keypoint_perception.ros.perception import engine_loading
from keypoint_perception.ros.perception_node import main
import numpy as np


def load(model_dir, name, *, max_batch, **settings):
    """Return an engine that asks the test after its warm-up."""
    del model_dir, name, settings
    runs, warm_up = iter(range(10_000)), 3 * max_batch

    def answer(images):
        keypoints = np.full((len(images), 3, 3), 0.5, np.float32)
        if next(runs) < warm_up:
            return keypoints
        print(f'batch {len(images)}\nbusy', flush=True)
        what = sys.stdin.readline().strip()
        if what == 'fail':
            raise RuntimeError('the library broke')
        if what == 'nan':
            keypoints[:, 1] = np.nan
        return keypoints

    return FakeEngine(answer)


if __name__ == '__main__':
    engine_loading.model_identity = lambda model_dir: f'{model_dir} (fake)'
    sys.exit(main(load=load))
