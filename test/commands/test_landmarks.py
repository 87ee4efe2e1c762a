"""``landmarks`` end to end: a model and a few labels in, named points on the robot out."""

import json
from pathlib import Path

import cv2
from keypoint_perception.frames.annotations import read_keypoints
from keypoint_perception.inference.engine import load_engine
from keypoint_perception.inference.estimator import Estimator
from keypoint_perception.manifest import read_manifest
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='PyTorch is not installed')
pytest.importorskip('onnxruntime', reason='ONNX Runtime is not installed')
FRAMES = 24
FIRST_NS = 10**18
FRAME_NS = 5 * 10**9
HEIGHT, WIDTH = 48, 64


def spot(frame: int) -> tuple[int, int]:
    """Return where the bright square of a frame is centred, px."""
    return 12 + 7 * frame % 41, 10 + 5 * frame % 29


@pytest.fixture(scope='module')
def recording(tmp_path_factory) -> Path:
    """Return a folder of images, five seconds apart, in which a square jumps about."""
    folder = tmp_path_factory.mktemp('recording')
    for i in range(FRAMES):
        image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
        u, v = spot(i)
        image[v - 4 : v + 5, u - 4 : u + 5] = (30, 60, 240)
        cv2.imwrite(str(folder / f'{FIRST_NS + i * FRAME_NS}.png'), image)
    return folder


