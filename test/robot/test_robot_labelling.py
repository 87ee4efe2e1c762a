"""From a bag to labels of links, and every input that cannot lead there."""

import math
import re

import cv2
from keypoint_perception.commands.program import main
from keypoint_perception.errors import PerceptionError, SourceError
from keypoint_perception.frames.annotations import read_annotations
from keypoint_perception.robot.camera_pose import CameraPose
from keypoint_perception.robot.robot_labelling import describe_robot, label_robot
from keypoint_perception.robot.robot_recording import read_robot_recording
import numpy as np
import pytest
from robot_bags import ABOVE, angles_at, IMAGE, IMAGE_NS, INFO, pixel_of, RobotBag, START_NS, URDF

LATE_S = 0.003  # of the images, within the joint states


def labels_of(bag, tmp_path, *, urdf=None, **options):
    path = bag.write(tmp_path / ('bag.bag' if bag.ros1 else 'bag'))
    recording = read_robot_recording(path)
    return label_robot(recording, describe_robot(recording, urdf), **options)


def expected_at(time_s: float) -> dict[str, tuple[float, float]]:
    """Return where the links are, worked out on the plane."""
    shoulder, elbow, slide = angles_at(time_s)
    along, both = np.array([math.cos(shoulder), math.sin(shoulder)]), shoulder + elbow
    elbow_xy = 0.4 * along
    direction = np.array([math.cos(both), math.sin(both)])
    across = np.array([-direction[1], direction[0]])
    tip = elbow_xy + (0.3 + slide) * direction
    # the finger's frame is turned by 90 degrees, so that its x is across
    finger = elbow_xy + 0.3 * direction + (0.05 + 0.01 - 0.5 * slide) * across
    places = {'upper': (0, 0), 'fore': elbow_xy, 'tip': tip, 'finger': finger}
    return {'base': pixel_of(0, 0, 0)} | {n: pixel_of(*xy, 0.1) for n, xy in places.items()}


def check(labels, delay_s=0.0):
    assert labels.names == ('base', 'upper', 'fore', 'tip', 'finger')
    for index, stamp_ns in enumerate(labels.stamps_ns):
        time_s = (int(stamp_ns) - START_NS) / 1e9 - delay_s
        expected = expected_at(time_s)
        for name, uv in zip(labels.names, labels.uv[index], strict=True):
            np.testing.assert_allclose(uv, expected[name], atol=1e-4, err_msg=name)


@pytest.fixture(autouse=True)
def nothing_hides(monkeypatch):
    """Let bodies hide nothing, except where a test is about that."""
    monkeypatch.setattr('keypoint_perception.robot.occlusion.INSIDE_ASSUMED', 100.0)


@pytest.mark.parametrize('ros1', [False, True])
def test_links_are_where_trigonometry_has_them(tmp_path, ros1):
    labels = labels_of(RobotBag(ros1=ros1), tmp_path)
    check(labels)
    assert labels.counts.labels == 25
    assert labels.place == 'tf, through link base'


def test_the_delay_is_taken_from_the_stamps(tmp_path):
    labels = labels_of(RobotBag(delay_s=0.06), tmp_path, delay_s=0.06)
    assert int(labels.stamps_ns[0]) == START_NS + 63_000_000
    check(labels, delay_s=0.06)


def test_a_pose_takes_the_place_of_tf(tmp_path):
    bag = RobotBag(delay_s=0.06)
    bag.rows['/tf_static'] = [
        (START_NS, bag.transforms(('base', 'camera', (0, 0, 9.0), (0, 0, 0, 1.0))))
    ]
    above = np.diag([1.0, -1.0, -1.0, 1.0])
    above[2, 3] = 2
    labels = labels_of(bag, tmp_path, pose=CameraPose('base', 'camera', above, 0.06))
    check(labels, delay_s=0.06)
    assert labels.place.startswith('--camera')


