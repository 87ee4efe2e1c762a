"""Keypoints that are of no use are not exported, and the others keep what they say."""

from unittest.mock import MagicMock

from keypoint_perception.learning import run_monitor
from keypoint_perception.learning.config import read_config
from keypoint_perception.learning.data.scenes import at_reference, CameraMotion
from keypoint_perception.learning.pruning import (
    _explained_by,
    choose_keypoints,
    rank_by_explained_motion,
    useful_keypoints,
)
from keypoint_perception.model.network import Keypointer, NetworkConfig
import pytest
import torch


class Scripted(torch.nn.Module):
    """Answers with given keypoints."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def forward(self, frames):
        return self.found


@pytest.fixture
def frames():
    """A bright square that moves along row 32, (20, 64, 64, 3) uint8."""
    made = torch.zeros(20, 64, 64, 3, dtype=torch.uint8)
    for i, frame in enumerate(made):
        frame[28:36, 10 + 2 * i : 18 + 2 * i] = 200
    return made


def on_the_square(offset, confidence):
    along = torch.arange(20.0) * 2 + 14 + offset
    return torch.stack([along, torch.full((20,), 32.0), torch.full((20,), confidence)], dim=-1)


def test_what_is_of_no_use_is_left_out(frames):
    still = torch.tensor([40.0, 32.0, 0.9]).expand(20, 3)
    wanders = on_the_square(0, 0.9) - torch.tensor([0.0, 25.0, 0.0])  # where nothing ever moves
    found = [on_the_square(0, 0.6), still, on_the_square(0.5, 0.8), on_the_square(3, 0.7), wanders]
    # the first is where the third is, which is surer
    assert sorted(useful_keypoints(torch.stack(found, dim=1), frames, torch.zeros(20))) == [2, 3]


@pytest.mark.parametrize(('off', 'kept'), [(0.8, 1), (1.0, 2)])
def test_what_the_kept_tell_is_left_out(frames, off, kept):
    # 1 % of the diagonal of 64 x 64 is 0.905 px
    found = torch.stack([on_the_square(0, 0.6), on_the_square(3, 0.7)], dim=1)
    # up and down, in two ways that tell nothing of each other
    shaken = torch.tensor([[1.0, -1.0, -1.0, 1.0], [1.0, -1.0, 1.0, -1.0]])
    found[..., 1] += off * shaken.repeat(1, 5).T
    assert len(choose_keypoints(Scripted(found), frames, torch.zeros(20))) == kept


def test_what_differs_between_scenes_has_not_moved(frames):
    scene = torch.arange(20) % 2
    # where the square comes by, but not along with it
    still = torch.tensor([[20.0, 32.0, 0.9], [44.0, 32.0, 0.9]])[scene]
    found = torch.stack([still, on_the_square(0, 0.6)], dim=1)
    assert useful_keypoints(found, frames, scene) == [1]
    assert useful_keypoints(found, frames, torch.zeros(20)) == [0, 1]


def test_ground_that_differs_between_scenes_does_not_vary(frames):
    scene = torch.arange(20) % 2
    lit = frames + (50 * scene[:, None, None, None]).to(torch.uint8)
    wanders = on_the_square(0, 0.9) - torch.tensor([0.0, 25.0, 0.0])
    found = torch.stack([wanders, on_the_square(0, 0.6)], dim=1)
    assert useful_keypoints(found, lit, scene) == [1]


def test_what_is_beside_another_in_each_scene_is_told_by_it(frames):
    scene = torch.arange(20) % 2
    beside = on_the_square(3, 0.7)
    beside[:, 0] += 4.0 * scene
    found = Scripted(torch.stack([on_the_square(0, 0.6), beside], dim=1))
    assert len(choose_keypoints(found, frames, scene)) == 1
    assert len(choose_keypoints(found, frames, torch.zeros(20))) == 2


def test_only_what_the_objective_has_found_is_kept(frames):
    x = 20 + 2.0 * torch.arange(20)
    y = 10 + 2.0 * torch.arange(20).flip(0) ** 1.1
    found = torch.stack([torch.stack([x, y], 1), torch.stack([y, x], 1)], dim=1)
    found = Scripted(torch.cat([found, torch.full((20, 2, 1), 0.9)], dim=-1))
    moving = torch.randint(0, 255, (20, 1, 1, 1), dtype=torch.uint8).expand_as(frames)
    scene = torch.zeros(20)
    assert choose_keypoints(found, moving, scene, 2) == [0, 1]
    assert choose_keypoints(found, moving, scene, learned=[1]) == [1]


def test_all_places_are_kept_where_none_is_of_use(frames):
    still = torch.tensor([40.0, 32.0, 0.9]).expand(20, 3)
    other = still + torch.tensor([0.0, 9.0, 0.0])
    found = Scripted(torch.stack([still, other, still - 0.1], dim=1))
    assert choose_keypoints(found, frames, torch.zeros(20)) == [0, 1]


def small_thing(noise, contrast=60):
    """An object of 3 px that crosses a plain floor with a rim that shakes, (120, 64, 64, 3)."""
    generator = torch.Generator().manual_seed(0)
    made = torch.full((120, 64, 64, 3), 140.0)
    made[:, 4:6] = 240.0
    shake = torch.rand(120, 1, 1, generator=generator)
    made[:, 4] -= 100 * shake
    made[:, 6] += 100 * (1 - shake)
    uv = torch.stack([8 + 0.4 * torch.arange(120), 30 + 20 * torch.sin(torch.arange(120) / 9)], -1)
    for frame, (u, v) in zip(made, uv.round().int().tolist(), strict=True):
        frame[v - 1 : v + 2, u - 1 : u + 2] -= contrast
    made += noise * torch.randn(made.shape, generator=generator)
    return made.clamp(0, 255).round().to(torch.uint8), uv


@pytest.mark.parametrize('noise', [1.0, 5.0, 12.0])
def test_a_small_object_moves_and_neither_noise_nor_a_rim_that_shakes_does(noise):
    frames, uv = small_thing(noise)
    on_the_rim = torch.stack([uv[:, 0], torch.full((120,), 5.0)], dim=-1)
    beside = torch.stack([uv[:, 0], 62 - uv[:, 1]], dim=-1)
    places = torch.stack([beside, on_the_rim, uv], dim=1)
    found = torch.cat([places, torch.full((120, 3, 1), 0.9)], dim=-1)
    assert useful_keypoints(found, frames, torch.zeros(120)) == [2]


def test_what_rests_in_a_clip_and_elsewhere_in_the_next_is_not_static():
    frames = torch.full((90, 64, 64, 3), 100, dtype=torch.uint8)
    clip = torch.arange(90) // 10
    place = torch.stack([10 + 5.0 * clip, 20 + 3.0 * (clip % 4)], dim=-1)
    for frame, (u, v) in zip(frames, place.int().tolist(), strict=True):
        frame[v - 3 : v + 4, u - 3 : u + 4] = 30
    found = torch.cat([place, torch.full((90, 1), 0.9)], dim=-1)[:, None]
    fixed = torch.tensor([30.0, 55.0, 0.9]).expand(90, 1, 3)
    assert useful_keypoints(torch.cat([found, fixed], dim=1), frames, torch.zeros(90)) == [0]


def test_as_many_are_kept_as_were_asked_for(frames):
    still = torch.tensor([40.0, 32.0, 0.9]).expand(20, 3)
    found = [still, on_the_square(0, 0.6), still + torch.tensor([0.0, 9.0, 0.0])]
    network = Scripted(torch.stack(found, dim=1))
    assert choose_keypoints(network, frames, torch.zeros(20), 1) == [1]
    assert choose_keypoints(network, frames, torch.zeros(20), 2) == [0, 1]


def test_those_are_kept_that_tell_most_of_the_others():
    # three motions that have nothing to do with each other, over four frames
    one, two, three = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
    wide = torch.stack([10 * one, 10 * two], dim=1)
    narrow = torch.stack([4 * three, 0 * three], dim=1)
    # a copy that is elsewhere tells nothing new
    found = torch.stack([narrow, wide + 50, wide], dim=1)
    order, left = rank_by_explained_motion(found)
    assert order == [1, 0, 2]
    # the first leaves the narrow one, 4 px from its mean, the second nothing
    assert left == pytest.approx([4.0, 0.0, 0.0], abs=1e-4)


def test_what_a_keypoint_tells_is_what_lies_in_its_plane():
    left = torch.tensor([[[1.0, 0.0], [2.0, 3.0]], [[-1.0, 0.0], [-2.0, 3.0]]]).double()
    basis, told = _explained_by(left, 0)
    # the first moves along (1, -1) over the two frames; of the second that holds u, not v
    torch.testing.assert_close(basis[:, 0].abs(), torch.full((2,), 0.5**0.5).double())
    assert told == pytest.approx(2 + 8)


@pytest.mark.parametrize('network', ['default', 'paper', 'hourglass'])
def test_selected_keypoints_say_what_they_said(network):
    torch.manual_seed(0)
    config = NetworkConfig(network=network, keypoints=4, input_hw=(32, 48), width=8, stacks=3)
    whole = Keypointer(config).eval()
    whole.calibration.copy_(torch.tensor([0.5, 1.0]))
    chosen = whole.select([3, 1])
    images = torch.randint(0, 255, (2, 32, 48, 3), dtype=torch.uint8)
    assert chosen.config.keypoints == 2
    with torch.no_grad():
        torch.testing.assert_close(chosen(images), whole(images)[:, [3, 1]])


def test_only_keypoints_that_nobody_asked_for_are_left_out(tmp_path):
    assert read_config(None, {}).prune
    assert not read_config(None, {'keypoints': 20}).prune
    assert read_config(None, {'keypoints': 20, 'prune': True}).prune
    settings = tmp_path / 'few.yaml'
    settings.write_text('keypoints: 5')
    assert not read_config(settings, {}).prune


@pytest.mark.parametrize(
    ('stated', 'extra_keypoints'),
    [
        ({}, 0),
        ({'keypoints': 8}, 12),
        ({'keypoints': 32}, 0),
        ({'keypoints': 8, 'extra_keypoints': 1}, 1),
        ({'keypoints': 8, 'prune': True}, 0),
        ({'keypoints': 8, 'objective': 'temporal_transport'}, 0),
    ],
)
def test_the_best_of_at_least_twenty_are_kept(stated, extra_keypoints):
    assert read_config(None, stated).extra_keypoints == extra_keypoints


class ByNumber(torch.nn.Module):
    """Answers with what is given for the number that stands in a frame's first pixel."""

    def __init__(self, found):
        super().__init__()
        self.found, self.most = found, 0

    def forward(self, frames):
        self.most = max(self.most, len(frames))
        return self.found[frames[:, 0, 0, 0].long() * 256 + frames[:, 0, 0, 1]]


