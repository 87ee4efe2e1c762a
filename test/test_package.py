"""The package says the same to colcon, to rosdep, to pip and to its user."""

from __future__ import annotations

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import keypoint_perception
from keypoint_perception.commands.program import VERBS
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'keypoint_perception'
VERB_NAMES = {verb.__name__ for verb in VERBS} | {'benchmark'}
PROGRAMS = {'keypoint_perception', 'perception_node', 'recorder_node'}
MESSAGES = re.compile(r'^\s*(?:from|import) (\w+_(?:msgs|interfaces))\b', re.MULTILINE)


@pytest.fixture(scope='module')
def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / 'package.xml').getroot()


@pytest.fixture(scope='module')
def setup_says(tmp_path_factory) -> dict[str, str]:
    """Return what setup.py answers to distutils' questions."""
    questions = ('name', 'version', 'license', 'maintainer', 'maintainer-email', 'description')
    command = [sys.executable, '-W', 'ignore', 'setup.py', '--quiet']
    done = subprocess.run(
        [*command, *(f'--{question}' for question in questions)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return dict(zip(questions, done.stdout.splitlines(), strict=True))


def test_package_xml_and_setup_py_agree(manifest, setup_says):
    maintainer = manifest.find('maintainer')
    assert setup_says['name'] == manifest.findtext('name')
    assert setup_says['version'] == manifest.findtext('version')
    assert setup_says['license'] == manifest.findtext('license')
    assert setup_says['maintainer'] == maintainer.text
    assert setup_says['maintainer-email'] == maintainer.get('email')


def test_the_version_is_one(setup_says):
    assert setup_says['version'] == keypoint_perception.__version__


def test_package_xml_is_format_3_for_ament_python(manifest):
    assert manifest.get('format') == '3'
    assert manifest.findtext('export/build_type') == 'ament_python'
    assert '<?xml-model' in (ROOT / 'package.xml').read_text(encoding='utf-8')


def test_hard_dependencies_come_from_apt(manifest):
    # pip keys fail on Ubuntu 24.04 as shipped (PEP 668), so none may be required
    keys = [node.text for node in manifest if node.tag.endswith('depend')]
    assert len(keys) > 5
    assert [key for key in keys if key.endswith('-pip')] == []


def test_every_message_package_that_is_imported_is_a_dependency(manifest):
    sources = [path.read_text(encoding='utf-8') for path in PACKAGE.rglob('*.py')]
    imported = {name for source in sources for name in MESSAGES.findall(source)}
    assert {'sensor_msgs', 'rcl_interfaces'} <= imported
    declared = {node.text for node in manifest.findall('exec_depend')}
    assert imported - declared == set()


def test_colcon_takes_it_for_a_ros_package():
    colcon = shutil.which('colcon')
    if colcon is None:
        pytest.skip('colcon is not installed')
    done = subprocess.run(
        [colcon, '--log-base', os.devnull, 'list', '--base-paths', str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
    )
    name, _, kind = done.stdout.strip().split('\t')
    assert (name, kind) == ('keypoint_perception', '(ros.ament_python)')


@pytest.mark.parametrize('options', [[], ['--symlink-install']], ids=['copied', 'linked'])
def test_colcon_installs_executables_and_files(tmp_path, options):
    colcon = shutil.which('colcon')
    if colcon is None:
        pytest.skip('colcon is not installed')
    places = [f'--{place}-base={tmp_path / place}' for place in ('build', 'install')]
    done = subprocess.run(
        [colcon, '--log-base', os.devnull, 'build', '--base-paths', str(ROOT), *places, *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    prefix = tmp_path / 'install' / 'keypoint_perception'
    executables = {path.name for path in (prefix / 'lib' / 'keypoint_perception').iterdir()}
    assert executables == VERB_NAMES | PROGRAMS
    # the Python that is active when the node starts, not the one that built; setuptools leaves
    # no choice where it links
    entry_points = PROGRAMS if not options else set()
    for name in VERB_NAMES | entry_points:
        program = (prefix / 'lib' / 'keypoint_perception' / name).read_text(encoding='utf-8')
        assert program.splitlines()[0] == '#!/usr/bin/env python3', name
    share = prefix / 'share'
    assert (share / 'ament_index/resource_index/packages/keypoint_perception').is_file()
    for folder in ('launch', 'config', 'examples'):
        shipped = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        installed = {path.name for path in (share / 'keypoint_perception' / folder).iterdir()}
        assert shipped == installed


def test_every_verb_is_an_executable_of_the_ros_package():
    scripts = {path.name: path for path in (ROOT / 'scripts').iterdir() if path.is_file()}
    assert set(scripts) == VERB_NAMES
    for name, path in scripts.items():
        assert os.access(path, os.X_OK), f'{name} is not executable'
        assert f"main(['{name}', *sys.argv[1:]])" in path.read_text(encoding='utf-8')


def test_a_verb_script_is_the_same_program():
    done = subprocess.run(
        [sys.executable, ROOT / 'scripts' / 'doctor', '--no-such-option'],
        capture_output=True,
        text=True,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        check=False,
    )
    assert done.returncode == 2
    assert 'see `keypoint_perception doctor --help`' in done.stderr


def test_scripts_of_ros_stay_off_the_path_of_pip():
    setup_py = (ROOT / 'setup.py').read_text(encoding='utf-8')
    scripts = setup_py.split("'console_scripts': [")[1].split(']')[0]
    assert [line.split(' = ')[0].strip(" f'") for line in scripts.strip().splitlines()] == [
        '{PACKAGE}',
        'perception_node',
        'recorder_node',
    ]


def test_colcon_will_run_pytest():
    # without this extra colcon runs unittest, finds no test, and is content
    assert "'test': TEST," in (ROOT / 'setup.py').read_text(encoding='utf-8')


def test_markers_and_licence_are_there():
    for name in ('resource/keypoint_perception', 'LICENSE', 'CHANGELOG.rst', 'README.md'):
        assert (ROOT / name).is_file(), f'{name} is missing'
    assert 'Apache License' in (ROOT / 'LICENSE').read_text(encoding='utf-8')
    assert (ROOT / 'setup.cfg').read_text(encoding='utf-8').count('/lib/keypoint_perception') == 2


def test_changelog_begins_with_what_is_new():
    changelog = (ROOT / 'CHANGELOG.rst').read_text(encoding='utf-8')
    newest = re.findall(r'^(.+)\n-+\n\* ', changelog, re.MULTILINE)[0]
    # catkin_prepare_release turns the first into the second, with the date behind it
    assert newest == 'Forthcoming' or newest.startswith(f'{keypoint_perception.__version__} (')


@pytest.mark.parametrize(
    'name', ['perception.yaml', 'train/paper.yaml', 'train/temporal_transport.yaml']
)
def test_configuration_files_are_mappings(name):
    text = (ROOT / 'config' / name).read_text(encoding='utf-8')
    assert isinstance(yaml.safe_load(text), dict)


def test_dds_profile_is_well_formed():
    text = (ROOT / 'config' / 'fastdds_large_images.xml').read_text(encoding='utf-8')
    ElementTree.fromstring(text.encode())
    segment = int(text.split('<segment_size>')[1].split('<')[0])
    assert segment >= 32 << 20, 'a segment that holds several large images'


def test_ruff_is_set_as_aments_linters_are():
    tomllib = pytest.importorskip('tomllib', reason='Python 3.10 has no tomllib')
    settings = tomllib.loads((ROOT / 'ruff.toml').read_text(encoding='utf-8'))
    assert settings['line-length'] == 99
    assert settings['format']['quote-style'] == 'single'
