"""The network, images, batches and stand-ins that tests of objectives share."""

from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
from shifted_views import shift_registration
import torch

# maps of 8 x 12 cells
NETWORK = NetworkConfig(keypoints=3, input_hw=(64, 96), width=8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Keypointer(NETWORK)


@pytest.fixture
def make_objective():
    """Return a function that makes an objective of a class for the network."""

    def make_objective(kind, *, change=1.0, network=NETWORK, **settings):
        torch.manual_seed(1)
        return kind(kind.Config(**settings), network, DatasetStatistics(change))

    return make_objective


@pytest.fixture
def images():
    """Return a function that draws images in [-1, 1], (count, 3, 64, 96)."""

    def images(seed, count=2):
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(count, 3, 64, 96, generator=generator) * 2 - 1

    return images


@pytest.fixture
def batch(network, images):
    return PairBatch(network, images(1), images(2))


class FixedOutput(torch.nn.Module):
    """A decoder or refinement net with a fixed output; ``seen`` is its last input."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, maps):
        self.seen = maps
        return self.output


@pytest.fixture
def fixed_output():
    return FixedOutput


@pytest.fixture
def check_gradients():
    """Return a function that checks that each term trains the network, and one the objective."""

    def check_gradients(objective, batch, *, trains_objective):
        terms = objective(batch)
        assert set(terms) == set(objective.weights)
        for name, value in terms.items():
            assert value.shape == (2,) and value.dtype == torch.float32, name
            weights = batch.network.body.head.weight
            gradient = torch.autograd.grad(value.sum(), weights, retain_graph=True)[0]
            assert gradient.abs().sum() > 0, name
        terms[trains_objective].sum().backward()
        for name, parameter in objective.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name

    return check_gradients


@pytest.fixture
def check_terms():
    """
    Return a function that compares terms, and the gradients of each, with those of equations.

    ``equations(batch)`` returns the terms, by another way and with the same random numbers.
    """

    def check_terms(objective, batch, equations):
        parameters = [*batch.network.parameters(), *objective.parameters()]
        results = []
        for terms in (objective, equations):
            torch.manual_seed(2)
            results.append(terms(batch))
        found, expected = results
        assert list(found) == list(objective.weights) and set(found) == set(expected)
        for name, value in found.items():
            assert value.shape == (len(batch.image0),) and (expected[name] > 0).all(), name
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5, msg=name)
            gradients = [
                torch.autograd.grad(
                    (terms[name] * torch.arange(1, 1 + len(value))).sum(),
                    parameters,
                    retain_graph=True,
                    materialize_grads=True,
                )
                for terms in results
            ]
            largest = max(gradient.abs().max().item() for gradient in gradients[1])
            for theirs, mine in zip(*gradients, strict=True):
                tolerance = 2e-3 * mine.abs().max().item() + 1e-5 * largest
                torch.testing.assert_close(theirs, mine, rtol=0, atol=tolerance)

    return check_terms


@pytest.fixture
def triple(network, images):
    """Three pairs, with maps that have a peak: no number of theirs is another's."""
    with torch.no_grad():
        network.body.head.weight.mul_(20)
    return PairBatch(network, images(1, 3), images(2, 3))


@pytest.fixture
def shifted_triple(triple):
    """The same pairs, by a camera that moved by whole cells between the frames of each."""
    extra = {'registration': shift_registration()}
    return PairBatch(triple.network, triple.image0, triple.image1, extra)


@pytest.fixture
def foreground_batch(network, images):
    """
    Three pairs with a background, noise and flow of their own, and foreground in a part of each.

    The maps of the keypoints are narrower than a cell, of several cells, and flat.
    """
    with torch.no_grad():
        network.body.head.weight.mul_(torch.tensor([80.0, 20.0, 4.0])[:, None, None, None])
    generator = torch.Generator().manual_seed(3)
    background = 0.5 * images(4, 6)
    frames = background + 0.02 * images(5, 6)
    for i, (row, column) in enumerate([(8, 0), (0, 32), (24, 48), (8, 16), (16, 40), (0, 56)]):
        frames[i, :, row : row + 40, column : column + 40] = images(6 + i, 1)[0, :, :40, :40]
    flow = 20 * torch.rand(3, 2, 8, 12, generator=generator) - 10
    flow[:, :, 5:, :3] = torch.nan
    extra = {
        'background': background,
        'noise': 0.02 + 0.1 * torch.rand(6, 1, 64, 96, generator=generator),
        'flow': flow,
        'forward': torch.tensor([True, False, True]),
    }
    return PairBatch(network, frames[:3], frames[3:], extra)
