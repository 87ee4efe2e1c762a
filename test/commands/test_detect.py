"""``detect`` end to end: a bag and a model in, files out."""

import csv

import cv2
from keypoint_perception.frames.annotations import read_keypoints
from keypoint_perception.manifest import read_manifest, write_manifest
from keypoint_perception.model_directory import ONNX_NAME, POSE_PRIOR_NAME
from keypoint_perception.pose_prior import PosePrior, write_pose_prior
import numpy as np
import pytest
from rosbags.highlevel import AnyReader


def test_csv_holds_every_frame_in_order(run_verb, model, bag, tmp_path, positions, stamps_ns):
    code, out, _ = run_verb('detect', model, bag, '--out', tmp_path / 'kp.csv')
    assert code == 0
    assert '20 frames' in out
    assert 'engine: onnxruntime' in out
    with (tmp_path / 'kp.csv').open() as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ['stamp_ns', 'topic', 'keypoint', 'u', 'v', 'confidence']
    u, v = positions[0]
    assert rows[1][:3] == [str(stamps_ns[0]), '/camera/image', 'kp0']
    assert [float(field) for field in rows[1][3:]] == [u, v, 1.0]
    found = read_keypoints(tmp_path / 'kp.csv')
    assert found.names == ('kp0', 'kp1')
    np.testing.assert_array_equal(found.stamps_ns, stamps_ns)
    np.testing.assert_allclose(found.keypoints[:, 0, :2], positions, atol=0.01)
    np.testing.assert_allclose(found.keypoints[:, 1, :2], positions + [1, 0], atol=0.01)


def test_hidden_keypoints_are_predicted_unless_switched_off(run_verb, model, bag, tmp_path):
    # poses in which kp1 lies 10 px left of where this network puts it, and kp0 in the middle
    spread = np.kron(np.ones((2, 2)), 100 * np.eye(2))
    prior = PosePrior((24, 32), np.array([[16.0, 12.0], [7.0, 12.0]]), spread)
    write_pose_prior(model, prior)
    write_manifest(model, read_manifest(model), files=[ONNX_NAME, POSE_PRIOR_NAME])
    for option, expected in (('--no-predict-hidden', 1.0), ('--predict-hidden', 0.0)):
        assert run_verb('detect', model, bag, '--out', tmp_path / 'kp.csv', option)[0] == 0
        found = read_keypoints(tmp_path / 'kp.csv').keypoints
        assert found[:, :, 2].min() == expected
    assert run_verb('detect', model, bag, '--out', tmp_path / 'default.csv')[0] == 0
    np.testing.assert_array_equal(read_keypoints(tmp_path / 'default.csv').keypoints, found)


def test_rows_are_in_stamp_order_whatever_the_order_of_arrival(
    run_verb, model, make_bag, tmp_path, positions, stamps_ns
):
    bag = make_bag(order=[*range(10, 20), *range(10)])
    assert run_verb('detect', model, bag, '--out', tmp_path / 'kp.csv')[0] == 0
    found = read_keypoints(tmp_path / 'kp.csv')
    np.testing.assert_array_equal(found.stamps_ns, stamps_ns)
    np.testing.assert_allclose(found.keypoints[:, 0, :2], positions, atol=0.01)


def test_video_and_bag(run_verb, model, bag, tmp_path, positions, stamps_ns):
    names = ('kp.csv', 'kp.mp4', 'points')
    paths = [tmp_path / 'new' / name for name in names]
    code, out, _ = run_verb(
        'detect', model, bag, '--out', paths[0], '--video', paths[1], '--bag', paths[2]
    )
    assert code == 0
    assert all(str(path) in out for path in paths)
    assert cv2.VideoCapture(str(paths[1])).get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert sorted(p.name for p in (tmp_path / 'new').iterdir()) == [
        'kp.csv',
        'kp.mp4',
        'kp.png',
        'points',
    ]
    with AnyReader([paths[2]]) as reader:
        messages = list(reader.messages())
        assert [time_ns for _, time_ns, _ in messages] == list(stamps_ns)
        connection, _, data = messages[7]
        assert connection.topic == '/perception_node/keypoints'
        cloud = reader.deserialize(data, connection.msgtype)
    values = np.frombuffer(cloud.data.tobytes(), '<f4').reshape(2, 6)
    np.testing.assert_allclose(values[0, 3:5], positions[7], atol=0.01)