@pytest.fixture
def model(tmp_path) -> Path:
    """
    Return a model directory whose network was never trained.

    Its maps are sharp, and the square is all there is to see: they peak at its edges.
    """
    from keypoint_perception.model.checkpoint import Checkpoint, save_checkpoint
    from keypoint_perception.model.network import Keypointer, NetworkConfig
    from keypoint_perception.model.onnx_export import export_model

    torch.manual_seed(0)
    network = Keypointer(NetworkConfig('paper', 6, (HEIGHT, WIDTH))).eval()
    with torch.no_grad():
        network.body.head.weight *= 1000
    state = {'objective': 'none', 'sources': [], 'metrics': {}}
    frames = torch.randint(0, 255, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    save_checkpoint(tmp_path / 'model', Checkpoint(network, {}, state, frames))
    export_model(tmp_path / 'model')
    return tmp_path / 'model'


@pytest.fixture
def write_labels(tmp_path):
    """Return a function that writes rows (frame, name, u, v) as an annotation file."""

    def write(rows) -> Path:
        path = tmp_path / 'labels.csv'
        lines = [f'{FIRST_NS + frame * FRAME_NS},{name},{u},{v}' for frame, name, u, v in rows]
        path.write_text('\n'.join(['stamp_ns,keypoint,u,v', *lines]) + '\n')
        return path

    return write


def corner(frames) -> list[tuple]:
    """Return labels of the square's corner."""
    return [(i, 'corner', spot(i)[0] + 4, spot(i)[1] - 4) for i in frames]


def test_ten_frames_name_a_point(run_verb, model, recording, write_labels, tmp_path):
    labels = write_labels([*corner(range(0, 20, 2)), *((i, 'post', 3, 40) for i in range(10))])
    code, out, err = run_verb('landmarks', model, recording, '--annotations', labels)
    assert code == 0, err
    assert 'corner' in out
    assert '2 landmarks from 15 frames' in out
    assert read_manifest(model).landmark_names == ('corner', 'post')
    report = json.loads((model / 'landmarks.json').read_text())['report']
    assert report['points'][0]['explained'] > 0.6
    assert report['points'][1]['explained'] is None
    assert len(report['stamps_ns']) == 15

    named, keypoints = tmp_path / 'named.csv', tmp_path / 'keypoints.csv'
    code, _, err = run_verb('detect', model, recording, '--out', keypoints, '--landmarks', named)
    assert code == 0, err
    found, others = read_keypoints(named), read_keypoints(keypoints)
    assert found.names == ('corner', 'post')
    assert others.names == tuple(f'kp{k}' for k in range(6))
    fresh = [i for i in range(FRAMES) if i >= 20 or i % 2]
    truth = np.array([corner([i])[0][2:] for i in fresh])
    away = np.linalg.norm(found.keypoints[fresh, 0, :2] - truth, axis=-1)
    idle = np.linalg.norm(truth - truth.mean(axis=0), axis=-1)
    assert away.mean() < 0.4 * idle.mean()
    np.testing.assert_allclose(found.keypoints[:, 1, :2], np.tile([3, 40], (FRAMES, 1)), atol=0.1)


def test_every_engine_gives_the_same_named_points(run_verb, model, recording, write_labels):
    code, _, err = run_verb(
        'landmarks', model, recording, '--annotations', write_labels(corner(range(12)))
    )
    assert code == 0, err
    image = cv2.imread(str(sorted(recording.iterdir())[5]))[..., ::-1]
    image = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    twins = [
        Estimator(load_engine(model, name, threads=1)).estimate_with_landmarks([image])[0]
        for name in ('onnxruntime', 'torch')
    ]
    assert twins[0].landmarks.shape == (1, 3)
    np.testing.assert_allclose(twins[0].landmarks, twins[1].landmarks, atol=0.1)
    # in pixels of the image as received, which is twice the network's size
    u, v = corner([5])[0][2:]
    assert np.hypot(*(twins[0].landmarks[0, :2] - (2 * u, 2 * v))) < 20


def test_frames_not_used_are_scored(run_verb, model, recording, write_labels):
    code, out, _ = run_verb(
        'landmarks', model, recording, '--frames', 12,
        '--annotations', write_labels(corner(range(FRAMES))),
    )  # fmt: skip
    assert code == 0
    assert 'error on 12 held-out frames' in out
    assert 'The model has not learned from this recording.' in ' '.join(out.split())
    report = json.loads((model / 'landmarks.json').read_text())['report']
    assert len(report['stamps_ns']) == report['held_out_frames'] == 12
    assert 0 < report['held_out_error_percent'] < 20


def test_frames_not_used_that_name_nothing_kept(run_verb, model, recording, write_labels):
    labels = write_labels([*corner([*range(11), *range(12, 24)]), (11, 'seldom', 3, 40)])
    # 23 of 24 frames, spread evenly, are all but the middle one
    code, out, err = run_verb(
        'landmarks', model, recording, '--frames', 23, '--annotations', labels
    )
    assert code == 0, err
    report = json.loads((model / 'landmarks.json').read_text())['report']
    assert (report['held_out_frames'], report['held_out_error_percent']) == (1, None)
    assert 'held-out' not in out


def test_evaluation_scores_named_points_on_other_frames(
    run_verb, model, recording, write_labels, tmp_path
):
    labels = write_labels(corner(range(FRAMES)))
    run_verb('landmarks', model, recording, '--annotations', labels, '--frames', 14)
    code, _, err = run_verb(
        'evaluate', model, recording, '--annotations', labels, '--out', tmp_path / 'e.json'
    )
    assert code == 0, err
    (point,) = json.loads((tmp_path / 'e.json').read_text())['landmarks']['points']
    assert (point['name'], point['frames']) == ('corner', 10)
    report = json.loads((model / 'landmarks.json').read_text())['report']
    assert point['error_percent'] == pytest.approx(report['held_out_error_percent'], rel=1e-3)
    assert '>Landmarks<' in (model / 'report.html').read_text()


def refused(run_verb, model, recording, labels) -> str:
    """Return the sentence with which labels are refused; the model stays as it was."""
    before = (model / 'manifest.json').read_bytes()
    code, _, err = run_verb('landmarks', model, recording, '--annotations', labels)
    assert code == 2
    assert 'Traceback' not in err
    assert (model / 'manifest.json').read_bytes() == before
    assert not (model / 'landmarks.json').exists()
    return err


def test_labels_that_match_no_frame(run_verb, model, recording, tmp_path):
    path = tmp_path / 'labels.csv'
    path.write_text(f'stamp_ns,keypoint,u,v\n{FIRST_NS + 7},a,1,1\n{FIRST_NS + 8},a,1,1\n')
    assert 'match no frame: stamps must be equal' in refused(run_verb, model, recording, path)


def test_labels_that_name_a_point_twice(run_verb, model, recording, write_labels):
    err = refused(run_verb, model, recording, write_labels([(0, 'a', 1, 1), (0, 'a', 2, 1)]))
    assert "line 3 has 'a' at" in err


def test_labels_outside_the_image(run_verb, model, recording, write_labels):
    err = refused(run_verb, model, recording, write_labels([(i, 'a', 70, 5) for i in range(12)]))
    assert "12 labels outside the image; the first is 'a' at (70, 5) in the 64x48 image" in err


def test_labels_of_one_frame(run_verb, model, recording, write_labels):
    err = refused(run_verb, model, recording, write_labels(corner([3])))
    assert 'label 1 frame of the recording; expected at least 2' in err


def test_too_few_labels_of_each_point(run_verb, model, recording, write_labels):
    err = refused(run_verb, model, recording, write_labels(corner(range(3))))
    assert "'corner' has the most, 3; expected at least 4, preferably 10 to 20" in err


def test_point_that_cannot_be_told(run_verb, model, recording, write_labels):
    generator = np.random.default_rng(1)
    rows = [(i, 'ghost', *generator.integers(4, 44, 2)) for i in range(FRAMES)]
    err = refused(run_verb, model, recording, write_labels(rows))
    assert 'The keypoints predict none of the points of' in err
    # beside one that can be told it is kept, with a warning and little confidence
    labels = write_labels([*rows, *corner(range(FRAMES))])
    code, _, err = run_verb('landmarks', model, recording, '--annotations', labels)
    assert code == 0
    assert "The keypoints do not predict landmark 'ghost'" in err
    image = cv2.imread(str(sorted(recording.iterdir())[5]))[..., ::-1]
    ghost, corner_ = (
        Estimator(load_engine(model, threads=1)).estimate_with_landmarks([image])[0].landmarks
    )
    assert ghost[2] < 0.3 < corner_[2]


def test_few_labels_are_spoken_of(run_verb, model, recording, write_labels):
    labels = write_labels([*corner(range(6)), *((i, 'post', 3, 40) for i in range(2))])
    code, _, err = run_verb('landmarks', model, recording, '--annotations', labels)
    assert code == 0, err
    assert "'corner' is labelled in only 6 frames" in err
    assert "'post' is omitted: it is labelled in 2 frames; label at least 4" in err
    assert read_manifest(model).landmark_names == ('corner',)


def test_a_model_without_names_says_so(run_verb, model, recording, tmp_path):
    code, _, err = run_verb(
        'detect', model, recording, '--out', tmp_path / 'k.csv', '--landmarks', tmp_path / 'n.csv'
    )
    assert code == 2
    assert 'has no landmarks; add some with `landmarks` first' in err
    assert not (tmp_path / 'k.csv').exists()
