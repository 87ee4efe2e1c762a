"""The error in layers, by hand: in units of each layer's own change, averaged as it runs."""

from keypoint_perception.learning.perceptual import PerceptualError
import pytest
import torch
from torch import nn
from torch.nn import functional


class TwoLayers(nn.Module):
    """The picture, and a hundred times its means over 2 x 2 pixels."""

    def forward(self, image):
        return [image, 100 * functional.avg_pool2d(image, 2)]


def even(*values, hw=(4, 6)):
    """Return images of one grey each, (B, 3, H, W)."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, *hw)


def ones(count, hw=(4, 6)):
    return torch.ones(count, 1, *hw)


def test_a_perfect_answer_has_no_error():
    error = PerceptualError(TwoLayers())
    images = torch.rand(4, 3, 4, 6)
    reconstructed = torch.cat([images[2:], images[:2]])
    torch.testing.assert_close(error(reconstructed, images, ones(4)), torch.zeros(4))


def test_the_other_frame_has_an_error_of_one_in_every_layer():
    error = PerceptualError(TwoLayers())
    # the pairs differ by 0.2 and by 0.4: the mean change is (0.04 + 0.16) / 2 = 0.1
    images = even(0.0, 0.5, 0.2, 0.9)
    found = error(images, images, ones(4))
    torch.testing.assert_close(found, torch.tensor([0.4, 1.6, 0.4, 1.6]))
    assert found.mean() == pytest.approx(1.0)


def test_one_way_reconstructs_the_second_frames():
    error = PerceptualError(TwoLayers())
    images = even(0.0, 0.5, 0.2, 0.9)
    torch.testing.assert_close(error(images[2:], images, ones(2)), torch.zeros(2))
    torch.testing.assert_close(error(images[:2], images, ones(2)), torch.tensor([0.4, 1.6]))


def test_each_layer_is_divided_by_its_own_change():
    """A checkerboard is seen by the first layer alone, which counts for half."""
    error = PerceptualError(TwoLayers())
    images = even(0.0, 0.2)
    board = torch.tensor([[0.1, -0.1], [-0.1, 0.1]]).repeat(2, 3)
    found = error(images[1:] + board, images, ones(1))
    # 0.01 / 0.04 in the first, nothing in the second
    torch.testing.assert_close(found, torch.tensor([0.125]))


def test_the_mean_runs_over_the_steps():
    error = PerceptualError(TwoLayers())
    first, second = even(0.0, 0.2), even(0.0, 0.4)
    torch.testing.assert_close(error(first[:1], first, ones(1)), torch.tensor([1.0]))
    # changes 0.04 and then 0.16: weights 0.99 and 1 of 1.99
    mean = (0.99 * 0.04 + 0.16) / 1.99
    torch.testing.assert_close(error(second[:1], second, ones(1)), torch.tensor([0.16 / mean]))
    error.eval()
    torch.testing.assert_close(error(second[:1], second, ones(1)), torch.tensor([0.16 / mean]))


def test_before_the_first_step_the_unit_is_the_change_of_the_batch():
    error = PerceptualError(TwoLayers()).eval()
    images = even(0.0, 0.5, 0.2, 0.9)
    torch.testing.assert_close(error(images[:2], images, ones(2)), torch.tensor([0.4, 1.6]))
    assert not error.steps and not error.total.any()


def test_pixels_are_weighted_in_every_layer():
    error = PerceptualError(TwoLayers())
    images = even(0.0, 0.2)
    weight = ones(1)
    weight[..., 3:] = 0.0  # the right half; the middle one of three cells of 2 px is half in it
    torch.testing.assert_close(error(images[:1], images, weight), torch.tensor([0.5]))


def test_the_gradient_reaches_the_rebuilt_frame_only():
    error = PerceptualError(TwoLayers())
    images = even(0.0, 0.5, 0.2, 0.9).clone().requires_grad_()
    reconstructed = torch.rand(4, 3, 4, 6, requires_grad=True)
    error(reconstructed, images, ones(4)).sum().backward()
    assert images.grad is None
    assert (reconstructed.grad.abs() > 0).all()


def test_running_means_stand_in_the_checkpoint_and_the_net_does_not():
    error = PerceptualError(TwoLayers())
    images = even(0.0, 0.2)
    error(images[:1], images, ones(1))
    again = PerceptualError(TwoLayers())
    again.load_state_dict(error.state_dict())
    assert set(error.state_dict()) == {'total', 'steps'}
    torch.testing.assert_close(
        again(images[:1], images, ones(1)), error(images[:1], images, ones(1))
    )
