"""
The rooms of the house import what their row allows, and loading one stays as light as its row.

The table is the one of the package's own docstring, with the heavy libraries beside it.
"""

from __future__ import annotations

import ast
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
    'learning': row('root frames model', 'torch safetensors'),
    'inference': row('root', 'onnx'),
    'evaluation': row('root'),
    'ros': row('root inference', 'ros'),
    'commands': row('root frames model learning inference evaluation ros'),
}
# Files that may do what the rest of their room may not.
FILES = {
    '__main__.py': row('root commands'),
    'inference/torch_engine.py': row('root model', 'torch'),
    'inference/tensorrt/cuda_torch.py': row('root', 'torch'),
    # launch comes with a ROS installation only
    'ros/launch_parts.py': row('root', 'ros'),
    'ros/recorder/recorder.py': row('root frames', 'ros'),
    'ros/recorder/bag_recording.py': row('root frames', 'ros'),
}
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob('*.py'))


def room_of(module: str) -> str:
    """Return the room of ``frames/bag.py`` (``frames``) or of ``errors.py`` (``root``)."""
    return module.split('/')[0] if '/' in module else 'root'


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
            room = rest[0] if (PACKAGE / rest[0]).is_dir() else 'root'
            if room != room_of(module) and room not in allowed.rooms:
                found.add(f'room {room}')
        elif GROUP_OF.get(top, '') not in allowed.heavy | {''}:
            found.add(f'library {top}')
    return sorted(found)


def test_every_room_is_in_the_table():
    folders = {path.parent.relative_to(PACKAGE).parts for path in PACKAGE.rglob('*.py')}
    assert {parts[0] for parts in folders if parts} == set(ROOMS) - {'root'}


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
    names = [
        '.'.join(('keypoint_perception', *Path(m).with_suffix('').parts)).removesuffix('.__init__')
        for m in modules
    ]
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
