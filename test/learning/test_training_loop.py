"""Training: it learns, it goes on exactly, it stops cleanly, it says when it failed."""

import os
from pathlib import Path
import signal
import subprocess
import sys

from keypoint_perception.errors import ConfigError, ModelError, TrainingError
from keypoint_perception.learning import run_monitor, settling
from keypoint_perception.learning import training_loop as learning
from keypoint_perception.learning import training_step as stepping
from keypoint_perception.learning.collapse import CollapseCheck
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.resume import settings_of_run
from keypoint_perception.learning.stopping import Budget, StopRequest
from keypoint_perception.manifest import read_manifest
from keypoint_perception.model.checkpoint import load_checkpoint, load_network
from keypoint_perception.model.landmark_head import network_digest
from keypoint_perception.model.network import NETWORKS
from keypoint_perception.model_directory import read_history
from keypoint_perception.pose_prior import read_pose_prior
import numpy as np
import pytest
import torch
import yaml

ROOT = Path(__file__).parents[2]


def losses(out):
    return [float(row['loss']) for row in read_history(out)]


def test_it_finds_the_square(run, square_store, square_centres, tmp_path):
    """After a short run, points follow the square to within a cell."""
    outcome = run(square_store, tmp_path, steps=200, batch_size=8, learning_rate=4e-3)
    # looked at after 50, 62, 78 and 98 steps, before the rate has fallen to half
    assert outcome.metrics['settling'].startswith(('At step 98 the', 'The keypoints have been'))
    history = losses(tmp_path)
    assert history[-1] < 0.6 * history[0]
    with torch.no_grad():
        found = load_checkpoint(tmp_path).network(torch.tensor(square_store.images[:]))
    centres = torch.from_numpy(square_centres).float()
    offset = found[..., :2] - centres[:, None]
    # what is left of the motion of the best point after its constant offset, px of 64
    left = (offset - offset.mean(dim=0)).norm(dim=-1).mean(dim=0)
    assert left.min() < 4.0


@pytest.mark.parametrize(
    ('asked', 'last', 'reason'),
    [
        (True, 122, 'the keypoints have been settled since step 62'),
        (False, 300, '300 steps are done'),
    ],
)
def test_a_settled_run_ends_early_if_asked_to(
    run, square_store, tmp_path, monkeypatch, asked, last, reason
):
    monkeypatch.setattr(settling, 'SETTLED', 1000.0)
    monkeypatch.setattr(settling, 'LEAST_SPREAD', 0.0)
    outcome = run(square_store, tmp_path, steps=300, stop_when_settled=asked)
    # settled when looked at after 98 steps, and a quarter of 98 more
    assert (outcome.step, outcome.reason) == (last, reason)
    assert float(read_history(tmp_path)[-1]['rate']) < 0.03 * 2e-3


def test_resuming_gives_the_same_losses(run, square_store, tmp_path):
    run(square_store, tmp_path / 'whole', steps=8)

    def stop_at_three(moment):
        if moment.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    first = run(square_store, tmp_path / 'parts', steps=8, report=stop_at_three)
    assert (first.step, first.reason) == (3, 'SIGINT requested a stop')
    run(square_store, tmp_path / 'parts', steps=8, resume=True)
    assert losses(tmp_path / 'parts') == losses(tmp_path / 'whole')
    whole, parts = (load_checkpoint(tmp_path / name) for name in ('whole', 'parts'))
    torch.testing.assert_close(parts.tensors, whole.tensors, rtol=0, atol=0)
    state = whole.network.state_dict()
    torch.testing.assert_close(parts.network.state_dict(), state, rtol=0, atol=0)


def test_rows_behind_the_checkpoint_are_dropped_on_resuming(run, square_store, tmp_path):
    run(square_store, tmp_path, steps=3)
    with (tmp_path / 'history.csv').open('a') as stream:
        stream.write('4,0,0,0,9.9,0,0\n')
    run(square_store, tmp_path, steps=5, resume=True)
    assert [int(row['step']) for row in read_history(tmp_path)] == [1, 2, 3, 4, 5]
    assert 9.9 not in losses(tmp_path)


def test_seeds_differ_and_repeat(run, square_store, tmp_path):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        run(square_store, tmp_path / name, steps=2, seed=seed)
    assert losses(tmp_path / 'a') == losses(tmp_path / 'b') != losses(tmp_path / 'c')


def test_a_nan_ends_the_run_and_keeps_the_last_checkpoint(run, square_store, tmp_path):
    run(square_store, tmp_path, steps=2)
    with pytest.raises(TrainingError, match='The loss became inf near step 3; the last checkp'):
        # beyond what float32 holds
        run(square_store, tmp_path, steps=9, resume=True, weights={'pixel': 1e39})
    assert load_checkpoint(tmp_path).state['step'] == 2


