"""A run that goes on has the settings it began with, and is told for how long."""

from pathlib import Path
from types import SimpleNamespace

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning import resume
from keypoint_perception.learning.config import TrainConfig, USUAL_STEPS
from keypoint_perception.learning.resume import settings_of_run, step_limit
import pytest
import yaml


@pytest.fixture
def begun(run, small, square_store, tmp_path):
    """Return the directory of a run of two steps, and a file with its settings."""
    settings = tmp_path / 'small.yaml'
    # the size is that of the frames, as for a run on a frame store
    settings.write_text(yaml.safe_dump({n: v for n, v in small.items() if n != 'size'}))
    run(square_store, tmp_path / 'model', steps=2)
    return tmp_path / 'model', settings


def test_the_file_it_began_with_changes_nothing(begun):
    out, settings = begun
    went_on = settings_of_run(out, settings, {}, resume=True)
    assert (went_on.size, went_on.steps) == (64, 2)


def test_a_file_that_says_otherwise_is_refused(begun):
    out, settings = begun
    settings.write_text('width: 16')
    with pytest.raises(ConfigError, match=r'other settings \(width 8 -> 16\)'):
        settings_of_run(out, settings, {}, resume=True)


def test_steps_may_change(begun):
    out, settings = begun
    assert settings_of_run(out, settings, {'steps': 7}, resume=True).steps == 7


@pytest.fixture
def steps_done(monkeypatch):
    """Return a function that says how many steps a checkpoint has done."""

    def steps_done(count):
        state = SimpleNamespace(state={'step': count})
        monkeypatch.setattr(resume, 'load_checkpoint', lambda out: state)

    return steps_done


@pytest.mark.parametrize(
    ('steps', 'minutes', 'goes_on', 'limit'),
    [
        (0, None, False, USUAL_STEPS),
        (0, 5.0, False, None),
        (9, 5.0, False, 9),
        (0, None, True, USUAL_STEPS),
        (0, 5.0, True, None),
    ],
)
def test_steps_at_which_a_run_ends(steps_done, steps, minutes, goes_on, limit):
    steps_done(USUAL_STEPS)
    config = TrainConfig(steps=steps)
    assert step_limit(config, Path('model'), minutes=minutes, resume=goes_on) == limit


def test_a_run_longer_than_usual_is_not_ended_in_silence(steps_done):
    steps_done(USUAL_STEPS + 1)
    with pytest.raises(ConfigError, match='6001 steps, more than the default of 6000; limit'):
        step_limit(TrainConfig(), Path('model'), minutes=None, resume=True)
