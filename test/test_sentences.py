"""What sentences for users name exists: verbs, options, settings, parameters, files, packages."""

import ast
from functools import cache
from pathlib import Path
import re

from keypoint_perception.commands.program import app
from keypoint_perception.inference.engine_cache import CACHE_VARIABLE
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.objectives import OBJECTIVES
from keypoint_perception.limits import Limits
from keypoint_perception.ros.perception.node_parameters import NodeParameters
from keypoint_perception.ros.recorder.recorder_settings import RecorderParameters
from keypoint_perception.settings import settings_of
import pytest
from typer.main import get_command

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'keypoint_perception'
FEWEST_WORDS = 4
OF_MACHINES = re.compile(r'SELECT|PRAGMA|.*var\(--', re.DOTALL)  # SQL and CSS
# What others define: programs, their options, environment variables, ROS names, CSV columns.
PROGRAMS = {
    'apt', 'chmod', 'dmesg', 'git', 'nvidia-smi', 'pip', 'ros2', 'source', 'ulimit', 'FASTRTPS',
}  # fmt: skip
OPTIONS = {'--help', '--ipc', '--ros-args', '--shm-size', '--system-site-packages'}
VARIABLES = {
    CACHE_VARIABLE, 'FASTRTPS_DEFAULT_PROFILES_FILE', 'ROS_DISTRO', 'ROS_DOMAIN_ID',
    'ROS_LOG_DIR', 'ROS_SECURITY_ENABLE',
}  # fmt: skip
NAMES = {
    'align_depth', 'camera_calibration', 'camera_info', 'cv_bridge', 'depth_image_proc',
    'fastdds_large_images', 'image_raw', 'image_rect', 'keypoint_perception', 'left_arm',
    'message_count', 'network_hw', 'perception_node', 'qos_overrides', 'recorder_node',
    'sensor_msgs', 'stamp_ns', 'std_msgs', 'std_srvs', 'visualization_msgs', 'dds_profile',
    'params_file', 'save_file', 'child_frame_id', 'frame_id', 'robot_state_publisher',
    'stamp_delay_s',
}  # fmt: skip
REMAPPED = {'__node', 'camera_info', 'depth', 'image'}
ROS_WHEELS = {'ros-jazzy-sensor-msgs', 'ros-jazzy-diagnostic-msgs'}


