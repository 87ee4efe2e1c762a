"""Only descriptors pass from frame to frame: gathered in one, painted at the other's keypoints."""

from default_equations import default_terms
from keypoint_perception.learning.objectives.default import Default
from keypoint_perception.learning.objectives.default_without_transport import (
    DefaultWithoutTransport,
)
from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.model.heatmaps import gaussian_maps
import pytest
import torch


@pytest.fixture
def objective(make_objective):
    made = make_objective(DefaultWithoutTransport)
    made.refine = torch.nn.Identity()
    return made


def test_the_terms_are_those_of_the_equations(make_objective, foreground_batch, check_terms):
    made = make_objective(DefaultWithoutTransport, change=4.0, still_weight=0.4, sigma=0.3)
    torch.nn.init.normal_(made.refine.last.weight, std=0.1)
    torch.nn.init.normal_(made.embedding)

    def differences(batch):
        features = made.features(batch.images)
        gathered = torch.einsum('bkhw,bchw->bkc', batch.maps.detach(), features)
        described = gathered[[3, 4, 5, 0, 1, 2]] + made.embedding
        bumps = gaussian_maps(batch.points, 8, 12, 6 * 0.3)
        return made.refine(torch.einsum('bkhw,bkc->bchw', bumps, described))

    check_terms(
        made, foreground_batch, lambda batch: default_terms(made, batch, differences(batch))
    )


def fix_features(objective, *values):
    """Give the frames features that are constant over each image, one value a frame."""
    features = torch.tensor(values)[:, None, None, None].expand(-1, 8, 8, 12)
    objective.features.forward = lambda images: features


def test_terms_and_weights_are_those_of_the_default():
    assert DefaultWithoutTransport.weights == Default.weights
    assert DefaultWithoutTransport.needs == Default.needs


def test_descriptors_of_the_other_frame_are_painted_at_the_own_keypoints(
    network, objective, images
):
    batch = PairBatch(network, images(1, 1), images(2, 1))
    fix_features(objective, 2.0, 5.0)
    made = objective.differences(batch)
    bumps = batch.bumps(objective.config.sigma).sum(dim=1)  # (2, h, w)
    for own, other in ((0, 5.0), (1, 2.0)):
        torch.testing.assert_close(made[own, 0], other * bumps[own])


def test_each_keypoint_has_a_descriptor_of_its_own(network, objective, images):
    batch = PairBatch(network, images(1, 1), images(2, 1))
    fix_features(objective, 0.0, 0.0)
    with torch.no_grad():
        objective.embedding[1] = 3.0
    made = objective.differences(batch)
    torch.testing.assert_close(made[:, 4], 3 * batch.bumps(objective.config.sigma)[:, 1])


def test_what_is_elsewhere_in_the_target_does_not_matter(network, make_objective, images):
    made = make_objective(DefaultWithoutTransport)
    torch.nn.init.normal_(made.refine.last.weight)
    image0, image1 = images(1, 1), images(2, 1)
    logits = network.logits(torch.cat([image0, image1])).detach()
    network.stacks = lambda image: [logits]  # the keypoints are given
    _, first = made.differences(PairBatch(network, image0, image1)).chunk(2)
    _, second = made.differences(PairBatch(network, image0, images(3, 1))).chunk(2)
    torch.testing.assert_close(first, second)
    _, third = made.differences(PairBatch(network, images(3, 1), image1)).chunk(2)
    assert (first - third).abs().max() > 1e-4


def test_gathering_does_not_move_the_keypoints_of_the_source(network, objective, images):
    logits = network.logits(torch.cat([images(1, 1), images(2, 1)])).detach().requires_grad_()
    network.stacks = lambda image: [logits]
    batch = PairBatch(network, images(1, 1), images(2, 1))
    objective.differences(batch)[1].square().sum().backward()  # the second from the first
    assert (logits.grad[0] == 0).all() and logits.grad[1].abs().sum() > 0


def test_all_parts_are_trained(network, make_objective, images):
    made = make_objective(DefaultWithoutTransport)
    torch.nn.init.normal_(made.refine.last.weight)
    image0, image1 = images(1), images(2)
    extra = {
        'background': torch.zeros(4, 3, 64, 96),
        'noise': torch.full((4, 1, 64, 96), 0.05),
        'flow': torch.zeros(2, 2, 8, 12),
        'forward': torch.tensor([True, False]),
    }
    batch = PairBatch(network, image0, image1, extra)
    terms = made(batch)
    sum(term.sum() for term in terms.values()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    shown = made.reconstruct(batch)
    torch.testing.assert_close(shown, made.differences(batch)[2:])
