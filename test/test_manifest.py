"""A model directory is what its manifest says, or it is refused by name."""

import json

from keypoint_perception.errors import ModelError
from keypoint_perception.manifest import Manifest, read_manifest, update_file, write_manifest
import pytest


@pytest.fixture
def model_dir(tmp_path):
    directory = tmp_path / 'model'
    (directory / 'checkpoint').mkdir(parents=True)
    (directory / 'keypointer.onnx').write_bytes(b'network')
    (directory / 'checkpoint' / 'network.safetensors').write_bytes(b'weights')
    manifest = Manifest(('kp0', 'kp1'), (96, 128), 'temporal_transport', 'default')
    names = ['keypointer.onnx', 'checkpoint/network.safetensors']
    write_manifest(directory, manifest, files=names)
    return directory


def change(model_dir, **values):
    path = model_dir / 'manifest.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_what_was_written_is_read(model_dir):
    manifest = read_manifest(model_dir)
    assert manifest.keypoint_names == ('kp0', 'kp1')
    assert manifest.keypoint_count == 2
    assert manifest.input_hw == (96, 128)
    # printf network | sha256sum
    expected = '3009be769fb8f956e8413ee9f3e0836e34968bc40457d0a10c549d2edcf00cc1'
    assert manifest.files['keypointer.onnx'] == expected


def test_a_model_without_a_skeleton_has_an_empty_one(model_dir):
    path = model_dir / 'manifest.json'
    values = json.loads(path.read_text())
    del values['skeleton']
    path.write_text(json.dumps(values))
    assert read_manifest(model_dir).skeleton == ()
    change(model_dir, skeleton=[[0, 1, 0.5]])
    assert read_manifest(model_dir).skeleton == ((0, 1, 0.5),)


@pytest.mark.parametrize('edge', [[0, 2, 1.0], [1, 0, 1.0], [-1, 1, 1.0], [1, 1, 1.0]])
def test_a_skeleton_of_other_keypoints_is_refused(model_dir, edge):
    change(model_dir, skeleton=[edge])
    with pytest.raises(ModelError, match='has a skeleton of unknown keypoints'):
        read_manifest(model_dir)


def test_a_skeleton_of_another_form_is_refused(model_dir):
    change(model_dir, skeleton=[['a', 1]])
    with pytest.raises(ModelError, match='is not a valid manifest'):
        read_manifest(model_dir)


def test_a_changed_byte_is_named(model_dir):
    (model_dir / 'checkpoint' / 'network.safetensors').write_bytes(b'weighty')
    with pytest.raises(ModelError, match=r'contents of checkpoint/network.safetensors do not'):
        read_manifest(model_dir)


def test_missing_files_are_all_named(model_dir):
    (model_dir / 'keypointer.onnx').unlink()
    (model_dir / 'checkpoint' / 'network.safetensors').unlink()
    with pytest.raises(ModelError, match=r'lacks checkpoint/network.safetensors, keypointer.onnx'):
        read_manifest(model_dir)


def test_a_newer_format_is_refused(model_dir):
    change(model_dir, format_version=99)
    with pytest.raises(ModelError, match='has format 99, this package reads up to 1; install'):
        read_manifest(model_dir)


@pytest.mark.parametrize('version', [None, '1', 1.5, True, 0])
def test_a_nonsense_format_is_refused(model_dir, version):
    change(model_dir, format_version=version)
    with pytest.raises(ModelError, match='has format '):
        read_manifest(model_dir)


def test_a_directory_without_manifest_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r'is not a model directory \(it has no manifest.json\)'):
        read_manifest(tmp_path)
    with pytest.raises(ModelError, match=r'is not a model directory \(no such directory\)'):
        read_manifest(tmp_path / 'nowhere')


@pytest.mark.parametrize('text', ['', '[1, 2]', '{"a": 1}', '"text"', '{"format_version": 1}'])
def test_another_file_of_that_name_is_no_manifest(model_dir, text):
    (model_dir / 'manifest.json').write_text(text)
    with pytest.raises(ModelError, match='manifest'):
        read_manifest(model_dir)


