"""A run has settled when its keypoints stay where they are, while they could still move."""

from keypoint_perception.learning import settling
from keypoint_perception.learning.settling import (
    Movement,
    settled_since,
    settling_sentence,
    SettlingCheck,
)
import pytest
import torch


def curve(*percents):
    return [Movement(100 * (i + 1), percent) for i, percent in enumerate(percents)]


@pytest.mark.parametrize(
    ('movements', 'since'),
    [
        (curve(9.0, 4.0, 2.0, 0.9, 0.6, 0.4), 400),
        (curve(9.0, 0.5, 0.5, 0.5, 3.0, 0.9, 0.9), None),  # a keypoint has jumped since
        (curve(9.0, 4.0, 2.0, 1.5, 1.0), None),
        (curve(0.2, 0.2, 0.2), 100),
        (curve(0.2, 0.2), None),  # too short
        (curve(0.2, 0.2, 0.2, float('nan')), None),
        ([], None),
    ],
)
def test_since_when_a_run_is_settled(movements, since):
    assert settled_since(movements) == since


def test_what_a_user_is_told():
    assert settling_sentence(curve(3.0, 2.0)) == ''
    told = settling_sentence(curve(3.0, 0.3, 0.2, 0.1))
    assert told == 'The keypoints have been settled since step 200: more steps help little.'
    told = settling_sentence(curve(3.0, 2.5, 2.26))
    assert told.startswith('At step 300 the keypoints still moved by 2.3 % of the diagonal per')
    assert told.endswith('(settled: less than 1 %): more steps or minutes help.')


class Network:
    """Two keypoints, one of which moves within the recording."""

    shift, calls = torch.zeros(2), 0

    def __call__(self, frames):
        self.calls += 1
        found = torch.zeros(len(frames), 2, 3)
        found[:, 0, 0] = 10.0 * torch.arange(len(frames))
        found[..., :2] += self.shift
        found[:, 1, 0] *= 5  # of the one that stands still
        return found


def check():
    return SettlingCheck(torch.zeros(4, 30, 40, 3, dtype=torch.uint8), torch.zeros(4, dtype=int))


def test_movement_is_that_of_the_moving_keypoints():
    followed, network = check(), Network()
    followed.after_step(network, 50, 1.0)
    network.shift = torch.tensor([3.0, 4.0])  # a tenth of the diagonal of 50 px
    followed.after_step(network, 62, 1.0)
    followed.after_step(network, 78, 1.0)
    assert followed.movements == [(62, pytest.approx(10.0)), (78, 0.0)]


def test_a_run_is_looked_at_ever_more_seldom_and_while_the_rate_is_high():
    followed, network = check(), Network()
    looked = []
    for step in range(1, 1001):
        before = network.calls
        has_looked = followed.after_step(network, step, 1.0 if step < 400 else 0.4)
        assert has_looked == (network.calls > before)
        if has_looked:
            looked.append(step)
    assert looked == [50, 62, 78, 98, 122, 152, 190, 238, 298, 372]
    assert settling.GROWTH * 372 < 1000
