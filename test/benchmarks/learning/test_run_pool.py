"""Runs side by side: as many as asked, each once, and stopped with the benchmark."""

from contextlib import closing
from pathlib import Path
import threading

from keypoint_perception.benchmarks.learning import run_pool
from keypoint_perception.benchmarks.learning.benchmark_run import (
    BenchmarkRecording,
    Run,
    RunBudget,
    Variant,
    write_record,
)
from keypoint_perception.benchmarks.learning.run_plan import ceiling_of
from keypoint_perception.benchmarks.learning.run_process import RunError
import pytest


@pytest.fixture
def runs():
    """Four runs of a recording, of as many seeds."""
    recording, variant = BenchmarkRecording('arm', Path('arm')), Variant('ours', {})
    return [Run(recording, variant, seed, RunBudget(steps=1), {}) for seed in range(4)]


@pytest.fixture
def pool(monkeypatch, tmp_path):
    """Return a function that makes ``execute`` what executes a run."""

    def pool(execute, runs, jobs, extract=lambda run, out: Path('frames')):
        monkeypatch.setattr(run_pool, 'frames_of', extract)
        monkeypatch.setattr(run_pool, 'execute_run', execute)
        return run_pool.execute_runs(runs, tmp_path, (), jobs, lambda title, share: None)

    return pool


def test_as_many_runs_as_jobs_run_at_once(pool, runs):
    # each waits for another one: with a single job this would time out
    both = threading.Barrier(2, timeout=30)

    def execute(run, out, frames, *, targets, report):
        both.wait()
        return {'seed': run.seed}

    ended = [(run.seed, record['seed']) for run, record in pool(execute, runs, jobs=2)]
    assert sorted(ended) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_a_run_that_is_done_is_not_repeated_and_a_failed_extraction_is_recorded(
    pool, runs, tmp_path
):
    write_record(runs[1].directory(tmp_path), runs[1], 'done', figures={})

    def extract(run, out):
        msg = 'no images'
        raise RunError(msg)

    ended = {run.seed: record for run, record in pool(None, runs[:2], 1, extract)}
    assert (ended[1]['state'], ended[0]['state']) == ('done', 'failed')
    assert ended[0]['sentence'] == 'no images'


def test_what_stops_the_benchmark_stops_its_runs(pool, runs):
    stopped, begun = [], threading.Semaphore(0)

    def execute(run, out, frames, *, targets, report):
        if run.seed == 0:
            return {}
        begun.release()
        try:
            for _ in range(10_000):
                threading.Event().wait(0.01)
                report(0.5)
        except KeyboardInterrupt:
            stopped.append(run.seed)
            raise
        return {}

    def consume():
        with closing(pool(execute, runs, jobs=2)) as ended:
            next(ended)
            begun.acquire(timeout=30)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert stopped
    assert 3 not in stopped  # waits behind two others, and never begins


@pytest.mark.parametrize(('cores', 'jobs', 'threads'), [(8, 3, 2), (2, 2, 1), (2, 5, 1)])
def test_the_cores_are_shared(monkeypatch, cores, jobs, threads):
    monkeypatch.setattr('os.cpu_count', lambda: cores)
    assert run_pool.threads_of(jobs) == threads


def test_the_ceiling_has_the_settings_that_are_not_of_an_objective():
    common = {'width': 8, 'keypoints': 4, 'weights.spread': 0.1, 'threads': 1}
    found = ceiling_of({'ours': {'objective': 'default'}}, common)
    assert found == {'supervised': {'objective': 'supervised', 'width': 8, 'threads': 1}}
    assert ceiling_of({'labels': {'objective': 'supervised'}}, common) == {}