def test_collapse_is_said(run, square_store, tmp_path, monkeypatch, caplog):
    collapsed = CollapseCheck(extent=0.001, moving=3, confidence=0.9, keypoints=3)
    monkeypatch.setattr(run_monitor, 'check_collapse', lambda *arguments: collapsed)
    outcome = run(square_store, tmp_path, steps=30, picture_every_s=0.1)
    assert outcome.complaint.startswith('All 3 keypoints lie in one place')
    assert load_checkpoint(tmp_path).state['metrics']['complaint'] == outcome.complaint
    # said while it happens, and once
    assert caplog.text.count('keypoints lie in one place') == 1


def test_a_run_ends_with_the_poses_of_its_network(run, square_store, tmp_path):
    run(square_store, tmp_path, steps=2)
    prior, network = read_pose_prior(tmp_path), load_network(tmp_path)
    assert prior.network_sha256 == network_digest(tmp_path)
    assert prior.input_hw == network.config.input_hw
    with torch.no_grad():
        found = network(torch.from_numpy(np.array(square_store.images)))
    low, high = found[..., :2].amin(dim=0).numpy(), found[..., :2].amax(dim=0).numpy()
    assert (low - 0.01 <= prior.mean).all()
    assert (prior.mean <= high + 0.01).all()


def test_settings_of_a_resumed_run_hold(run, square_store, tmp_path):
    run(square_store, tmp_path, steps=2)
    kept = settings_of_run(tmp_path, None, {'steps': 9, 'keypoints': None}, resume=True)
    assert (kept.steps, kept.keypoints, kept.width) == (9, 3, 8)
    with pytest.raises(ConfigError, match=r'started with other settings \(keypoints 3 -> 5\)'):
        settings_of_run(tmp_path, None, {'keypoints': 5}, resume=True)


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(ModelError, match='holds no checkpoint'):
        settings_of_run(tmp_path, None, {}, resume=True)


def test_pictures_and_tensorboard_are_left(run, square_store, tmp_path):
    run(square_store, tmp_path, steps=2)
    assert (tmp_path / 'overlays' / 'step_0000002.png').stat().st_size > 1000
    assert list((tmp_path / 'tensorboard').iterdir())


@pytest.mark.parametrize('network', NETWORKS)
@pytest.mark.parametrize('norm', ['group', 'instance', 'batch'])
def test_every_network_takes_a_step(run, square_store, tmp_path, network, norm):
    run(square_store, tmp_path, steps=1, network=network, norm=norm)
    assert load_checkpoint(tmp_path).network.config.norm == norm


def test_bfloat16_learns_too(run, square_store, tmp_path):
    run(square_store, tmp_path, steps=3, precision='bf16')
    assert all(0 < loss < 100 for loss in losses(tmp_path))


def test_two_processes_learn_what_one_learns(small, square_folder, tmp_path):
    """The command of the training guide, on two processes and on one."""
    settings = tmp_path / 'small.yaml'
    # the default draws its turns in each process
    plain = {'objective': 'temporal_transport', 'steps': 4}
    settings.write_text(yaml.safe_dump(small | plain))
    processes = {'one': 1, 'two': 2}
    for name, count in processes.items():
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
        command += [f'--nproc-per-node={count}', '-m', 'keypoint_perception', 'train']
        command += [str(square_folder), '--out', str(tmp_path / name), '--config', str(settings)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        # only the first process reports
        assert done.stdout.count('stopped at step 4') == 1
        assert f'Starting with {count} processes' in done.stderr or count == 1
        assert read_manifest(tmp_path / name).metrics['steps'] == 4
    torch.testing.assert_close(
        torch.tensor(losses(tmp_path / 'two')),
        torch.tensor(losses(tmp_path / 'one')),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ('step', 'done', 'expected'),
    [
        (0, 0.0, 0.1),  # the first of ten warm-up steps
        (9, 0.0, 1.0),
        (500, 0.5, 0.55),  # half way down the cosine from 1 to 0.1
        (999, 1.0, 0.1),
    ],
)
def test_the_rate_warms_up_and_follows_a_cosine(step, done, expected):
    config = TrainConfig(learning_rate=1.0, warmup_steps=10, final_rate=0.1)
    assert stepping.learning_rate(config, step, done) == pytest.approx(expected)


def test_several_processes_go_by_the_signals_and_the_clock_of_the_first():
    class SecondOfTwo:
        world_size = 2

        def broadcast(self, own):
            assert own[0] is None
            return 'SIGINT requested a stop', 45.0

    budget = Budget(steps=None, minutes=1)
    with StopRequest() as stop:
        reason = learning._stop_reason(SecondOfTwo(), stop, budget)
    assert (reason, budget.done_by_time()) == ('SIGINT requested a stop', 0.75)


def test_a_batch_that_cannot_be_shared_is_refused():
    class TwoProcesses:
        world_size, global_rank = 2, 0

    with pytest.raises(TrainingError, match='batch_size: 5 cannot be divided among 2 processes'):
        stepping._share(5, TwoProcesses())