@pytest.mark.parametrize(
    ('name', 'text', 'sentence'),
    [
        ('sources', '5', 'sources must be a list of mappings, got 5; copy the model directory'),
        ('sources', '["a"]', "sources must be a list of mappings, got .'a'.;"),
        ('keypoint_names', '"ab"', "keypoint_names must be a list of text, got 'ab'"),
        ('keypoint_names', '[1, 2]', 'keypoint_names must be a list of text'),
        ('input_hw', '[1e999, 64]', r'input_hw must be \[height, width\] from 1 to 4096, got'),
        ('input_hw', '[NaN, 64]', 'input_hw must be'),
        ('input_hw', '[true, 64]', 'input_hw must be'),
        ('input_hw', f'[{"9" * 4000}, 64]', 'input_hw must be'),
        ('input_hw', f'[{"9" * 5000}, 64]', 'is not a manifest .*digits'),
        ('input_hw', '[64]', 'input_hw must be'),
        ('objective', 'null', 'objective must be text, got None'),
        ('metrics', '[]', 'metrics must be a mapping'),
        ('files', '["keypointer.onnx"]', 'files must be a mapping of paths to text'),
        ('files', '{"keypointer.onnx": null}', 'files must be a mapping of paths to text'),
        ('files', '{"keypointer.onnx": "", "a\\u0000b": ""}', r"lacks 'a\\x00b', which"),
        ('files', f'{{"keypointer.onnx": "", "{"x" * 300}": ""}}', 'x. cannot be read .File name'),
        ('skeleton', '[[0, 1, Infinity]]', 'skeleton must be a list of .index, index, weight'),
        ('skeleton', '[[0.5, 1, 1]]', 'skeleton must be a list of'),
        ('skeleton', '[[0, true, 1]]', 'skeleton must be a list of'),
        ('precisions', '{"fp16": 3}', 'precisions must be a mapping of names to mappings'),
        ('metrics', '[' * 100_000, 'is not a manifest .it is nested more than 64 deep'),
    ],
)
def test_a_value_of_another_form_is_refused(model_dir, name, text, sentence):
    path = model_dir / 'manifest.json'
    values = json.loads(path.read_text())
    values[name] = 'HERE'
    path.write_text(json.dumps(values).replace('"HERE"', text))
    with pytest.raises(ModelError, match=sentence) as raised:
        read_manifest(model_dir)
    assert len(str(raised.value)) < 600


def test_a_manifest_without_its_network_input_is_refused(model_dir):
    path = model_dir / 'manifest.json'
    values = json.loads(path.read_text())
    del values['input_hw']
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r'not a valid manifest .*input_hw'):
        read_manifest(model_dir)


def test_a_model_larger_than_the_limit_is_refused_before_it_is_read(model_dir, monkeypatch):
    with (model_dir / 'keypointer.onnx').open('wb') as file:
        file.truncate(10**12)  # a file with a hole, which takes no room
    needed = 'has 1000000 MB, expected 8192 or less; .* set .*=max_model_mb=1000001'
    with pytest.raises(ModelError, match=needed):
        read_manifest(model_dir)
    (model_dir / 'keypointer.onnx').write_bytes(b'network')
    monkeypatch.setenv('KEYPOINT_PERCEPTION_LIMITS', 'max_model_mb=0.00001')
    with pytest.raises(ModelError, match='has 0 MB, expected 1e-05 or less'):
        read_manifest(model_dir)


@pytest.mark.parametrize('path', ['~nobody_of_that_name/model', 'a\0b', 'x' * 300, '/dev/null'])
def test_a_path_that_cannot_be_is_refused(path):
    with pytest.raises(
        ModelError, match=r'is not a model directory|cannot be read .File name too'
    ):
        read_manifest(path)


def test_files_outside_the_model_are_refused(model_dir):
    files = json.loads((model_dir / 'manifest.json').read_text())['files']
    change(model_dir, files=files | {'../elsewhere': '0' * 64})
    with pytest.raises(ModelError, match=r'lists files outside the model: \.\./elsewhere'):
        read_manifest(model_dir)


def test_a_page_can_be_replaced_while_others_load_the_model(model_dir, monkeypatch):
    before = read_manifest(model_dir)
    update_file(model_dir, 'report.html', b'first')
    seen = []
    replace = type(model_dir).replace

    def look(path, target):
        replace(path, target)
        seen.append('report.html' in read_manifest(model_dir).files)

    monkeypatch.setattr(type(model_dir), 'replace', look)
    update_file(model_dir, 'report.html', b'second')
    # let go, replaced, described again: loaded without complaint after each
    assert seen == [False, False, True]
    assert (model_dir / 'report.html').read_bytes() == b'second'
    after = read_manifest(model_dir)
    assert {n: d for n, d in after.files.items() if n != 'report.html'} == before.files
    assert after.keypoint_names == before.keypoint_names


def test_a_changed_model_gets_no_new_page(model_dir):
    (model_dir / 'keypointer.onnx').write_bytes(b'another')
    with pytest.raises(ModelError, match='do not match the manifest'):
        update_file(model_dir, 'report.html', b'page')
    assert not (model_dir / 'report.html').exists()


def test_names_of_landmarks_are_kept(model_dir):
    assert read_manifest(model_dir).landmark_names == ()
    change(model_dir, landmark_names=['gripper', 'ball'])
    assert read_manifest(model_dir).landmark_names == ('gripper', 'ball')