def test_several_cameras(run_verb, model, make_bag, tmp_path):
    bag = make_bag(topics=('/left/image', '/right/image'))
    arguments = ('detect', model, bag, '--topic', '/left/image', '--topic', '/right/image')
    outputs = ('--video', tmp_path / 'kp.mp4', '--bag', tmp_path / 'points')
    assert run_verb(*arguments, '--out', tmp_path / 'kp.csv', *outputs)[0] == 0
    found = read_keypoints(tmp_path / 'kp.csv')
    assert found.topics.count('/left/image') == found.topics.count('/right/image') == 20
    assert (tmp_path / 'kp_left_image.mp4').is_file()
    assert (tmp_path / 'kp_right_image.mp4').is_file()
    with AnyReader([tmp_path / 'points']) as reader:
        assert set(reader.topics) == {
            '/perception_node/left/image/keypoints',
            '/perception_node/right/image/keypoints',
        }


def test_choice_of_cameras_is_asked_for(run_verb, model, make_bag, tmp_path):
    bag = make_bag(topics=('/left/image', '/right/image'))
    code, _, err = run_verb('detect', model, bag, '--out', tmp_path / 'kp.csv')
    assert code == 2
    assert '2 image topics (/left/image, /right/image); choose with --topic' in err


def test_broken_model_leaves_no_keypoints(run_verb, broken_model, bag, tmp_path):
    before = set(tmp_path.iterdir())
    outputs = ('--out', tmp_path / 'kp.csv', '--video', tmp_path / 'kp.mp4')
    code, _, err = run_verb('detect', broken_model, bag, *outputs, '--bag', tmp_path / 'points')
    assert code == 2
    assert 'returned NaN or infinity for kp1' in err
    assert 'Traceback' not in err
    assert set(tmp_path.iterdir()) == before


def test_older_csv_survives_a_broken_model(run_verb, broken_model, bag, tmp_path):
    (tmp_path / 'kp.csv').write_text('older')
    assert run_verb('detect', broken_model, bag, '--out', tmp_path / 'kp.csv')[0] == 2
    assert (tmp_path / 'kp.csv').read_text() == 'older'


@pytest.mark.parametrize(
    ('option', 'name', 'sentence'),
    [
        ('--bag', 'bag', 'exists already and bags are not overwritten'),
        ('--video', 'kp.avi', 'does not end in .mp4'),
        ('--engine', 'magic', "Engine 'magic' is not known; known: auto"),
        ('--topic', '/nowhere', 'image topics: /camera/image'),
    ],
)
def test_wrong_options_are_refused(run_verb, model, bag, tmp_path, option, name, sentence):
    value = tmp_path / name if option in ('--bag', '--video') else name
    code, _, err = run_verb('detect', model, bag, '--out', tmp_path / 'kp.csv', option, value)
    assert code == 2
    assert sentence in err
    assert not (tmp_path / 'kp.csv').exists()


def test_changed_model_is_refused(run_verb, model, bag, tmp_path):
    with (model / 'keypointer.onnx').open('ab') as stream:
        stream.write(b'x')
    code, _, err = run_verb('detect', model, bag, '--out', tmp_path / 'kp.csv')
    assert code == 2
    assert 'keypointer.onnx do not match the manifest' in err


def test_stamps_can_be_chosen(run_verb, model, make_bag, tmp_path):
    bag, out = make_bag(order=range(9, 29)), tmp_path / 'kp.csv'
    first = 1_700_000_000_000_000_000
    expected = {'header': first + 500_000_000, 'bag': first + 50_000_000, 'index:4': 250_000_000}
    for choice, second in expected.items():
        assert run_verb('detect', model, bag, '--out', out, '--stamps', choice)[0] == 0
        assert read_keypoints(out).stamps_ns[:2].tolist()[-1] == second
    report = tmp_path / 'report.json'
    code, _, told = run_verb('evaluate', model, bag, '--out', report, '--stamps', 'clock')
    assert code == 2
    assert "--stamps is 'clock'; expected header, bag, index" in told