def test_a_camera_on_a_moving_link_moves_with_it(tmp_path):
    """The camera is 1.9 m above the fore link and turns with it, so the elbow rests in it."""
    bag = RobotBag()
    edge = ('fore', 'camera', (0, 0, 1.9), ABOVE[1])
    bag.rows['/tf_static'] = [(START_NS, bag.transforms(edge))]
    labels = labels_of(bag, tmp_path)
    assert labels.place == 'tf, through link fore'
    fore = labels.uv[:, labels.names.index('fore')]
    np.testing.assert_allclose(fore, np.broadcast_to([79.5, 59.5], fore.shape), atol=1e-6)
    slides = [angles_at(k * 0.1 + LATE_S)[2] for k in range(5)]
    u = [79.5 + 100 * (0.3 + slide) / 1.9 for slide in slides]
    np.testing.assert_allclose(labels.uv[:, 3, 0], u, atol=1e-4)


def test_a_camera_in_a_world_that_tf_connects(tmp_path):
    bag = RobotBag()
    half = math.sqrt(0.5)
    edges = [
        ('world', 'base', (1.0, 2.0, 0.0), (0, 0, half, half)),
        ('world', '/camera', (1.0, 2.0, 2.0), (half, half, 0, 0)),  # turned like the base
    ]
    bag.rows['/tf_static'] = [(START_NS, bag.transforms(*edges))]
    check(labels_of(bag, tmp_path))


def test_names_decide_in_any_order_and_for_two_robots(tmp_path, caplog):
    bag = RobotBag()
    rows = bag.rows['/joint_states']
    for k, (time_ns, message) in enumerate(rows):
        turned = [2, 0, 1] if k % 2 else [1, 2, 0]
        names = [message.name[i] for i in turned] + ['other_shoulder']
        positions = [message.position[i] for i in turned] + [99.0]
        rows[k] = time_ns, bag.joint_state(time_ns, names, positions)
    rows[4], rows[30] = (rows[4][0], rows[30][1]), (rows[30][0], rows[4][1])  # in the wrong order
    check(labels_of(bag, tmp_path))
    assert 'other_shoulder' in caplog.text
    assert 'not in the URDF of robot' in caplog.text


def test_joints_that_are_not_recorded_leave_out_what_is_after_them(tmp_path, caplog):
    bag = RobotBag()
    for k, (time_ns, message) in enumerate(bag.rows['/joint_states']):
        state = bag.joint_state(time_ns, message.name[:2], message.position[:2])
        bag.rows['/joint_states'][k] = time_ns, state
    labels = labels_of(bag, tmp_path)
    assert np.isfinite(labels.uv[..., 0]).all(axis=0).tolist() == [True] * 3 + [False] * 2
    assert 'no joint states of slide' in caplog.text
    assert '2 links have no labels (tip, finger)' in caplog.text


def test_nan_is_skipped_and_bridged(tmp_path, caplog):
    bag = RobotBag()
    for k in (10, 11):
        bag.rows['/joint_states'][k][1].position[:] = math.nan
    check(labels_of(bag, tmp_path))
    assert 'Skipped 6 of ' in caplog.text
    assert 'NaN or infinite' in caplog.text


def test_gaps_are_refused_for_their_images(tmp_path):
    bag = RobotBag()
    del bag.rows['/joint_states'][13:20]  # 80 ms around the second image at 103 ms
    labels = labels_of(bag, tmp_path)
    assert labels.counts.gaps == 1
    assert np.isfinite(labels.uv[..., 0]).all(axis=1).tolist() == [True, False, True, True, True]


@pytest.mark.parametrize(
    ('ending', 'problem'),
    [
        ('</robot>x', 'is no XML'),
        ('<link name="lone"/></robot>', r'2 links without a parent \(base, lone\)'),
    ],
)
def test_a_urdf_that_is_refused_is_named(tmp_path, ending, problem):
    bag = RobotBag()
    bag.rows['/robot_description'][0] = START_NS, bag.text(URDF.replace('</robot>', ending))
    with pytest.raises(SourceError, match=rf'The URDF on /robot_description .*{problem}'):
        labels_of(bag, tmp_path)


