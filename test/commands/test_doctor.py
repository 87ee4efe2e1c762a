"""``doctor`` reports what is installed, missing and broken."""

from __future__ import annotations

import json
import sys

from keypoint_perception.commands import diagnosis
from keypoint_perception.commands import doctor as command
from keypoint_perception.commands.diagnosis import BROKEN, Finding, Library, MISSING, OK, WARNING
from keypoint_perception.commands.program import main
from keypoint_perception.inference.synthetic_model import write_synthetic_model
import pytest


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that installs a module with a given source, for other processes too."""

    def install(name: str, source: str) -> str:
        (tmp_path / f'{name}.py').write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv('PYTHONPATH', str(tmp_path))
        return name

    return install


@pytest.fixture
def healthy(monkeypatch):
    """Make the doctor find one part, in order, beside what the command itself looks at."""
    findings = [Finding('base', 'numpy', OK, '2.0')]
    monkeypatch.setattr(diagnosis, 'diagnose', lambda: iter(findings))
    return findings


def library(name: str, part: str = 'training', probe: str = "{'version': m.version}") -> Library:
    return Library(part, name, name, probe)


def state_of(lib: Library) -> Finding:
    return diagnosis.library_state(lib, diagnosis.probe([lib]))


def test_a_library_that_works_says_its_version(module):
    lib = library(module('good_lib', "version = '1.2'"))
    assert state_of(lib) == Finding('training', 'good_lib', OK, '1.2')


def test_a_library_that_cannot_be_imported_is_broken(module):
    lib = library(module('bad_lib', "raise ImportError('libfoo.so.3 is missing')"))
    finding = state_of(lib)
    assert finding.state == BROKEN
    assert finding.found == 'ImportError: libfoo.so.3 is missing'
    assert finding.remedy == 'reinstall it: `pip install bad_lib`'


def test_a_library_that_kills_its_process_is_broken(module):
    lib = library(module('deadly_lib', 'import os\nos.abort()'))
    assert state_of(lib).state == BROKEN


def test_an_extra_that_is_absent_is_missing_and_a_base_library_broken():
    extra = diagnosis.library_state(library('no_such_library'), {})
    base = diagnosis.library_state(library('no_such_library', part='base'), {})
    assert (extra.state, base.state) == (MISSING, BROKEN)
    assert extra.remedy == '`pip install no_such_library`'


def test_the_doctor_loads_nothing_heavy_itself():
    before = set(sys.modules)
    list(diagnosis.diagnose())
    heavy = {'torch', 'rclpy', 'onnxruntime', 'tensorrt', 'rosbags'}
    assert heavy & (set(sys.modules) - before) == set()


def test_every_library_of_this_machine_gets_a_line():
    findings = list(diagnosis.diagnose())
    names = [finding.name for finding in findings]
    assert [lib.module for lib in diagnosis.LIBRARIES if lib.module not in names] == []
    assert {finding.state for finding in findings if finding.part == 'base'} == {OK}
    assert all(
        f.remedy for f in findings if f.state in (MISSING, BROKEN) and f.part != 'will be used'
    )


@pytest.mark.parametrize(
    ('profile', 'state', 'words'),
    [
        ('', WARNING, 'not set'),
        ('/nowhere/profile.xml', BROKEN, '/nowhere/profile.xml does not exist'),
        (__file__, OK, 'test_doctor.py'),
    ],
)
def test_the_dds_profile_is_checked(monkeypatch, profile, state, words):
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', profile)
    monkeypatch.delenv('FASTDDS_DEFAULT_PROFILES_FILE', raising=False)
    finding = diagnosis.dds_profile()
    assert finding.state == state
    assert words in finding.found


def test_the_cache_of_engines_is_checked(monkeypatch, tmp_path):
    monkeypatch.setenv('KEYPOINT_PERCEPTION_ENGINE_CACHE', str(tmp_path / 'engines'))
    assert diagnosis.engine_cache().found.startswith(
        '0 engines, 0.0 MiB with all other files, in /'
    )
    (tmp_path / 'engines').mkdir(mode=0o700)
    (tmp_path / 'engines' / 'a.plan').write_bytes(bytes(3 << 20))
    finding = diagnosis.engine_cache()
    assert (finding.state, finding.remedy) == (OK, '')
    assert finding.found == f'1 engines, 3.0 MiB with all other files, in {tmp_path}/engines'
    (tmp_path / 'engines').chmod(0o777)
    finding = diagnosis.engine_cache()
    assert finding.state == WARNING
    assert 'is not used: others can write it (mode 0777)' in finding.found
    assert finding.remedy.startswith(f'`chmod 700 {tmp_path}/engines`')


def test_little_shared_memory_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(diagnosis, 'MIN_SHM_BYTES', 1 << 62)
    (finding,) = diagnosis.shared_memory(str(tmp_path))
    assert finding.state == WARNING
    assert '--shm-size' in finding.remedy
    assert list(diagnosis.shared_memory(str(tmp_path / 'none'))) == []


def test_a_healthy_machine_exits_with_0(healthy, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(['doctor'])
    assert stopped.value.code == 0
    assert 'numpy' in capsys.readouterr().out


def test_json_has_every_finding(healthy, capsys):
    with pytest.raises(SystemExit):
        main(['doctor', '--json'])
    said = json.loads(capsys.readouterr().out)
    assert said['ok'] is True
    assert said['checks'][0] == healthy[0]._asdict() | {'remedy': ''}
    assert [check['name'] for check in said['checks']] == ['numpy', 'engine']


def test_a_missing_extra_is_no_fault(healthy, capsys):
    healthy.append(Finding('training', 'torch', MISSING, 'not installed', '`pip install torch`'))
    with pytest.raises(SystemExit) as stopped:
        main(['doctor'])
    assert stopped.value.code == 0
    assert 'pip install torch' in capsys.readouterr().out


def test_what_is_broken_is_one_sentence_and_exit_2(healthy, capsys):
    healthy.append(Finding('ros', 'rclpy', BROKEN, 'no librcl.so', 'source ROS again'))
    with pytest.raises(SystemExit) as stopped:
        main(['doctor'])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith('error: Required or installed parts do not work: rclpy: no librcl.so')
    assert said.endswith(', source ROS again.\n')
    assert said.count('\n') == 1


def test_a_model_is_checked(tmp_path):
    pytest.importorskip('onnx')
    write_synthetic_model(tmp_path / 'model', keypoints=3)
    finding = command.model_state(tmp_path / 'model')
    assert (finding.state, finding.found[:19]) == (OK, 'K=3, input 128x96, ')
    (tmp_path / 'model' / 'keypointer.onnx').write_bytes(b'changed')
    finding = command.model_state(tmp_path / 'model')
    assert finding.state == BROKEN
    assert 'do not match the manifest' in finding.found