def text_of(node) -> str | None:
    """Return a literal with ``{}`` for each value that is put in, None if it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return ''.join(text_of(part) or '{}' for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = text_of(node.left), text_of(node.right)
        return None if parts == (None, None) else ''.join(part or '{}' for part in parts)
    return None


def sentences_of(source: str) -> list[tuple[int, str]]:
    """Return the lines and texts of all literals that people read, without docstrings."""
    found, parts = [], set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            parts.add(node.value)
        text = None if node in parts else text_of(node)
        if text is not None:
            parts |= set(ast.walk(node))
            if len(text.split()) >= FEWEST_WORDS and not OF_MACHINES.match(text):
                found.append((node.lineno, text))
    return found


@cache
def options() -> dict[str, set[str]]:
    """Return the options of every verb by its name."""

    def walk(command, path):
        found = {path: {name for p in command.params for name in p.opts}}
        for name, verb in getattr(command, 'commands', {}).items():
            found |= walk(verb, f'{path} {name}'.strip())
        return found

    return walk(get_command(app), '')


@cache
def settings() -> set[str]:
    kinds = [TrainConfig, Limits, NodeParameters, RecorderParameters]
    own = {name for objective in OBJECTIVES.values() for name in settings_of(objective.Config)}
    return own.union(OBJECTIVES, *map(settings_of, kinds))


@cache
def source_text() -> str:
    """Return the code of the package and of its set-up."""
    paths = (*PACKAGE.rglob('*.py'), *(ROOT / 'launch').glob('*.py'))
    return '\n'.join(path.read_text(encoding='utf-8') for path in (ROOT / 'setup.py', *paths))


def faults_of_command(command: str) -> list[str]:
    """Return what a command between backticks names and does not exist."""
    words = command.split()
    while words and words[0] in ('{}', 'keypoint_perception'):
        words.pop(0)
    if not words or words[0].startswith(('-', '/', '~', '[', '%', '+')):
        return []
    two = ' '.join(words[:2])
    verb = two if two in options() else words[0]
    if verb in options():
        return [
            f'{verb} {word}'
            for word in words
            if word.startswith('--') and word not in options()[verb]
        ]
    if words[0] in PROGRAMS:
        return []
    named = len(words) == 1 and (words[0] in settings() or f'`{words[0]}`' in NAMED)
    return [] if named or words[0] == 'export' else [command]


# Values and topics that the help of settings explains.
NAMED = {
    f'`{name}`'
    for name in (
        *('agree', 'auto', 'camera_info', 'default', 'depth', 'false', 'hourglass', 'image'),
        *('image/compressed', 'image_rect', 'left/image', 'left_arm', 'right/image', 'turn'),
    )
}


def faults_of(text: str) -> list[str]:
    """Return the names in a sentence that nothing bears."""
    known = OPTIONS.union(*options().values())
    faults = [o for o in re.findall(r'(?<![\w-])--[a-z][a-z-]*[a-z]', text) if o not in known]
    for command in re.findall(r'`([^`]+)`', text):
        faults += [f for f in faults_of_command(command) if f.split()[-1] not in faults]
        for package in re.findall(r"'[^']+'|\S+", command)[2:]:
            plain = re.split(r'[\[=<>]', package.strip("'"))[0]
            installs = command.startswith('pip install') and plain not in ('-e', '.', '{}')
            there = plain != 'keypoint_perception' and f"'{plain}" in source_text()
            if installs and plain not in ROS_WHEELS and not there:
                faults.append(package)
    faults += [n for n in re.findall(r'(\w+):=', text) if n not in settings() | REMAPPED]
    prose = re.sub(r'\b\w+[:=/.(]+\w*|%\w|\w+/\w+', ' ', text)
    names = re.findall(r'(?<![\w~/])[a-z]+(?:_[a-z0-9]+)+(?![\w(])', prose)
    faults += [name for name in names if name not in settings() | NAMES]
    faults += [v for v in re.findall(r'\b[A-Z]+(?:_[A-Z]+)+\b', text) if v not in VARIABLES]
    faults += [d for d in re.findall(r'(?:docs|config)/[\w.]+', text) if not (ROOT / d).is_file()]
    services = re.findall(r'(?<=~/)\w+', text)
    return faults + [s for s in services if f'~/{s}' not in source_text()]


def test_what_sentences_name_exists():
    faults = [
        f'{path.relative_to(ROOT)}:{line}: {name}'
        for path in sorted(PACKAGE.rglob('*.py'))
        for line, text in sentences_of(path.read_text(encoding='utf-8'))
        for name in faults_of(text)
    ]
    assert faults == []


@pytest.mark.parametrize(
    ('sentence', 'fault'),
    [
        ('choose fewer --clusters, or a larger --size', '--clusters'),
        ('run `export {} --engine tensorrt --steps 3` again', 'export --steps'),
        ('run `extrat {} --out F` again', 'extrat {} --out F'),
        (
            "install it with `pip install 'keypoint_perception[onnx]'`",
            "'keypoint_perception[onnx]'",
        ),
        ('set max_gap to 1', 'max_gap'),
        ('set modell:=DIR', 'modell'),
        ('set KEYPOINT_PERCEPTION_LIMIT to a number', 'KEYPOINT_PERCEPTION_LIMIT'),
        ('see docs/sizes.md for more', 'docs/sizes.md'),
        ('call ~/record first', 'record'),
    ],
)
def test_a_name_that_nothing_bears_is_found(sentence, fault):
    assert faults_of(sentence) == [fault]