def without(topic):
    def change(bag):
        del bag.rows[topic]

    return change


def other_names(bag):
    bag.rows['/joint_states'] = [
        (t, bag.joint_state(t, ['j1'], [0.0])) for t, _ in bag.rows['/joint_states']
    ]


def all_nan(bag):
    for _, message in bag.rows['/joint_states']:
        message.position[:] = math.nan


def degrees(bag):
    for _, message in bag.rows['/joint_states']:
        message.position[:2] = np.degrees(message.position[:2]) + [30, 0]


def second_clock(bag):
    bag.rows['/joint_states'] = [
        (t, bag.joint_state(t + 240 * 10**9, m.name, m.position))
        for t, m in bag.rows['/joint_states']
    ]


def slow_joints(bag):
    bag.rows['/joint_states'] = bag.rows['/joint_states'][::7]


def zero_k(bag):
    bag.rows[INFO] = [(t, bag.camera_info(t, k=(0,) * 9)) for t, _ in bag.rows[INFO]]


def other_size(bag):
    for _, message in bag.rows[INFO]:
        message.width = 200


def broken_chain(bag):
    edge = ('table', 'camera', *ABOVE)
    bag.rows['/tf_static'] = [(START_NS, bag.transforms(edge))]


def two_parents(bag):
    edges = [('base', 'camera', *ABOVE), ('table', 'camera', *ABOVE)]
    bag.rows['/tf_static'] = [(START_NS, bag.transforms(*edges))]


def late_transforms(bag):
    for k in range(2):
        time_ns = START_NS + (20 + k) * IMAGE_NS
        edge = ('base', 'camera', *ABOVE)
        bag.add('/tf', time_ns, bag.transforms(edge, stamp_ns=time_ns))
    del bag.rows['/tf_static']


def looking_up(bag):
    edge = ('base', 'camera', (0, 0, 2.0), (0, 0, 0, 1.0))
    bag.rows['/tf_static'] = [(START_NS, bag.transforms(edge))]


def two_topics(bag):
    bag.rows['/left/joint_states'] = bag.rows['/joint_states']
    bag.rows['/right/joint_states'] = bag.rows.pop('/joint_states')


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (without('/joint_states'), r'has no joint states \(topics: .*record --robot'),
        (two_topics, r'joint states on 2 topics \(/left.*, /right.*\); choose with --joint-st'),
        (without('/robot_description'), r'has no /robot_description; give the URDF with --urdf'),
        (other_names, r'are of j1, none of which moves in the URDF of robot .planar. \(it has '),
        (all_nan, r'has \d+ joint positions, all NaN or infinite; expected joint states'),
        (degrees, r'look like degrees: joint .shoulder. .* reaches [34]\d\S*, its limits are -2 '),
        (second_clock, r'by two clocks: all images are 4\.0 minutes before the first joint state'),
        (slow_joints, r'None of the 5 images has joint states within 50 ms'),
        (without(INFO), r'no readable camera_info of /cam/image_raw \(expected on /cam/camera_i'),
        (zero_k, r'has zeros in K, which means that the camera is not calibrated'),
        (other_size, r'An image is 160x120, but its camera_info describes images of 200x120'),
        (without('/tf_static'), r"frame 'camera' is not on tf \(no tf was recorded\); giv"),
        (broken_chain, r"from the camera 'camera' to the robot is broken: it ends at 'table'"),
        (two_parents, r"Frame 'camera' has 2 parents on tf \(base, table\), expected one"),
        (late_transforms, r"tf places the camera 'camera' for none of the 5 images"),
        (looking_up, r'The robot is in no picture: of its points, 25 are behind the camera'),
    ],
)  # fmt: skip
def test_what_cannot_lead_to_labels_is_refused(tmp_path, change, sentence):
    bag = RobotBag()
    change(bag)
    with pytest.raises(PerceptionError, match=sentence):
        labels_of(bag, tmp_path)