@pytest.mark.parametrize('telling', [0, 1])
def test_many_frames_are_worked_on_a_part_at_a_time(frames, telling):
    many = frames.repeat(15, 1, 1, 1)
    number = torch.arange(300)
    many[:, 0, 0, 0], many[:, 0, 0, 1] = number // 256, number % 256
    found = torch.stack([on_the_square(0, 0.6), on_the_square(3, 0.7)], dim=1).repeat(15, 1, 1)
    # in the last part alone one of the two does what the other does not tell
    found[200:, telling, 1] += torch.tensor([8.0, -8.0]).repeat(50)
    network = ByNumber(found)
    assert choose_keypoints(network, many, torch.zeros(len(many))) == [telling]
    assert network.most == 128


def test_before_a_camera_that_moves_what_rests_in_the_world_is_left_out(frames):
    """The camera moves down by a pixel a frame, so that all that rests moves up in its image."""
    up = torch.arange(20.0)
    to_reference = torch.eye(3).repeat(20, 1, 1)
    to_reference[:, 1, 2] = up
    background = torch.full((20, 3, 64, 64), -1.0)  # black, as all but the square
    motion = CameraMotion(to_reference, background, torch.full((20, 1, 64, 64), 0.05))
    rests = torch.stack([torch.full((20,), 50.0), 40 - up, torch.full((20,), 0.9)], dim=-1)
    wanders = on_the_square(0, 0.9) - torch.tensor([0.0, 25.0, 0.0])  # on the background
    found = torch.stack([on_the_square(0, 0.6), rests, wanders], dim=1)
    assert useful_keypoints(found, frames, torch.zeros(20), motion) == [0]
    still = at_reference(found[..., :2], motion)
    torch.testing.assert_close(still[:, 1], torch.tensor([50.0, 40.0]).expand(20, 2))


