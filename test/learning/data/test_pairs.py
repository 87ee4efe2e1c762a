"""Pairs: some time apart, in both directions, within an episode."""

from types import SimpleNamespace

from keypoint_perception.episodes import find_episodes
from keypoint_perception.errors import TrainingError
from keypoint_perception.learning.data.pairs import mean_change, PairSampler
import numpy as np
import pytest

SECOND = 1_000_000_000


def sampler(stamps_ns, episodes=None, *, min_gap_s=0.2, max_gap_s=2.0, seed=0, favoured=None):
    episodes = np.zeros(len(stamps_ns), int) if episodes is None else episodes
    gaps = {'min_gap_s': min_gap_s, 'max_gap_s': max_gap_s}
    return PairSampler(np.asarray(stamps_ns), episodes, seed=seed, favoured=favoured, **gaps)


def test_gaps_are_in_range_and_go_both_ways():
    stamps = np.arange(600) * SECOND // 30
    source, target = sampler(stamps).draw(4000)
    gap_s = (stamps[target] - stamps[source]) / 1e9
    assert np.abs(gap_s).min() >= 0.2 - 0.5 / 30
    assert np.abs(gap_s).max() <= 2.0 + 0.5 / 30
    # both directions in about equal number: 5 standard deviations of a fair coin are 158
    assert abs((gap_s > 0).sum() - 2000) < 158
    # log-uniform: half of the gaps lie below the geometric mean, sqrt(0.2 * 2) = 0.632 s
    assert abs((np.abs(gap_s) < 0.632).sum() - 2000) < 300


def test_some_pairs_are_of_any_two_frames_of_a_view():
    # four clips of 30 frames, the first and the third of one view, the last of none
    clip = np.arange(120) // 30
    stamps = np.arange(120) * SECOND // 30 + clip * 20 * SECOND
    drawn = PairSampler(
        stamps,
        clip,
        min_gap_s=0.2,
        max_gap_s=2.0,
        seed=0,
        views=np.array([5, 7, 5, -1])[clip],
        across=0.4,
    )
    source, target = drawn.draw(4000)
    assert (source != target).all()
    pairs = set(zip(clip[source].tolist(), clip[target].tolist(), strict=True))
    assert pairs == {(0, 0), (1, 1), (2, 2), (3, 3), (0, 2), (2, 0)}
    # half of those of the first view, of which one in two is of the other clip
    share = (clip[source] != clip[target])[np.isin(clip[source], [0, 2])].mean()
    assert share == pytest.approx(0.2, abs=0.03)


def test_gaps_below_the_time_between_frames_take_the_neighbours():
    stamps = np.arange(50) * SECOND
    source, target = sampler(stamps, min_gap_s=0.01, max_gap_s=0.1).draw(200)
    assert (np.abs(source - target) == 1).all()


