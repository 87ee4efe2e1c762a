"""What a run reconstructs is shown as it is learned."""

from keypoint_perception.learning.config import read_config
from keypoint_perception.learning.learner import Learner
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.learning.run_log import reconstruction_sheet
from keypoint_perception.model.layers import normalise
import numpy as np
import pytest
import torch

HW = (32, 48)


def learner_of(objective: str) -> Learner:
    torch.manual_seed(0)
    stated = {'objective': objective, 'keypoints': 3, 'width': 8}
    return Learner(read_config(None, stated, None), HW, DatasetStatistics(change=0.5))


def pair():
    frames = torch.randint(0, 255, (2, 2, *HW, 3), dtype=torch.uint8)
    return frames[0], frames[1], {'background': torch.zeros(2, 3, *HW)}


RECONSTRUCTING = (
    'temporal_transport',
    'spatio_temporal_transport',
    'conditional_generation',
    'motion_energy',
    'default',
)


@pytest.mark.parametrize('name', RECONSTRUCTING)
def test_what_is_shown_is_what_the_pixels_are_compared_with(name, monkeypatch):
    learner = learner_of(name)
    objective = learner.objective.objectives[name]
    images0, images1, extra = pair()
    batch = PairBatch(learner.network, normalise(images0), normalise(images1), extra)
    reconstructed = objective.reconstruct(batch)
    assert reconstructed.shape == (2, 3, *HW)
    # another source changes it, and so does another target
    turned = PairBatch(learner.network, batch.image0.flip(-1), batch.image1, extra)
    if name != 'default':  # which begins with the background alone
        assert not torch.allclose(objective.reconstruct(turned), reconstructed, atol=1e-4)


def test_sheet_has_source_target_and_rebuilt_below_each_other(monkeypatch):
    learner = learner_of('temporal_transport')
    images0, images1, extra = pair()
    objective = learner.objective.objectives['temporal_transport']
    monkeypatch.setattr(objective, 'reconstruct', lambda batch: batch.image1 * 2)
    sheet = reconstruction_sheet(learner, images0, images1, extra)
    height, width = HW
    assert sheet.shape == (3 * (height + 2) - 2, 2 * (width + 2) - 2, 3)
    np.testing.assert_array_equal(sheet[:height, width + 2 :], images0[1])
    np.testing.assert_array_equal(sheet[height + 2 : 2 * height + 2, :width], images1[0])
    made = sheet[2 * (height + 2) :, :width].astype(int)
    # twice as far from grey, and never beyond black and white
    wanted = np.clip(2 * images1[0].numpy().astype(int) - 127.5, 0, 255)
    assert np.abs(made - wanted).max() <= 1


def test_nothing_is_shown_where_nothing_is_rebuilt():
    assert reconstruction_sheet(learner_of('equivariance'), *pair()) is None
