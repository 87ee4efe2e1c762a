"""The form that engines run answers what the network answers."""

from keypoint_perception.model.inference_form import InferenceForm, KINDS, PixelBlocks, ReadOut
from keypoint_perception.model.network import Keypointer, NetworkConfig, NETWORKS
import pytest
import torch


def sharp_network(network='default', input_hw=(48, 64), norm='group'):
    """Return a network with peaks, and with norms and a calibration that do something."""
    torch.manual_seed(2)
    keypointer = Keypointer(NetworkConfig(network, 4, input_hw, width=16, norm=norm)).eval()
    with torch.no_grad():
        for name, parameter in keypointer.named_parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5) if 'weight' in name else parameter.uniform_(-0.5, 0.5)
        head = keypointer.body.heads[-1] if network == 'hourglass' else keypointer.body.head
        head.weight *= 30
        keypointer.calibration.copy_(torch.tensor([0.7, -0.4]))
    return keypointer


@pytest.mark.parametrize(
    ('network', 'input_hw', 'kind'),
    [(network, (48, 64), kind) for network in NETWORKS for kind in KINDS]
    + [('default', (104, 40), 'float')],
)
def test_form_answers_what_the_network_answers(network, input_hw, kind):
    keypointer = sharp_network(network, input_hw)
    image = torch.randint(0, 256, (2, *input_hw, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected, found = keypointer(image), InferenceForm(keypointer, kind)(image)
    assert expected[..., 2].max() > 0.3
    allowed = 0.2 if kind == 'fp16' else 1e-3
    torch.testing.assert_close(found, expected, atol=allowed, rtol=0)


def test_the_network_stays_as_it_was():
    keypointer = sharp_network()
    before = {name: tensor.clone() for name, tensor in keypointer.state_dict().items()}
    InferenceForm(keypointer, 'half')
    after = keypointer.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_pixels_are_weighed_by_place_and_colour():
    """With a weight of one for red at row 1, column 2 of a block, and nothing else."""
    convolution = torch.nn.Conv2d(48, 1, 1, bias=False)
    with torch.no_grad():
        convolution.weight.zero_()[0, (1 * 4 + 2) * 3] = 1.0
    image = torch.zeros(1, 8, 4, 3)
    image[0, 4 + 1, 2, 0] = 255.0
    found = PixelBlocks(convolution, 4)(image)
    torch.testing.assert_close(found, torch.tensor([[[[-1.0], [1.0]]]]))


def test_window_ends_at_the_border():
    """
    All mass in the two cells of a corner.

    0.75 at (7, 5) and 0.25 at (6, 5), in cells: the centre is at (6.75, 5), which is (57.5, 43.5)
    in network px; the cells beyond the border, wherever the tables point, count for nothing.
    """
    keypointer = sharp_network()
    keypointer.calibration.copy_(torch.tensor([1.0, 0.0]))
    logits = torch.full((1, 4, 6, 8), -1e4)
    logits[..., 5, 7], logits[..., 5, 6] = torch.log(torch.tensor(3.0)), 0.0
    found = ReadOut(keypointer)(logits)[0, 0]
    torch.testing.assert_close(found, torch.tensor([57.5, 43.5, 0.999]))


def test_maps_of_nan_stay_nan():
    assert ReadOut(sharp_network())(torch.full((1, 4, 6, 8), torch.nan)).isnan().all()