def test_every_second_pair_begins_with_a_favoured_frame():
    # stamps backwards, so that the order in time is not that of the indices
    stamps = (np.arange(600) * SECOND // 30)[::-1]
    favoured = np.array([150, 300, 450])
    source, target = sampler(stamps, favoured=favoured).draw(4000)
    # 5 standard deviations of a fair coin are 158; of the other half a two-hundredth
    assert abs(np.isin(source, favoured).sum() - 2010) < 160
    gap_s = np.abs(stamps[target] - stamps[source]) / 1e9
    assert gap_s.min() >= 0.2 - 0.5 / 30 and gap_s.max() <= 2.0 + 0.5 / 30


def test_favoured_frames_without_a_partner_are_passed_over():
    # the second clip is a single frame
    episodes = np.array([0] * 30 + [1])
    source, _ = sampler(np.arange(31) * SECOND // 10, episodes, favoured=np.array([30])).draw(500)
    assert source.max() < 30


def test_stamps_too_uneven_for_the_gaps_are_said():
    # frames in twos, 0.01 s apart, every 0.5 s: nothing lies 0.2 to 0.3 s apart
    stamps = (np.repeat(np.arange(20) * 0.5, 2) + np.tile([0, 0.01], 20)) * 1e9
    with pytest.raises(TrainingError, match=r'Almost no frames are 0\.2 to 0\.3 s apart'):
        sampler(stamps.astype(np.int64), min_gap_s=0.2, max_gap_s=0.3).draw(10)


def test_every_frame_has_its_turn():
    stamps = np.arange(90) * SECOND // 30
    source, target = sampler(stamps).draw(5000)
    assert set(source) == set(range(90)) == set(target)


def test_pairs_are_of_one_camera():
    # two cameras with the same stamps, interleaved as a recording has them
    stamps = np.repeat(np.arange(100) * SECOND // 30, 2)
    camera = np.tile([0, 1], 100)
    source, target = sampler(stamps, find_episodes(stamps, camera)).draw(2000)
    assert (camera[source] == camera[target]).all()
    assert (source != target).all()


def test_a_slow_recording_still_has_pairs():
    # one image a second, asked for 0.2 to 0.6 s: the neighbour is the nearest there is
    stamps = np.arange(50) * SECOND
    source, target = sampler(stamps, min_gap_s=0.6, max_gap_s=0.9).draw(200)
    assert (np.abs(stamps[target] - stamps[source]) == SECOND).all()


def test_episodes_of_a_slow_recording_are_not_joined():
    # ten seconds between frames are more than the sampler leaves between two episodes
    stamps = np.arange(10) * 10 * SECOND
    episodes = np.repeat([0, 1], 5)
    source, target = sampler(stamps, episodes).draw(500)
    assert (episodes[source] == episodes[target]).all()


def test_same_seed_same_pairs_and_restoring_goes_on():
    stamps = np.arange(300) * SECOND // 30
    first, second = sampler(stamps, seed=3), sampler(stamps, seed=3)
    np.testing.assert_array_equal(first.draw(64), second.draw(64))
    state = first.state()
    expected = first.draw(64)
    later = sampler(stamps, seed=99)
    later.restore(state)
    np.testing.assert_array_equal(later.draw(64), expected)
    assert (sampler(stamps, seed=4).draw(64) != sampler(stamps, seed=3).draw(64)).any()


@pytest.mark.parametrize('count', [1, 3])
def test_a_recording_shorter_than_the_shortest_gap_is_refused(count):
    with pytest.raises(
        TrainingError, match=r'lasts \d\.\d\d s, min_gap_s is 0\.2 s; use a longer'
    ):
        sampler(np.arange(count) * SECOND // 30)


def test_change_is_the_mean_squared_difference():
    # grey 100 and 151 by turns: 51 / 127.5 = 0.4, squared 0.16, in half of the pairs
    images = np.empty((100, 8, 8, 3), np.uint8)
    images[0::2], images[1::2] = 100, 151
    drawn = sampler(np.arange(100) * SECOND // 30)
    source, target = sampler(np.arange(100) * SECOND // 30).draw(256)
    share = ((source + target) % 2 == 1).mean()
    np.testing.assert_allclose(mean_change(images, drawn), 0.16 * share, rtol=1e-5)


@pytest.mark.parametrize('channels', [1, 3], ids=['grey', 'colours'])
@pytest.mark.parametrize('sigma', [1.4, 5.0, 20.0])
def test_noise_is_not_motion_and_an_object_of_three_pixels_is(sigma, channels):
    noise = np.random.default_rng(0).normal(120, sigma, (60, 48, 64, channels))
    images = np.repeat(noise.round().clip(0, 255).astype(np.uint8), 3 // channels, axis=-1)
    drawn = sampler(np.arange(60) * SECOND // 30)
    with pytest.raises(TrainingError, match='grey levels on average, which is sensor noise'):
        mean_change(images, drawn)
    for i, image in enumerate(images):
        image[20:23, i : i + 3] = 0
    assert mean_change(images, drawn) > 0


def test_a_texture_that_moves_as_a_whole_is_motion(texture):
    images = np.stack([texture[:64, i : i + 64] // 8 + 100 for i in range(60)])
    assert mean_change(images, sampler(np.arange(60) * SECOND // 30)) > 0


@pytest.mark.parametrize(
    ('levels', 'moving', 'refused'),
    [
        (9, range(4), False),
        (7, range(4), True),
        (9, range(3), True),
        (9, range(60, 64), False),
        (9, range(61, 65), True),  # the first 64 pairs are looked at
    ],
)
def test_something_moves_if_a_place_does_in_four_pairs(levels, moving, refused):
    images = np.full((2, 258, 259, 3), 100, np.uint8)
    images[1, 252:255, 252:255] += levels
    asked = []

    def draw(count):
        asked.append(count)
        target = np.zeros(count, int)
        target[list(moving)] = 1
        return np.zeros(count, int), target

    drawn = SimpleNamespace(draw=draw)
    if refused:
        with pytest.raises(TrainingError, match='Nothing moves'):
            mean_change(images, drawn)
    else:
        # far less than a millionth, which it is at least
        assert mean_change(images, drawn) == 1e-6
    assert asked == [256]


def noisy(frames=60):
    rng = np.random.default_rng(0)
    still = rng.integers(0, 200, (32, 32, 3))
    noise = rng.normal(0, 1.2, (frames, 32, 32, 3))
    return (still + noise).clip(0, 255).astype(np.uint8)


def test_a_still_recording_is_refused():
    with pytest.raises(TrainingError, match=r'Nothing moves in the recording: .* grey levels'):
        mean_change(noisy(), sampler(np.arange(60) * SECOND // 30))


def test_a_small_mover_is_enough():
    images = noisy()
    for i, image in enumerate(images):
        image[10:14, i % 28 : i % 28 + 4] = 255
    assert mean_change(images, sampler(np.arange(60) * SECOND // 30)) > 0


def test_a_recording_shorter_than_the_largest_gap_is_reported(caplog):
    stamps = np.arange(31) * SECOND // 30
    short = sampler(stamps)
    short.warn_if_short()
    source, target = short.draw(200)
    assert 'longest episode lasts 1.00 s, less than max_gap_s of 2 s' in caplog.text
    assert (np.abs(stamps[source] - stamps[target]) <= SECOND).all()
    caplog.clear()
    sampler(np.arange(100) * SECOND // 30).warn_if_short()
    assert not caplog.text
