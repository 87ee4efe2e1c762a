"""Negatives are of one image, the loss by hand, and what D2-Net calls peculiar."""

import math

from keypoint_perception.learning.self_training.contrast import (
    gather_loss,
    match_loss,
    negatives,
    peculiarity,
)
import pytest
import torch
from torch.nn.functional import normalize

NAN = torch.nan


def test_negatives_are_other_places_of_the_same_image():
    xy = torch.tensor([[[0.1, 0.1], [0.5, 0.5], [NAN, NAN]]])
    candidates = torch.tensor([[[0.1, 0.1], [0.14, 0.1], [NAN, NAN]]])
    places = torch.tensor([[[0.15, 0.1], [0.1, 0.25]]])
    found = negatives(xy, candidates, places)
    # a candidate is another from 0.03 on, a random place from 0.09 on
    assert found.tolist() == [
        [[False, True, False, False, True], [True, True, False, True, True], [False] * 5]
    ]


def test_the_match_by_hand():
    anchors = torch.tensor([[[1.0, 0.0]]])
    partners = torch.tensor([[[0.6, 0.8]]])
    rest = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    loss = match_loss(anchors, partners, rest, torch.tensor([[[True, False]]]), 0.5)
    right = math.exp(0.6 / 0.5)
    by_anchor = -math.log(right / (right + math.exp(0 / 0.5)))
    by_partner = -math.log(right / (right + math.exp(0.8 / 0.5)))
    assert loss.item() == pytest.approx((by_anchor + by_partner) / 2)


def test_a_point_without_negatives_costs_nothing():
    points, rest = torch.rand(1, 2, 4), torch.rand(1, 3, 4)
    loss = match_loss(points, points, rest, torch.zeros(1, 2, 3, dtype=torch.bool), 0.1)
    torch.testing.assert_close(loss, torch.zeros(1, 2))


def test_places_of_other_images_are_no_negatives():
    points = normalize(torch.rand(2, 1, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    rest = points.clone().requires_grad_()
    loss = match_loss(points, points, rest, torch.ones(2, 1, 1, dtype=torch.bool), 0.1)
    (gradient,) = torch.autograd.grad(loss[0].sum(), rest)
    assert gradient[0].abs().sum() > 0 and not gradient[1].any()


def test_points_of_a_keypoint_gather_across_images():
    descriptors = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8], [0.0, 1.0]]])
    keypoint = torch.tensor([[0, 1], [0, -1]])
    # |(1, 0) - (0.6, 0.8)|^2; the second keypoint is in one image only
    assert gather_loss(descriptors, keypoint).item() == pytest.approx(0.8)
    # not in one image
    assert gather_loss(descriptors, torch.tensor([[0, 0], [-1, -1]])).item() == 0
    nothing = gather_loss(descriptors.requires_grad_(), torch.full((2, 2), -1))
    nothing.backward()
    assert nothing.item() == 0


def test_the_score_of_d2_net_by_hand():
    responses = torch.zeros(1, 2, 9, 2)
    responses[0, 0, 0] = torch.tensor([2.0, 1.0])  # alone
    responses[0, 1] = torch.tensor([2.0, -5.0])  # like its surroundings
    score = peculiarity(responses)
    assert score[0, 0].item() == pytest.approx(math.e / (math.e + 8))
    assert score[0, 1].item() == pytest.approx(1 / 9)
