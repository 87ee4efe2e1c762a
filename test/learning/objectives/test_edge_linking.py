"""The edge linking objective says what the paper says."""

from functools import partial
import math

import cv2
from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.objectives import edge_linking
from keypoint_perception.learning.objectives.edge_linking import (
    edge_map,
    EdgeLinking,
    EdgeLinkingConfig,
    PACE,
    squared_distance,
    START,
)
from keypoint_perception.learning.pair_batch import DatasetStatistics
from keypoint_perception.learning.run_log import RunLog
from keypoint_perception.learning.training_state import new_training_state
from keypoint_perception.manifest import read_manifest
from keypoint_perception.model.heatmaps import variance
from keypoint_perception.model.network import NetworkConfig
from keypoint_perception.model.onnx_export import export_model
import pytest
import torch

HW = (8, 12)
# edges of three keypoints, as the objective has them
PAIRS = torch.tensor([[0, 0, 1], [1, 2, 2]])


@pytest.fixture
def objective(make_objective):
    return partial(make_objective, EdgeLinking, compare='pixels')


def redrawn(terms, image, points, visible):
    """Return images of their visible part and of the edges between their points."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing='ij')
    cells = torch.stack([x, y], dim=-1)[None]
    points = 2 * points + 0.5  # from cells of 8 px to cells of 4 px
    edges = []
    for e, (i, j) in enumerate(PAIRS.T.tolist()):
        start, end = points[:, i, None, None], points[:, j, None, None]
        along = end - start
        share = ((cells - start) * along).sum(dim=-1) / along.square().sum(dim=-1)
        nearest = start + share.clamp(0, 1)[..., None] * along
        square = (cells - nearest).square().sum(dim=-1)
        thickness = terms.config.thickness * 12
        weight = torch.log1p(torch.exp(25 * terms.links[e]))
        edges.append(weight * torch.exp(-square / thickness**2))
    edges = torch.stack(edges, dim=1).amax(dim=1, keepdim=True)
    shown = terms.fold(terms.share * image * visible)
    return terms.decode(torch.cat([shown, edges], dim=1))


def test_the_terms_are_those_of_the_equations(objective, triple, check_terms):
    terms = objective(change=4.0, compare='random', thickness=0.3, masked=0.6, blocks=12)
    with torch.no_grad():
        terms.share.fill_(0.7)
        terms.links.add_(0.2)

    def visible(count):
        blocks = torch.rand(count, 1, 8, 12) >= 0.6
        return blocks.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)

    def equations(batch):
        answer = redrawn(terms, batch.images, batch.points, visible(6))
        error = answer - batch.images
        squared = error.square().mean(dim=(1, 2, 3)) / 4.0
        other = torch.cat([batch.image1, batch.image0])
        terms.compare.eval()  # the running mean knows the batch
        found = {
            'pixel': error.abs().mean(dim=(1, 2, 3)) / 2.0,
            'perceptual': terms.compare(answer, other, torch.ones(6, 1, 64, 96)),
            'spread': (1 - 2 * squared.detach())
            * variance(batch.maps, batch.points).mean(dim=1)
            / 36,
        }
        return {name: (value[:3] + value[3:]) / 2 for name, value in found.items()}

    check_terms(terms, triple, equations)
    torch.manual_seed(4)
    shown = terms.reconstruct(triple)
    torch.manual_seed(4)
    expected = redrawn(terms, triple.image1, triple.points[3:], visible(3))
    torch.testing.assert_close(shown, expected)


def test_the_error_is_zero_for_a_perfect_image_and_in_units_of_change(
    batch, objective, fixed_output
):
    terms = objective(change=0.25)
    terms.decode = fixed_output(batch.images)
    torch.testing.assert_close(terms(batch)['pixel'], torch.zeros(2))
    # 0.3 too bright in the first frames only: 0.3 / 0.5, the mean of both frames
    terms.decode = fixed_output(torch.cat([batch.image0 + 0.3, batch.image1]))
    torch.testing.assert_close(terms(batch)['pixel'], torch.full((2,), 0.3))


def test_each_frame_is_compared_with_itself(batch, objective, fixed_output):
    terms = objective(compare='random')
    terms.decode = fixed_output(batch.images)
    torch.testing.assert_close(terms(batch)['perceptual'], torch.zeros(2))
    terms.decode = fixed_output(batch.images.roll(2, 0))
    # answering with the other frame costs 1 on average
    assert terms(batch)['perceptual'].mean().item() == pytest.approx(1.0, abs=1e-3)


def test_distances_from_a_segment_by_hand():
    # from (1, 1) to (5, 1): beside it, on it, before its start, beyond its end
    cells = torch.tensor([[3.0, 4.0], [2.0, 1.0], [-2.0, 5.0], [8.0, 1.0]])
    start, end = torch.tensor([1.0, 1.0]), torch.tensor([5.0, 1.0])
    found = squared_distance(cells, start, end)
    torch.testing.assert_close(found, torch.tensor([9.0, 0.0, 25.0, 9.0]))
    # a segment without a length is its point
    torch.testing.assert_close(
        squared_distance(cells, start, start)[:2], torch.tensor([13.0, 1.0])
    )


def test_an_edge_is_drawn_between_its_points_and_the_strongest_shows():
    points = torch.tensor([[[1.0, 2.0], [9.0, 2.0], [5.0, 6.0]]])
    found = edge_map(points, PAIRS, torch.tensor([0.5, 2.0, 1.0]), HW, thickness=1.5)[0, 0]
    # on the first edge, and one row above it: 0.5 and 0.5 exp(-1 / 2.25)
    torch.testing.assert_close(found[2, 6], torch.tensor(0.5))
    torch.testing.assert_close(found[1, 6], torch.tensor(0.5 * 0.64118), atol=1e-5, rtol=0)
    # where two meet the stronger shows: point 0 is on the second, point 1 on the third edge
    torch.testing.assert_close(found[2, 1], torch.tensor(2.0))
    torch.testing.assert_close(found[2, 9], torch.tensor(1.0))


def test_edges_are_those_of_the_authors():
    # draw_lines of the authors' release times the weights, at thickness 0.05 on 9 x 9 cells
    points = torch.tensor([[[5.0, 2.0], [1.0, 6.0], [7.0, 4.0]]])
    weights = torch.tensor([1.0, 0.5, 0.8])
    found = edge_map(points, PAIRS, weights, (9, 9), thickness=0.05**0.5 * 4)[0, 0]
    for row, column, value in ((2, 5, 1.0), (4, 2, 0.535261), (3, 6, 0.5)):
        assert found[row, column].item() == pytest.approx(value, abs=1e-5)
    assert found.sum().item() == pytest.approx(17.848623, abs=1e-4)


@pytest.mark.parametrize('chunk', [1, 3, 100])
def test_the_maximum_and_its_gradient_are_those_over_all_edges(chunk, monkeypatch):
    monkeypatch.setattr(edge_linking, 'CHUNK', chunk)
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(5, 4, 2, generator=generator) * 8).requires_grad_()
    weights = (torch.rand(6, generator=generator) + 0.1).requires_grad_()
    pairs = torch.triu_indices(4, 4, offset=1)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing='ij')
    cells = torch.stack([x, y], dim=-1)
    start, end = (points[:, pairs[i], None, None] for i in (0, 1))
    square = squared_distance(cells, start, end)
    plain = (weights[:, None, None] * torch.exp(-square / 4)).amax(dim=1, keepdim=True)
    fast = edge_map(points, pairs, weights, HW, thickness=2.0)
    torch.testing.assert_close(fast, plain)
    weighting = torch.rand(5, 1, *HW, generator=generator)
    for found, expected in zip(
        torch.autograd.grad((fast * weighting).sum(), [points, weights]),
        torch.autograd.grad((plain * weighting).sum(), [points, weights]),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_decoder_sees_what_is_left_of_the_frame_and_the_edges(batch, objective, fixed_output):
    terms = objective(masked=0.5, blocks=6, thickness=0.25)
    terms.decode = fixed_output(batch.images)
    torch.manual_seed(3)
    terms(batch)
    folded, edges = terms.decode.seen[:, :-1], terms.decode.seen[:, -1:]
    # 6 blocks along 96 px are 16 x 16 px, 4 x 4 cells of 4 px: whole or put out
    whole = terms.fold(batch.images).unflatten(2, (4, 4)).unflatten(4, (6, 4))
    seen = folded.unflatten(2, (4, 4)).unflatten(4, (6, 4))
    out = (seen == 0).all(dim=5).all(dim=3).all(dim=1)  # (2B, 4, 6)
    left = (seen == whole).all(dim=5).all(dim=3).all(dim=1)
    assert (out ^ left).all() and out.any(dim=(1, 2)).all() and left.any(dim=(1, 2)).all()
    assert not torch.equal(out[0], out[1])
    # cells of 4 px whatever those of the network's maps; half the longer side is 12 of them
    points = (batch.points + 0.5) * batch.network.stride / 4 - 0.5
    expected = edge_map(points, PAIRS, terms.edge_weights(), (16, 24), thickness=0.25 * 12)
    torch.testing.assert_close(edges, expected)


def test_what_is_shown_is_the_second_frame_drawn_from_its_own_edges(batch, objective):
    terms = objective()
    terms.render = lambda images, points, stride: (images, points, stride)
    images, points, stride = terms.reconstruct(batch)
    assert images is batch.image1 and stride == batch.network.stride
    torch.testing.assert_close(points, batch.points[2:])


def test_most_blocks_are_put_out(objective):
    terms = objective()
    torch.manual_seed(0)
    left = terms._visible_mask(torch.zeros(200, 3, 96, 128))
    assert left.shape == (200, 1, 96, 128)
    # 12 x 16 blocks in 200 frames: the standard deviation of the mean is 0.002
    assert left.mean().item() == pytest.approx(0.2, abs=0.01)


def test_the_spread_by_hand(batch, objective, fixed_output):
    # flat maps of 8 x 12: (63 + 143) / 12 cells^2, half a side is 6
    batch.network.stacks = lambda images: [torch.zeros(len(images), 3, *HW)]
    terms = objective()
    flat = torch.full((2,), (63 + 143) / 12 / 36)
    terms.decode = fixed_output(batch.images)
    torch.testing.assert_close(terms(batch)['spread'], flat)
    # as far as the motion is explained: 1 - 2 * 0.25, and not before half of it is
    terms.decode = fixed_output(batch.images + 0.5)
    torch.testing.assert_close(terms(batch)['spread'], flat / 2)
    terms.decode = fixed_output(batch.images + 0.8)
    assert terms(batch)['spread'].tolist() == [0.0, 0.0]


def test_all_parts_are_trained(batch, objective, check_gradients):
    # so much change that the error counts as explained, and the spread with it
    terms = objective(thickness=0.5, compare='random', change=100.0)
    check_gradients(terms, batch, trains_objective='pixel')


def test_there_is_no_skeleton_before_edges_have_grown(objective):
    assert objective().skeleton() == []


def test_the_skeleton_holds_the_strong_edges_by_the_strongest(objective):
    terms = objective(network=NetworkConfig(keypoints=4, input_hw=(64, 96), width=8))
    # edges 01 02 03 12 13 23; the softplus of 5 is 5.00672, of 1 is 1.31326, of 0.5 is 0.97408
    weights = torch.tensor([START, 5.0, START, 1.0, 0.5, START])
    terms.links.data = weights / PACE
    assert terms.skeleton() == [(0, 2, 1.0), (1, 2, 0.2623)]
    assert objective(threshold=0.0).skeleton() == []


def test_the_skeleton_of_a_run_is_in_its_manifest_and_on_its_pictures(square_store, tmp_path):
    config = TrainConfig(
        objective='edge_linking', keypoints=3, size=64, width=8, batch_size=2, precision='32'
    )
    session = new_training_state(config, square_store)
    graph = session.learner.objective.objectives['edge_linking']
    graph.links.data = torch.tensor([START, 4.0, 4.0]) / PACE
    session.save(tmp_path, {})
    assert export_model(tmp_path).skeleton == ((0, 2, 1.0), (1, 2, 1.0))
    assert read_manifest(tmp_path).skeleton == ((0, 2, 1.0), (1, 2, 1.0))
    journal = RunLog(tmp_path, (), from_step=0)
    network, frames = session.average.network, session.sample_frames(1)
    plain, linked = (
        cv2.imread(str(journal.write_overlay(step, network, frames, skeleton)))
        for step, skeleton in enumerate([(), session.learner.objective.skeleton()])
    )
    journal.close()
    assert (plain != linked).any()


def test_one_keypoint_is_refused(objective):
    with pytest.raises(ConfigError, match='edge_linking links at least 2 keypoints, got 1'):
        objective(network=NetworkConfig(keypoints=1, input_hw=(64, 96)))


@pytest.mark.parametrize(
    ('settings', 'sentence'),
    [
        ({'thickness': 0.0}, 'thickness: must be a number above 0 and at most 1, got 0.0'),
        ({'masked': 1.5}, 'masked: must be a number from 0 to 1, got 1.5'),
        ({'threshold': -1.0}, 'threshold: must be a number from 0 to 1, got -1.0'),
        ({'blocks': 0}, 'blocks: must be an integer, 1 or more, got 0'),
    ],
)
def test_settings_must_make_sense(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        EdgeLinkingConfig(**settings)


def test_edges_begin_weak_and_about_alike(objective):
    torch.manual_seed(0)
    terms = EdgeLinking(
        EdgeLinkingConfig(compare='pixels'),
        NetworkConfig(keypoints=20, input_hw=(64, 96), width=8),
        DatasetStatistics(1.0),
    )
    before = 25 * terms.links  # of 190 edges, before the softplus
    assert before.mean().item() == pytest.approx(-4, abs=0.03)
    assert before.std().item() == pytest.approx(0.1, rel=0.2)
    assert (
        objective(network=NetworkConfig(keypoints=2, input_hw=(64, 96), width=8)).links.numel()
        == 1
    )


def set_weights(terms, *weights):
    with torch.no_grad():
        terms.links.copy_(torch.tensor(weights).expm1().log() / 25)


def test_an_edge_counts_from_twice_its_first_weight(objective):
    terms, first = objective(threshold=0.0), math.log1p(math.exp(-4))
    set_weights(terms, 2.1 * first, 1.9 * first, 6.3 * first)
    assert terms.skeleton() == [(0, 1, 0.3333), (1, 2, 1.0)]
    # the strongest one is always as strong as itself
    terms = objective(threshold=1.0)
    set_weights(terms, 0.5, 0.4, 0.3)
    assert terms.skeleton() == [(0, 1, 1.0)]


@pytest.mark.parametrize('hw', [(16, 96), (96, 16)])
def test_blocks_are_along_the_longer_side_and_one_at_least(objective, hw):
    images = torch.zeros(64, 3, *hw)
    whole = objective(blocks=1, masked=0.5)._visible_mask(images).flatten(1)
    assert (whole == whole[:, :1]).all() and whole.any() and not whole.all()
    mask = objective(blocks=6, masked=0.5)._visible_mask(images)[:, 0]
    blocks = mask.unflatten(1, (hw[0] // 16, 16)).unflatten(3, (hw[1] // 16, 16))
    assert (blocks == blocks[:, :, :1, :, :1]).all()
    assert len({tuple(m.flatten().tolist()) for m in mask}) > 20


def test_two_keypoints_at_one_place_are_an_edge_of_no_length(objective):
    points = torch.tensor([[[2.0, 2.0], [2.0, 2.0], [9.0, 5.0]]])
    found = edge_map(points, PAIRS, torch.tensor([0.1, 1.0, 0.5]), HW, 1.0)
    # the strong edge from the first to the third hides the others
    alone = edge_map(points[:, [0, 2]], torch.tensor([[0], [1]]), torch.ones(1), HW, 1.0)
    torch.testing.assert_close(found, alone)


def test_compared_in_pixels_alone_there_is_no_other_error(objective, batch):
    assert objective()(batch)['perceptual'].tolist() == [0.0, 0.0]
