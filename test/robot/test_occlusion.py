"""What links hide, the files of their shapes, and what is assumed without them."""

import struct

from keypoint_perception.robot.convex_shape import cylinder, hull, length_hidden
from keypoint_perception.robot.link_shapes import link_shapes
from keypoint_perception.robot.mesh_files import find_mesh, read_corners
from keypoint_perception.robot.occlusion import hidden_by_links
from keypoint_perception.robot.urdf import parse_urdf
import numpy as np
import pytest

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
ARM = """<robot name="r"><link name="a"/><link name="b"/><link name="c">{}</link>
<joint name="j" type="fixed"><parent link="a"/><child link="b"/><origin xyz="0 0 1"/></joint>
<joint name="k" type="fixed"><parent link="b"/><child link="c"/><origin xyz="1 0 0"/></joint>
</robot>"""


def hidden(shape, eye, point):
    return length_hidden(shape, np.array([eye], float), np.array([point], float))[0]


def test_a_box_hides_what_is_behind_it_and_nothing_else():
    box = hull(CUBE)
    assert hidden(box, (5, 0, 0), (-3, 0, 0)) == pytest.approx(4)  # from 1 to -3
    assert hidden(box, (5, 0, 0), (0.5, 0.5, 0)) == pytest.approx(0.5 * np.hypot(1, 0.5 / 4.5))
    for point in [(2, 0, 0), (-3, 3, 0), (6, 0, 0)]:  # before it, beside it, behind the eye
        assert hidden(box, (5, 0, 0), point) == -np.inf
    assert hidden(box, (0, 0, 0), (-3, 0, 0)) == -np.inf  # from inside


@pytest.mark.parametrize('angle', np.linspace(0, 6, 7))
def test_round_bodies_are_hardly_larger_than_they_are(angle):
    eye = 5 * np.array([np.cos(angle), np.sin(angle), 0.0])
    ball, tube = hull(np.zeros((1, 3)), 1.0), cylinder(1.0, 2.0, np.eye(4))
    for shape in (ball, tube):
        assert 5.999 < hidden(shape, eye, -5 * eye / 5) < 6.15


def test_a_point_inside_is_hidden_by_more_than_the_thickness_alone():
    bodies = link_shapes(parse_urdf(ARM.format('').encode(), 'URDF'))
    assert bodies.radius == pytest.approx(0.05 * 2)
    bodies.shapes, bodies.assumed = {'a': [hull(CUBE * 0.15)]}, set()
    links = {'a': np.broadcast_to(np.eye(4), (2, 4, 4))}
    eyes, points = np.array([[5.0, 0, 0]] * 2), np.array([[0.0, 0, 0], [-0.1, 0, 0]])
    seen = hidden_by_links(links, bodies, eyes, points, inside=True)
    assert seen.tolist() == [False, True]  # 0.15 and 0.25 m, of 0.2
    assert hidden_by_links(links, bodies, eyes, points, inside=False).all()


def test_bodies_are_assumed_where_a_mesh_is_not_there(caplog):
    mesh = '<collision><geometry><mesh filename="package://p/no.stl"/></geometry></collision>'
    text = ARM.format(mesh).replace('<link name="b"/>', f'<link name="b">{mesh}</link>')
    bodies = link_shapes(parse_urdf(text.encode(), 'URDF'))
    assert bodies.assumed == {'b', 'c'}
    assert (len(bodies.shapes['a']), len(bodies.shapes['b'])) == (0, 1)
    along = hidden(bodies.shapes['b'][0], (0.5, 5, 0), (0.5, -5, 0))
    assert along == pytest.approx(5.1, abs=0.01)
    assert "of 2 of 3 links cannot be used (b: 'package://p/no.stl' is not there)" in caplog.text
    assert '--meshes' in caplog.text


def test_a_mesh_is_found_and_its_hull_taken(tmp_path, monkeypatch, caplog):
    share = tmp_path / 'share' / 'p'
    share.mkdir(parents=True)
    (share / 'm.obj').write_text('v 0 0 0\nv 2 0 0 1\nv 0 1 0\nvn 9 9 9\nv 0 0 1\nf 1 2 3\n')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    mesh = '<mesh filename="package://p/m.obj" scale="1 1 10"/>'
    text = ARM.format(f'<collision><geometry>{mesh}</geometry></collision>')
    bodies = link_shapes(parse_urdf(text.encode(), 'URDF'))
    (shape,) = bodies.shapes['c']
    # the plane x / 2 + y + z / 10 = 1 bounds it; the coarse hull is larger
    assert 9.5 <= hidden(shape, (0.1, 0.1, 20), (0.1, 0.1, -1)) < 11
    assert not caplog.records


def test_formats_of_meshes(tmp_path):
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], np.float32)
    binary = bytes(80) + struct.pack('<I', 1) + bytes(12) + corners.tobytes() + bytes(2)
    (tmp_path / 'b.stl').write_bytes(binary)
    (tmp_path / 't.stl').write_text('solid s\nfacet normal 0 0 1\n' + 'vertex 1 2 3\n' * 3)
    np.testing.assert_array_equal(read_corners(tmp_path / 'b.stl'), corners)
    np.testing.assert_array_equal(read_corners(tmp_path / 't.stl'), [[1, 2, 3]] * 3)
    (tmp_path / 'x.dae').write_text('<x/>')
    with pytest.raises(ValueError, match=r"format '.dae' is not one of .obj, .stl"):
        read_corners(tmp_path / 'x.dae')
    (tmp_path / 'e.obj').write_text('# nothing')
    with pytest.raises(ValueError, match='has no corner'):
        read_corners(tmp_path / 'e.obj')


def test_where_meshes_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    (tmp_path / 'p').mkdir()
    (tmp_path / 'p' / 'm.stl').write_text('')
    assert find_mesh('package://p/m.stl', []) is None
    for folder in (tmp_path, tmp_path / 'p'):
        assert find_mesh('package://p/m.stl', [folder]) == tmp_path / 'p' / 'm.stl'
    assert find_mesh('m.stl', [tmp_path / 'p']) == tmp_path / 'p' / 'm.stl'
    assert find_mesh(f'file://{tmp_path}/p/m.stl', []) == tmp_path / 'p' / 'm.stl'
    assert find_mesh('http://host/m.stl', [tmp_path]) is None
    monkeypatch.setenv('ROS_PACKAGE_PATH', str(tmp_path))
    assert find_mesh('package://p/m.stl', []) == tmp_path / 'p' / 'm.stl'
