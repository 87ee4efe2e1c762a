"""What the keypoints of another model say of labelled points, in all frames."""

from types import SimpleNamespace

from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data import landmark_priors
from keypoint_perception.learning.data.landmark_priors import LandmarkPriors
import numpy as np
import pytest
import torch

# Where two points are in each of the twelve frames, px: both keypoints of a model are off by as
# much in all frames.
PLACES = np.random.default_rng(3).uniform((10, 10), (80, 50), (12, 2))


class Model:
    """Finds what is 6 px right of the point in all frames of the store, in their order."""

    def __init__(self, input_hw=(64, 96), noise_px=0.0):
        self.config, self._seen, self._noise_px = SimpleNamespace(input_hw=input_hw), 0, noise_px

    def eval(self):
        return self

    def __call__(self, images):
        assert images.dtype == torch.uint8
        places = PLACES[self._seen : self._seen + len(images)]
        self._seen += len(images)
        noise = np.random.default_rng(0).normal(0, self._noise_px, places.shape)
        found = np.stack([places + (6, 0), places + noise + (0, 9)], axis=1)
        return torch.from_numpy(np.dstack([found, np.full((len(places), 2), 0.9)]))


@pytest.fixture
def predict(tmp_path, moving_store, monkeypatch):
    """Return a function that predicts points labelled in some frames from a model's keypoints."""

    def predict(frames, model, init='model', names=('tip',)):
        path = tmp_path / 'labels.csv'
        rows = [
            f'{moving_store.stamps_ns[frame]},{name},{PLACES[frame, 0]},{PLACES[frame, 1]}'
            for name in names
            for frame in frames
        ]
        path.write_text('\n'.join(['stamp_ns,keypoint,u,v', *rows]) + '\n')
        monkeypatch.setattr(landmark_priors, 'load_network', lambda _: model)
        config = TrainConfig(objective='semi_supervised', annotations=str(path), init=init)
        return LandmarkPriors(moving_store, config)

    return predict


def test_points_are_predicted_in_frames_without_labels(predict):
    priors = predict([0, 3, 5, 7, 10], Model(), names=('tip', 'twin'))
    np.testing.assert_allclose(priors.uv, np.stack([PLACES] * 2, axis=1), atol=1.5)
    found = priors.take(np.array([[1, 2, 4], [6, 8, 9]]))
    np.testing.assert_array_equal(found['prior0'], priors.uv[[1, 2, 4]])
    np.testing.assert_array_equal(found['prior1'], priors.uv[[6, 8, 9]])
    for frame in '01':
        np.testing.assert_array_equal(found[f'spread{frame}'], np.stack([priors.deviation] * 3))


def test_they_are_as_sure_as_in_frames_left_out(predict, monkeypatch):
    assert predict(range(12), Model()).deviation == pytest.approx(1.0)
    fit_landmarks = landmark_priors.fit_landmarks

    def fit(*args, **kwargs):
        landmarks, scores = fit_landmarks(*args, **kwargs)
        return landmarks, [SimpleNamespace(error_percent=5.0) for _ in scores]

    monkeypatch.setattr(landmark_priors, 'fit_landmarks', fit)
    # 5 % of the diagonal of 96 x 64 is 5.77 px, the mean of a Rayleigh distribution
    assert predict(range(12), Model()).deviation == pytest.approx(5.769 / 1.2533, rel=1e-3)


@pytest.mark.parametrize(
    ('frames', 'init', 'input_hw'),
    [
        ((0, 4, 9), 'model', (64, 96)),  # too few labels
        ((0, 4, 7, 9), 'package', (64, 96)),
        ((0, 4, 7, 9), 'none', (64, 96)),
        ((0, 4, 7, 9), 'model', (96, 96)),
    ],
)
def test_nothing_is_predicted_without_labels_or_a_model_of_this_size(
    predict, frames, init, input_hw
):
    priors = predict(frames, Model(input_hw), init)
    assert np.isnan(priors.uv).all()
    assert priors.uv.shape == (12, 1, 2)
