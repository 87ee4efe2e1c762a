"""
The rooms of the house import what their row allows, and loading one stays as light as its row.

The table is the one of the package's own docstring, with the heavy libraries beside it.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
import importlib.util
import json
from pathlib import Path
import subprocess
import sys

import pytest

PACKAGE = Path(__file__).parents[1] / 'keypoint_perception'
HEAVY = {
    'torch': ('torch', 'torchvision', 'kornia', 'lightning', 'lightning_fabric', 'tensorboard'),
    'safetensors': ('safetensors',),
    'rosbags': ('rosbags', 'rosbag2_py', 'mcap'),
    'onnx': ('onnx', 'onnxruntime', 'tensorrt', 'cuda', 'pycuda'),
    'ros': (
        'rclpy',
        'launch',
        'launch_ros',
        'ament_index_python',
        'builtin_interfaces',
        'cv_bridge',
        'diagnostic_msgs',
        'diagnostic_updater',
        'geometry_msgs',
        'lifecycle_msgs',
        'rcl_interfaces',
        'sensor_msgs',
        'sensor_msgs_py',
        'std_msgs',
        'std_srvs',
        'visualization_msgs',
    ),
}
GROUP_OF = {library: group for group, libraries in HEAVY.items() for library in libraries}


@dataclass(frozen=True)
class Row:
    """
    What a room, or one file of it, may import.

    :param rooms: rooms of this package besides its own
    :param heavy: groups of heavy libraries
    """

    rooms: frozenset[str]
    heavy: frozenset[str] = frozenset()


def row(rooms: str, heavy: str = '') -> Row:
    return Row(frozenset(rooms.split()), frozenset(heavy.split()))


ROOMS = {
    'root': row('root'),
    'frames': row('root', 'rosbags'),
    'model': row('root', 'torch safetensors onnx'),
    'learning': row('root frames model geometry', 'torch safetensors'),
    'inference': row('root', 'onnx'),
    'evaluation': row('root geometry'),
    'geometry': row('root'),
    'robot': row('root frames geometry', 'rosbags'),
    'ros': row('root inference', 'ros'),
    'ros/perception': row('root inference geometry ros ros/recorder', 'ros'),
    'ros/recorder': row('root frames ros', 'ros'),
    'benchmarks': row(
        'root frames model learning inference evaluation ros commands',
        'torch safetensors rosbags onnx ros',
    ),
    'commands': row('root frames model learning inference evaluation robot ros ros/recorder'),
}
# Files that may do what the rest of their room may not.
FILES = {
    '__main__.py': row('root commands'),
    'commands/benchmark.py': row('root benchmarks'),
    'cv_bridge_images.py': row('root', 'ros'),  # only where its table lacks an encoding
    'inference/torch_engine.py': row('root model', 'torch'),
    # launch comes with a ROS installation only
    'ros/launch_parts.py': row('root ros/perception', 'ros'),
    'ros/perception_node.py': row('root inference ros/perception', 'ros'),
    'ros/recorder_node.py': row('root ros/recorder', 'ros'),
}
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob('*.py'))


def room_of(module: str) -> str:
    """
    Return the room of a module: its innermost folder that has a row.

    ``frames/salvage/damage.py`` is of ``frames``, ``ros/perception/camera.py`` of
    ``ros/perception``, ``errors.py`` of ``root``.
    """
    folders = [path.as_posix() for path in Path(module).parents]
    return next((folder for folder in folders if folder in ROOMS), 'root')


def dotted(module: str) -> str:
    """Return the name that ``frames/bag.py`` is imported by."""
    parts = Path(module).with_suffix('').parts
    return '.'.join(('keypoint_perception', *parts)).removesuffix('.__init__')


def imports_of(source: str) -> Iterator[str]:
    """Yield the full names a module imports anywhere, functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'imports are absolute'
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Call) and 'import_module' in ast.unparse(node.func):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def offences(module: str, source: str) -> list[str]:
    """Return what a module imports against its row."""
    allowed = FILES.get(module, ROOMS[room_of(module)])
    found = set()
    for name in imports_of(source):
        top, *rest = name.split('.')
        if top == 'keypoint_perception' and rest:
            room = room_of('/'.join((*rest, 'NAME.py')))
            if room != room_of(module) and room not in allowed.rooms:
                found.add(f'room {room}')
        elif GROUP_OF.get(top, '') not in allowed.heavy | {''}:
            found.add(f'library {top}')
    return sorted(found)


def test_every_room_is_in_the_table():
    folders = {path.parent.relative_to(PACKAGE).parts for path in PACKAGE.rglob('*.py')}
    assert {parts[0] for parts in folders if parts} == {
        room for room in ROOMS if room != 'root' and '/' not in room
    }


