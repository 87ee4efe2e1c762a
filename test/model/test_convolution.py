"""The gradients of our convolution are those of the library's."""

from keypoint_perception.model import convolution
from keypoint_perception.model.convolution import Conv2d, weight_gradient
import pytest
import torch
from torch.nn import functional


@pytest.fixture
def slow_library(monkeypatch):
    monkeypatch.setattr(convolution, 'library_is_slow', lambda: True)
    monkeypatch.setattr(convolution, 'LEAST_ROW', 16 * 7)


def test_the_gradient_of_one_pixel_by_hand():
    """Only the pixel (y, x) = (0, 1) of the output counts: the gradient is the window round it."""
    image = torch.arange(12.0).view(1, 1, 3, 4)  # 0 1 2 3 / 4 5 6 7 / 8 9 10 11
    gradient = torch.zeros(1, 1, 3, 4)
    gradient[0, 0, 0, 1] = 2.0
    found = weight_gradient(image, gradient, 3, 1)
    assert found[0, 0].tolist() == [[0, 0, 0], [0, 2, 4], [8, 10, 12]]
    gradient = torch.zeros(1, 1, 2, 2)
    gradient[0, 0, 1, 1] = 1.0  # the window round (2, 2)
    assert weight_gradient(image, gradient, 3, 2)[0, 0].tolist() == [
        [5, 6, 7],
        [9, 10, 11],
        [0, 0, 0],
    ]


@pytest.mark.parametrize(('kernel', 'stride'), [(3, 1), (3, 2), (5, 1), (7, 2)])
@pytest.mark.parametrize(('height', 'width'), [(12, 16), (9, 7)])
@pytest.mark.parametrize('windows', [1, 150])
@pytest.mark.parametrize('bias', [True, False])
def test_gradients_are_the_librarys(
    slow_library, monkeypatch, kernel, stride, height, width, windows, bias
):
    monkeypatch.setattr(convolution, 'WINDOWS', windows)  # one image at a time, or two of three
    torch.manual_seed(0)
    ours = Conv2d(16, 24, kernel, stride, kernel // 2, bias=bias)
    ours.to(memory_format=torch.channels_last)
    image = torch.randn(3, 16, height, width).to(memory_format=torch.channels_last)
    mine, theirs = image.clone().requires_grad_(), image.clone().requires_grad_()
    result = ours(mine)
    assert result.grad_fn.name() == '_ConvolutionBackward'
    plain = functional.conv2d(theirs, ours.weight, ours.bias, stride, kernel // 2)
    torch.testing.assert_close(result, plain)
    weights = torch.randn_like(plain)
    wanted = torch.autograd.grad((plain * weights).sum(), [theirs, *ours.parameters()])
    (result * weights).sum().backward()
    found = [mine.grad, *(p.grad for p in ours.parameters())]
    torch.testing.assert_close(found, list(wanted), rtol=1e-4, atol=1e-4)


def test_what_it_is_not_for_goes_to_the_library(slow_library):
    image = torch.randn(1, 16, 8, 8).to(memory_format=torch.channels_last)

    def is_ours(layer, images=image):
        function = layer(images).grad_fn
        return function is not None and function.name() == '_ConvolutionBackward'

    assert is_ours(Conv2d(16, 8, 3, padding=1))
    assert not is_ours(Conv2d(16, 8, 1))
    assert not is_ours(Conv2d(16, 8, 3, padding=1), image[..., :6])
    assert not is_ours(Conv2d(16, 8, 3))
    assert not is_ours(Conv2d(16, 8, 3, padding=1, dilation=2))
    assert not is_ours(Conv2d(16, 8, 3, padding=1, groups=2))
    assert not is_ours(Conv2d(3, 8, 3, padding=1), torch.randn(1, 3, 8, 8))
    assert not is_ours(Conv2d(16, 8, 3, padding=1).double(), image.double())
    assert not is_ours(Conv2d(16, 8, 3, padding=1).eval())
    with torch.autocast('cpu', torch.bfloat16):
        assert not is_ours(Conv2d(16, 8, 3, padding=1))


def test_winograd_is_the_same_convolution(slow_library, monkeypatch):
    monkeypatch.setattr(convolution, 'WINOGRAD_CHANNELS', 16)
    torch.manual_seed(0)
    layer = Conv2d(16, 24, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    image = torch.randn(2, 16, 8, 12).to(memory_format=torch.channels_last)
    mine, theirs = image.clone().requires_grad_(), image.clone().requires_grad_()
    result = layer(mine)
    assert result.grad_fn.name() == '_WinogradBackward'
    assert result.is_contiguous(memory_format=torch.channels_last)
    plain = functional.conv2d(theirs, layer.weight, padding=1)
    torch.testing.assert_close(result, plain, rtol=1e-4, atol=1e-4)
    weights = torch.randn_like(plain)
    wanted = torch.autograd.grad((plain * weights).sum(), [theirs, layer.weight])
    (result * weights).sum().backward()
    found = [mine.grad, layer.weight.grad]
    torch.testing.assert_close(found, list(wanted), rtol=1e-4, atol=1e-3)


def test_winograd_is_for_whole_tiles(slow_library, monkeypatch):
    monkeypatch.setattr(convolution, 'WINOGRAD_CHANNELS', 16)
    layer = Conv2d(16, 16, 3, padding=1, bias=False)
    image = torch.randn(1, 16, 8, 8).to(memory_format=torch.channels_last)

    def kind(layer, image):
        return layer(image).grad_fn.name()

    assert kind(layer, image) == '_WinogradBackward'
    odd = image[..., :7].contiguous(memory_format=torch.channels_last)
    assert kind(layer, odd) == '_ConvolutionBackward'
    assert kind(Conv2d(16, 16, 3, padding=1), image) == '_ConvolutionBackward'
    assert kind(Conv2d(16, 16, 3, 2, padding=1, bias=False), image) == '_ConvolutionBackward'
    assert kind(Conv2d(16, 16, 5, padding=2, bias=False), image) == '_ConvolutionBackward'
    assert kind(Conv2d(16, 15, 3, padding=1, bias=False), image) == '_ConvolutionBackward'
