"""Batches that are prepared ahead are those that would be prepared when they are needed."""

import threading

from keypoint_perception.errors import SourceError, TrainingError
from keypoint_perception.learning import threads
from keypoint_perception.learning.batch_loader import BatchLoader
from keypoint_perception.learning.data.labels import LabelSampler
from keypoint_perception.model.checkpoint import load_checkpoint
from keypoint_perception.model_directory import read_history
import numpy as np
import pytest
import torch

IMAGES = np.arange(10 * 4 * 4 * 3, dtype=np.uint8).reshape(10, 4, 4, 3)
ALL = slice(None)


class Recorder:
    """An extra that records what is asked of it; tells and waits before a batch if it should."""

    def __init__(self):
        self.asked, self.reached, self.may_go_on = [], threading.Event(), threading.Event()
        self.may_go_on.set()
        self.error = None

    def take(self, frames):
        self.asked.append((frames.tolist(), threading.current_thread()))
        self.reached.set()
        assert self.may_go_on.wait(60)
        if self.error is not None:
            raise self.error
        return {'sum': torch.from_numpy(frames.sum(axis=0))}


@pytest.fixture
def extra():
    return Recorder()


@pytest.fixture
def loader(extra):
    made = BatchLoader(IMAGES, [extra])
    yield made
    extra.may_go_on.set()
    made.close()


def sampler(seed=0):
    return LabelSampler(np.arange(10), seed=seed)


def expected(drawn):
    first, second = torch.from_numpy(IMAGES[drawn])
    return first, second, {'sum': torch.from_numpy(drawn.sum(axis=0))}


def test_batches_are_those_that_the_sampler_draws(loader):
    drawing, alone = sampler(), sampler()
    for ahead in (True, True, False, False, True, True):
        loader.ahead = ahead
        batch, drawn = loader.take(drawing, 5, slice(1, 4)), alone.draw(5)[:, 1:4]
        torch.testing.assert_close(batch, expected(drawn), rtol=0, atol=0)
        assert drawing.state() == alone.state()


def test_the_next_batch_is_prepared_meanwhile_and_no_further_one(loader, extra):
    loader.take(drawing := sampler(), 3, ALL)
    extra.reached.wait(60)
    following = drawing.peek(3)
    loader.take(drawing, 3, ALL)
    assert extra.asked[1][0] == following.tolist()
    loader.close()
    assert len(extra.asked) <= 3
    assert len({thread for _, thread in extra.asked}) == 1


def test_nothing_is_prepared_ahead_unless_it_is_asked_for(loader, extra):
    loader.ahead = False
    drawing = sampler()
    for _ in range(3):
        loader.take(drawing, 3, ALL)
    loader.close()
    assert len(extra.asked) == 3


def test_a_sampler_that_was_restored_gets_its_own_pairs(loader):
    drawing, alone = sampler(), sampler()
    start = drawing.state()
    loader.take(drawing, 4, ALL)
    drawing.restore(start)
    drawn = alone.draw(4)
    torch.testing.assert_close(loader.take(drawing, 4, ALL), expected(drawn), rtol=0, atol=0)
    other = sampler(seed=7)
    torch.testing.assert_close(
        loader.take(other, 4, ALL), expected(sampler(seed=7).draw(4)), rtol=0, atol=0
    )


def test_a_guess_that_is_not_needed_may_fail(loader, extra):
    drawing = sampler()
    loader.take(drawing, 3, ALL)
    extra.error = SourceError('the disk is gone')
    # of other pairs
    with pytest.raises(SourceError, match='the disk is gone'):
        loader.take(sampler(seed=3), 3, ALL)
    extra.error = None
    drawn = drawing.peek(3)
    torch.testing.assert_close(loader.take(drawing, 3, ALL), expected(drawn), rtol=0, atol=0)


def test_errors_are_raised_where_the_batch_is_taken(loader, extra):
    drawing = sampler()
    error = SourceError('frame 3 cannot be read')
    loader.take(drawing, 3, ALL)
    extra.reached.wait(60)
    extra.error = error
    with pytest.raises(SourceError, match='frame 3 cannot be read') as raised:
        for _ in range(2):  # the next batch may have been prepared before the error
            loader.take(drawing, 3, ALL)
    assert raised.value is error


def test_pairs_that_cannot_be_drawn_are_said_when_they_are_needed(loader):
    class Exhausted(LabelSampler):
        left = 2

        def draw(self, count):
            if not self.left:
                raise TrainingError('Almost no frames are far enough apart')
            self.left -= 1
            return super().draw(count)

    drawing = Exhausted(np.arange(10), seed=0)
    loader.take(drawing, 3, ALL)
    drawing.left = 1
    loader.take(drawing, 3, ALL)  # the guess fails
    with pytest.raises(TrainingError, match='Almost no frames'):
        loader.take(drawing, 3, ALL)


def test_the_thread_ends_and_leaves_the_number_of_threads(loader, extra):
    before = torch.get_num_threads()
    loader.take(sampler(), 3, ALL)
    assert torch.get_num_threads() == before
    loader.close()
    [thread] = {thread for _, thread in extra.asked}
    assert not thread.is_alive()


@pytest.mark.parametrize('seeds', [1, 2])
def test_a_run_is_the_same_bit_for_bit(run, square_store, tmp_path, monkeypatch, seeds):
    for cores in (1, 2):
        monkeypatch.setattr(threads, '_cores', lambda cores=cores: cores)
        run(square_store, tmp_path / f'{cores}', steps=8, seeds=seeds)
    one, two = (load_checkpoint(tmp_path / name) for name in ('1', '2'))
    torch.testing.assert_close(two.tensors, one.tensors, rtol=0, atol=0)
    assert two.state['sampler'] == one.state['sampler']
    losses = [[row['loss'] for row in read_history(tmp_path / name)] for name in ('1', '2')]
    assert losses[0] == losses[1]


def test_a_run_leaves_no_thread(run, square_store, tmp_path, monkeypatch):
    monkeypatch.setattr(threads, '_cores', lambda: 2)
    before = {thread for thread in threading.enumerate() if thread.name.startswith('batches')}
    run(square_store, tmp_path, steps=2)
    assert not {t for t in threading.enumerate() if t.name.startswith('batches')} - before
