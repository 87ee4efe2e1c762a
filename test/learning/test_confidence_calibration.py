"""The confidence is the share of keypoints that were right."""

from keypoint_perception.learning import confidence_calibration
from keypoint_perception.learning.confidence_calibration import (
    _disc,
    calibrate,
    fit_logistic,
    occluded_samples,
    warped_samples,
)
from keypoint_perception.learning.data.scenes import medians
from keypoint_perception.model.network import Keypointer, log_odds, NetworkConfig
import pytest
import torch


def test_the_curve_finds_the_odds_it_was_drawn_from():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(20_000, generator=generator) * 2
    chance = torch.sigmoid(1.5 * values - 1.0)
    right = (torch.rand(20_000, generator=generator) < chance).float()
    slope, offset = fit_logistic(values, right)
    assert slope == pytest.approx(1.5, abs=0.1)
    assert offset == pytest.approx(-1.0, abs=0.1)


def test_more_mass_never_means_less_sure():
    values = torch.tensor([-2.0, -1.0, 1.0, 2.0])
    slope, offset = fit_logistic(values, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert slope == 0.0
    assert offset == pytest.approx(0.0)  # half of them were right


def test_answers_that_are_all_right_are_not_certain():
    slope, offset = fit_logistic(torch.ones(100), torch.ones(100))
    sure = torch.sigmoid(torch.tensor(slope + offset)).item()
    # Platt's target is 101 / 102
    assert 0.95 < sure < 0.995


def test_answers_count_by_their_weight():
    values, right = torch.tensor([1.0, 1.0, -1.0]), torch.tensor([1.0, 0.0, 0.0])
    twice = fit_logistic(torch.tensor([1.0, 1.0, 1.0, -1.0]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert fit_logistic(values, right, torch.tensor([2.0, 1.0, 1.0])) == pytest.approx(twice)


def square_frames():
    """A bright square on dark ground at places of its own, (12, 64, 64, 3) uint8."""
    frames = torch.zeros(12, 64, 64, 3, dtype=torch.uint8)
    for i, frame in enumerate(frames):
        frame[16 + 2 * i : 24 + 2 * i, 40 - 2 * i : 48 - 2 * i] = 255
    return frames


class Knowing(Keypointer):
    """Keypoint 0 is where it is brightest, keypoint 1 always in one cell, both with doubts."""

    def logits(self, image):
        # shares of the brightness are what the softmax of its logarithm gives
        bright = torch.nn.functional.avg_pool2d(image.mean(dim=1, keepdim=True) + 1, 8)
        fixed = torch.zeros_like(bright)
        fixed[..., 6, 6] = 2.0
        return torch.cat([(bright + 1e-4).log(), fixed], dim=1)


def test_a_keypoint_that_does_not_follow_is_not_trusted():
    torch.manual_seed(0)
    network = Knowing(NetworkConfig(keypoints=2, input_hw=(64, 64), width=8)).eval()
    frames = square_frames()
    share = calibrate(network, frames, torch.zeros(len(frames)))
    with torch.no_grad():
        confidence = network(frames)[..., 2].mean(dim=0)
    assert confidence[0] > 2 * confidence[1]
    assert confidence.mean().item() == pytest.approx(share, abs=0.1)


def test_the_confidence_falls_when_the_thing_is_hidden():
    torch.manual_seed(0)
    network = Knowing(NetworkConfig(keypoints=2, input_hw=(64, 64), width=8)).eval()
    frames = square_frames()
    calibrate(network, frames, torch.zeros(len(frames)))
    with torch.no_grad():
        shown = network(frames)[..., 0, 2].mean()
        hidden = network(torch.zeros_like(frames))[..., 0, 2].mean()
    assert hidden < shown / 2


NOISE = torch.full((12, 1, 64, 64), 0.05)
GROUND = (torch.arange(64) % 7 * 10).to(torch.uint8)[:, None].expand(64, 64, 3)


def finds_the_square_on_still_ground(frames):
    """Answer with where it is bright, or nothing of worth if the ground has moved."""
    answer = torch.zeros(len(frames), 1, 3)
    for found, frame in zip(answer[:, 0], frames, strict=True):
        if torch.equal(frame[-1], GROUND[-1]):
            rows, columns = (frame[..., 0] > 200).nonzero().float().unbind(-1)
            found[:2] = torch.stack([columns.mean(), rows.mean()])
    return answer + torch.tensor([0.0, 0.0, 0.9])


def test_what_is_in_front_is_asked_for_on_still_ground():
    frames = torch.maximum(square_frames(), GROUND)
    found = finds_the_square_on_still_ground(frames)[..., :2]
    still = medians(frames, torch.zeros(len(frames)))
    _, right = warped_samples(finds_the_square_on_still_ground, frames, still, NOISE, found, 0)
    assert len(right) >= 4 * 12 - 2 and right.mean() == 1.0


def test_what_is_on_the_ground_is_asked_for_where_that_moves():
    frames = torch.maximum(square_frames(), GROUND)
    fixed = torch.tensor([10.0, 50.0, 0.9])

    def stays_while_the_ground_does(images):
        still = (images[:, -1] == GROUND[-1]).flatten(1).all(dim=1)
        return torch.where(still[:, None, None], fixed, torch.zeros(len(images), 1, 3))

    found = fixed[:2].expand(len(frames), 1, 2)
    still = medians(frames, torch.zeros(len(frames)))
    _, right = warped_samples(stays_while_the_ground_does, frames, still, NOISE, found, 0)
    assert right.mean() == 0.0


def test_each_scene_has_its_own_still_ground(monkeypatch):
    network = Knowing(NetworkConfig(keypoints=2, input_hw=(64, 64), width=8)).eval()
    scene = torch.arange(12) // 6
    frames = square_frames() // 2 + (100 * scene[:, None, None, None]).to(torch.uint8)
    hidden_with = []

    def hide(network, frames, still, found):
        hidden_with.append(still)
        return torch.zeros(0)

    monkeypatch.setattr(confidence_calibration, 'occluded_samples', hide)
    calibrate(network, frames, scene)
    assert torch.equal(hidden_with[0], medians(frames, scene))


def test_only_what_is_painted_over_is_hidden():
    network = Knowing(NetworkConfig(keypoints=2, input_hw=(64, 64), width=8)).eval()
    frames = square_frames()
    with torch.no_grad():
        still = medians(frames, torch.zeros(len(frames)))
        doubts = occluded_samples(network, frames, still, network(frames)[..., :2])
        # of the two keypoints, in turns, the second lies where nothing is: nothing hides it
        assert len(doubts) == 2 * len(frames)
        without_square = log_odds(network(torch.zeros_like(frames[:1]))[0, 0, 2])
    torch.testing.assert_close(doubts, without_square.expand(len(doubts)))


def test_what_is_painted_over_is_a_disc():
    disc = _disc(torch.tensor([[10.0, 20.0]]), 48, 64)[0]  # radius a tenth of 80 px
    assert disc[20, 17] and disc[27, 10]
    assert not disc[20, 18] and not disc[28, 10] and not disc[26, 16]


def test_without_calibration_the_mass_is_the_confidence():
    network = Keypointer(NetworkConfig(keypoints=1, input_hw=(64, 64), width=8, window=1))
    network.logits = lambda image: torch.zeros(1, 1, 8, 8)
    found = network(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    torch.testing.assert_close(found[0, 0, 2].item(), 4 / 64)
    network.calibration.copy_(torch.tensor([2.0, 1.0]))
    found = network(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    odds = (4 / 60) ** 2 * torch.e
    assert found[0, 0, 2].item() == pytest.approx(odds / (1 + odds), rel=1e-4)