def test_no_folder_holds_more_than_thirty_files():
    counts = Counter(Path(module).parent.as_posix() for module in MODULES)
    assert {folder: count for folder, count in counts.items() if count > 30} == {}


def test_no_two_files_and_no_two_classes_bear_the_same_name():
    files = Counter(Path(module).stem for module in MODULES if not module.endswith('__init__.py'))
    classes = Counter(
        node.name
        for module in MODULES
        for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding='utf-8')))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in (files + classes).items() if count > 1] == []


def imports_between(modules: dict[str, str]) -> dict[str, set[str]]:
    """
    Return which modules of this package each module imports, those for types alone left out.

    :param modules: source by path
    """
    names = {dotted(module): module for module in modules}
    found: dict[str, set[str]] = {}
    for module, source in modules.items():
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
                node.body = [ast.Pass()]
        imported = set(imports_of(ast.unparse(tree)))
        found[module] = {names[name] for name in imported if name in names} - {module}
    return found


def circles_of(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules that import themselves by way of others."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(imports[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += imports[module]
        return seen

    return sorted(module for module in imports if module in reached(module))


def test_no_imports_go_in_a_circle():
    sources = {m: (PACKAGE / m).read_text(encoding='utf-8') for m in MODULES}
    assert circles_of(imports_between(sources)) == []


def test_circles_are_seen():
    sources = {
        'a.py': 'def f():\n    from keypoint_perception import b',
        'b.py': 'from keypoint_perception.c import d',
        'c.py': 'import keypoint_perception.a',
        'd.py': 'if TYPE_CHECKING:\n    from keypoint_perception import e',
        'e.py': 'from keypoint_perception import d',
    }
    assert circles_of(imports_between(sources)) == ['a.py', 'b.py', 'c.py']


@pytest.mark.parametrize('module', MODULES)
def test_module_imports_what_its_row_allows(module):
    source = (PACKAGE / module).read_text(encoding='utf-8')
    assert offences(module, source) == []


@pytest.mark.parametrize(
    ('module', 'source', 'offence'),
    [
        ('errors.py', 'import torch', 'library torch'),
        ('images.py', 'def f():\n    from cv_bridge import CvBridge', 'library cv_bridge'),
        ('evaluation/report.py', 'from keypoint_perception.frames import bag', 'room frames'),
        ('inference/estimator.py', 'import keypoint_perception.model.network', 'room model'),
        ('commands/train.py', 'import torch.cuda', 'library torch'),
        ('commands/detect.py', "importlib.import_module('rclpy')", 'library rclpy'),
        ('ros/perception_node.py', 'from keypoint_perception.frames import bag', 'room frames'),
        ('ros/perception/camera.py', 'from keypoint_perception.frames import bag', 'room frames'),
        ('geometry/depth.py', 'import rclpy', 'library rclpy'),
        ('inference/tensorrt/build.py', 'from keypoint_perception.model import x', 'room model'),
        (
            'ros/recorder/recorder.py',
            'import keypoint_perception.inference.engine',
            'room inference',
        ),
        ('commands/doctor.py', 'from keypoint_perception.benchmarks import x', 'room benchmarks'),
    ],
)
def test_offences_are_seen(module, source, offence):
    assert offences(module, source) == [offence]


def test_the_exceptions_are_only_for_their_files():
    source = 'import torch\nfrom keypoint_perception.model import network'
    assert offences('inference/torch_engine.py', source) == []
    assert offences('inference/engine.py', source) == ['library torch', 'room model']


LOAD = """
import importlib, json, sys
for name in {names}:
    importlib.import_module(name)
tops = sorted({{name.split('.')[0] for name in sys.modules}})
print(json.dumps(tops))
"""


def loaded_by(modules: list[str]) -> set[str]:
    """Return the groups of heavy libraries that importing modules loads in a new process."""
    names = [dotted(module) for module in modules]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', LOAD.format(names=names)],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tops = json.loads(done.stdout.splitlines()[-1])
    return {GROUP_OF[top] for top in tops if top in GROUP_OF}


@pytest.mark.parametrize('room', ROOMS)
def test_loading_a_room_stays_as_light_as_its_row(room):
    needs = {'model': 'torch', 'learning': 'torch', 'ros': 'rclpy', 'frames': 'rosbags'}.get(room)
    if needs and importlib.util.find_spec(needs) is None:
        pytest.skip(f'{needs} is not installed')
    modules = [m for m in MODULES if room_of(m) == room and m not in FILES]
    if room in ('inference', 'commands'):
        # Their heavy libraries are loaded when one is used, so that choosing stays light.
        assert loaded_by(modules) == set()
    else:
        assert loaded_by(modules) <= ROOMS[room].heavy
