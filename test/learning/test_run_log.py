"""What a run reconstructs is shown as it is learned; its log survives crashes and full disks."""

import shutil

from keypoint_perception.learning.config import read_config
from keypoint_perception.learning.learner import Learner
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.learning.run_log import reconstruction_sheet, RunLog
from keypoint_perception.model.layers import normalise
from keypoint_perception.model_directory import read_history
import numpy as np
import pytest
import torch

HW = (32, 48)


def learner_of(objective: str) -> Learner:
    torch.manual_seed(0)
    stated = {'objective': objective, 'keypoints': 3, 'width': 8}
    return Learner(read_config(None, stated, None), HW, DatasetStatistics(change=0.5))


def pair():
    frames = torch.randint(0, 255, (2, 2, *HW, 3), dtype=torch.uint8)
    extra = {'background': torch.zeros(4, 3, *HW), 'noise': torch.full((4, 1, *HW), 0.05)}
    return frames[0], frames[1], extra


RECONSTRUCTING = (
    'temporal_transport',
    'spatio_temporal_transport',
    'conditional_generation',
    'motion_energy',
    'default',
)


@pytest.mark.parametrize('name', RECONSTRUCTING)
def test_what_is_shown_is_what_the_pixels_are_compared_with(name, monkeypatch):
    learner = learner_of(name)
    objective = learner.objective.objectives[name]
    images0, images1, extra = pair()
    batch = PairBatch(learner.network, normalise(images0), normalise(images1), extra)
    reconstructed = objective.reconstruct(batch)
    assert reconstructed.shape == (2, 3, *HW)
    # another source changes it, and so does another target
    turned = PairBatch(learner.network, batch.image0.flip(-1), batch.image1, extra)
    if name != 'default':  # which begins with the background alone
        assert not torch.allclose(objective.reconstruct(turned), reconstructed, atol=1e-4)


def test_sheet_has_source_target_and_rebuilt_below_each_other(monkeypatch):
    learner = learner_of('temporal_transport')
    images0, images1, extra = pair()
    objective = learner.objective.objectives['temporal_transport']
    monkeypatch.setattr(objective, 'reconstruct', lambda batch: batch.image1 * 2)
    sheet = reconstruction_sheet(learner, images0, images1, extra)
    height, width = HW
    assert sheet.shape == (3 * (height + 2) - 2, 2 * (width + 2) - 2, 3)
    np.testing.assert_array_equal(sheet[:height, width + 2 :], images0[1])
    np.testing.assert_array_equal(sheet[height + 2 : 2 * height + 2, :width], images1[0])
    made = sheet[2 * (height + 2) :, :width].astype(int)
    # twice as far from grey, and never beyond black and white
    wanted = np.clip(2 * images1[0].numpy().astype(int) - 127.5, 0, 255)
    assert np.abs(made - wanted).max() <= 1


def test_nothing_is_shown_where_nothing_is_rebuilt():
    assert reconstruction_sheet(learner_of('equivariance'), *pair()) is None


HEAD = 'step,elapsed_s,rate,pairs_per_s,loss,term\n'
ROWS = '1,0.5,0.1,8.0,2.5,2.5\n2,0.9,0.1,8.0,2.25,2.25\n'


@pytest.mark.parametrize(
    ('held', 'steps', 'removed'),
    [
        ('', [], 0),
        (HEAD, [], 0),
        (HEAD.strip(), [], 0),
        (HEAD + ROWS, ['1', '2'], 0),
        (HEAD + ROWS.replace('\n', '\r\n'), ['1', '2'], 0),
        (HEAD + ROWS + '3,1.2,0.', ['1', '2'], 1),
        (HEAD + ROWS.strip(), ['1'], 1),  # the last number may be cut
        (HEAD + ROWS + '\0' * 40, ['1', '2'], 1),
        (HEAD + '\0' * 40 + '\n' + ROWS, ['1', '2'], 1),
        (
            HEAD + '1,0.5,0.1\n' + ROWS + '3,1,1,1,1,1,1\nx,1,1,1,1,1\n4,1,1,1,nan,1\n',
            ['1', '2'],
            4,
        ),
        ('step,loss\n1,2\n', [], 1),
        ('\0\0\n\xff\xfe,,"\n', [], 1),
        ('"' * 200_000 + '\n', [], 0),
    ],
)
def test_a_torn_history_goes_on_and_says_what_is_left_out(tmp_path, caplog, held, steps, removed):
    (tmp_path / 'history.csv').write_bytes(held.encode('latin-1'))
    log = RunLog(tmp_path, ('term',), from_step=2)
    log.write(3, {'elapsed_s': 1.5, 'rate': 0.1, 'pairs_per_s': 8.0, 'loss': 2.0, 'term': 2.0})
    log.close()
    rows = read_history(tmp_path)
    assert [row['step'] for row in rows] == [*steps, '3']
    assert rows[-1]['loss'] == '2.0'
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == bool(removed)
    assert all(text.startswith(f'{removed} lines of ') for text in told)


def test_rows_after_the_resumed_step_are_dropped(tmp_path, caplog):
    (tmp_path / 'history.csv').write_text(HEAD + ROWS)
    RunLog(tmp_path, ('term',), from_step=1).close()
    assert [row['step'] for row in read_history(tmp_path)] == ['1']
    assert not caplog.records


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_a_run_goes_on_without_tensorboard(tmp_path, caplog):
    log = RunLog(tmp_path, ('term',), from_step=0)
    worker = log._board._get_file_writer().event_writer._async_writer._worker
    shutil.rmtree(tmp_path / 'tensorboard')
    values = dict.fromkeys(('elapsed_s', 'rate', 'pairs_per_s', 'loss', 'term'), 1.0)
    for step in range(1, 100):  # more than its queue holds
        log.write(step, values)
    worker.join()  # it has failed
    log.write(100, values)
    log.write_image('reconstruction.png', np.zeros((8, 8, 3), np.uint8), 100)
    log.close()
    assert len(read_history(tmp_path)) == 100
    assert (tmp_path / 'reconstruction.png').is_file()
    assert [r.getMessage()[:46] for r in caplog.records] == [
        'The files of TensorBoard are no longer written'
    ]