def test_a_pose_in_a_frame_that_nothing_connects(tmp_path):
    with pytest.raises(SourceError, match="frame_id 'room' is neither a link of the robot nor"):
        labels_of(RobotBag(), tmp_path, pose=CameraPose('room', 'camera', np.eye(4)))


def test_a_folder_of_images_holds_no_robot(tmp_path):
    cv2.imwrite(str(tmp_path / '1.png'), np.zeros((8, 8), np.uint8))
    with pytest.raises(SourceError, match='is no bag; expected one with the topics of the robot'):
        read_robot_recording(tmp_path)


def test_a_damaged_bag_gives_what_is_left(tmp_path, caplog):
    path = RobotBag(images=20).write(tmp_path / 'bag')
    (file,) = path.glob('*.mcap')
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 3 // 4])
    recording = read_robot_recording(path)
    labels = label_robot(recording, describe_robot(recording, None))
    assert 5 < labels.counts.labelled < 20
    check(labels)
    assert 'is damaged' in caplog.text


def test_the_verb_writes_annotations(tmp_path, capsys):
    path = RobotBag(delay_s=0.06).write(tmp_path / 'bag', storage='sqlite3')
    (tmp_path / 'robot.urdf').write_text(URDF)
    (tmp_path / 'more.yaml').write_text('nail: {link: tip, offset: [0.1, 0, 0]}\n')
    (tmp_path / 'camera.yaml').write_text(
        'frame_id: base\nchild_frame_id: camera\ntranslation: [0, 0, 2]\nrotation: [1, 0, 0, 0]\n'
    )
    arguments = ['label', 'robot', str(path), '--topic', IMAGE, '--links', 'tip']
    for option, file in (
        ('urdf', 'robot.urdf'),
        ('points', 'more.yaml'),
        ('camera', 'camera.yaml'),
    ):
        arguments += [f'--{option}', str(tmp_path / file)]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, '--delay', '0.06', '--out', str(tmp_path / 'labels.csv')])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert '10 labels in 5 of 5 images' in printed
    labels = read_annotations(tmp_path / 'labels.csv')
    assert labels.names == ('tip', 'nail')
    shoulder, elbow, slide = angles_at(0.203)
    both = shoulder + elbow
    nail = np.array([0.4 * math.cos(shoulder), 0.4 * math.sin(shoulder)])
    nail += (0.4 + slide) * np.array([math.cos(both), math.sin(both)])
    np.testing.assert_allclose(labels.uv[2, 1], pixel_of(*nail, 0.1), atol=2e-3)
    np.testing.assert_allclose(labels.uv[2, 0], expected_at(0.203)['tip'], atol=2e-3)


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('child_frame_id: c', 'frame_id or child_frame_id is missing'),
        (
            'frame_id: a\nchild_frame_id: c\ntranslation: [1, 2]',
            'translation is .* not 3',
        ),
        (
            'frame_id: a\nchild_frame_id: c\ntranslation: [1, 2, 3]\nrotation: [0, 0, 0, 2]',
            'rotation has the length 2, not 1',
        ),
    ],
)
def test_a_camera_file_that_is_refused(tmp_path, capsys, text, problem):
    (tmp_path / 'c.yaml').write_text(text)
    path = RobotBag().write(tmp_path / 'bag')
    with pytest.raises(SystemExit) as ended:
        main(['label', 'robot', str(path), '--camera', str(tmp_path / 'c.yaml'), '--out', 'l.csv'])
    assert ended.value.code == 2

    assert re.search(problem, capsys.readouterr().err)


def test_unknown_links_and_points_are_named(tmp_path):
    with pytest.raises(PerceptionError, match="--links 'arm' is no link of the robot; links"):
        labels_of(RobotBag(), tmp_path, links=['arm'])
    (tmp_path / 'p.yaml').write_text('nail: {link: toe, offset: [0, 0, 0]}')
    recording = read_robot_recording(tmp_path / 'bag')
    with pytest.raises(PerceptionError, match="point 'nail' is on 'toe', which is no link"):
        label_robot(recording, describe_robot(recording, None), points=tmp_path / 'p.yaml')