def test_what_is_known_by_its_looks_may_rest_in_the_world(frames):
    """Nothing differs from the background, but the image of one of two points moves."""
    up = torch.arange(20.0)
    rests = torch.stack([torch.full((20,), 50.0), 40 - up, torch.full((20,), 0.9)], dim=-1)
    mount = torch.tensor([30.0, 60.0, 0.9]).expand(20, 3)
    found = torch.stack([rests, mount, rests - torch.tensor([0.5, 0.0, 0.1])], dim=1)
    plain, scene = torch.zeros_like(frames), torch.zeros(20)
    assert useful_keypoints(found, plain, scene) == []
    assert useful_keypoints(found, plain, scene, resting=True) == [0]
    script = Scripted(found)
    assert choose_keypoints(script, plain, scene, learned=[0, 1], resting=True) == [0]


@pytest.mark.parametrize(
    ('moves', 'learned', 'resting'),
    [(True, [0, 1], True), (False, [0, 1], False), (True, None, False)],
)
def test_they_may_where_the_camera_moves_and_points_are_found_by_their_looks(
    monkeypatch, moves, learned, resting
):
    seen = {}

    def choose(network, frames, scene, count, motion, learned, *, resting):
        seen.update(motion=motion, learned=learned, resting=resting)
        raise StopIteration

    monkeypatch.setattr(run_monitor, 'choose_keypoints', choose)
    monitor = MagicMock()
    monitor._config.prune, monitor._session.statistics.label_names = True, ()
    objective = monitor._session.learner.objective
    objective.links, objective.learned_keypoints.return_value = [], learned
    monitor._session.store.__len__.return_value = 20
    monitor._session.sample_motion.side_effect = lambda count: 'motion' if moves else None
    with pytest.raises(StopIteration):
        run_monitor.RunMonitor._select_keypoints(monitor)
    motion = 'motion' if moves and not resting else None
    assert seen == {'motion': motion, 'learned': learned, 'resting': resting}
