"""Outputs never overwrite inputs."""

import os
import shutil

import pytest


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('verb', ['detect', 'evaluate'])
def test_a_recording_is_not_overwritten(run_verb, model, bag, verb):
    before = contents(bag)
    (storage,) = (bag / name for name in before if name != 'metadata.yaml')
    code, _, err = run_verb(verb, model, bag, '--out', storage)
    assert code == 2
    assert f"error: --out '{storage}' would overwrite or change the recording '{bag}'" in err
    code, _, err = run_verb(verb, model, storage, '--out', storage)
    assert code == 2
    assert 'would overwrite or change the recording' in err
    assert contents(bag) == before


def test_labels_are_not_overwritten(run_verb, model, bag, tmp_path):
    labels = tmp_path / 'labels.csv'
    labels.write_text('stamp_ns,keypoint,u,v\n1,tip,2,3\n')
    code, _, err = run_verb('evaluate', model, bag, '--annotations', labels, '--out', labels)
    assert code == 2
    assert 'would overwrite or change the labels' in err
    assert labels.read_text().endswith('1,tip,2,3\n')


def test_two_outputs_in_one_place_are_refused(run_verb, model, bag, tmp_path):
    both = tmp_path / 'both.mp4'
    code, _, err = run_verb('detect', model, bag, '--out', both, '--video', both)
    assert code == 2
    assert f"--out and --video are both '{both}'; choose different paths" in err


@pytest.mark.parametrize('verb', ['detect', 'evaluate'])
def test_a_directory_is_no_output_file(run_verb, model, bag, tmp_path, verb):
    code, _, err = run_verb(verb, model, bag, '--out', tmp_path)
    assert code == 2
    assert f"--out '{tmp_path}' is a directory; specify a file" in err
    assert 'detecting' not in err


@pytest.mark.parametrize('verb', ['detect', 'evaluate'])
def test_a_file_in_place_of_a_folder_is_named(run_verb, model, bag, tmp_path, verb):
    (tmp_path / 'file').write_text('mine')
    code, _, err = run_verb(verb, model, bag, '--out', tmp_path / 'file' / 'out.csv')
    assert code == 2
    assert f"error: File exists: '{tmp_path / 'file'}'; move it away, or choose" in err


def test_a_csv_may_lie_beside_the_recording(run_verb, model, bag):
    assert run_verb('detect', model, bag, '--out', bag / 'keypoints.csv')[0] == 0


def test_a_model_may_have_a_name_that_is_not_utf8(run_verb, model, bag, tmp_path):
    named = shutil.copytree(model, tmp_path / os.fsdecode(b'Ma\xdfe'))
    code, _, err = run_verb('evaluate', named, bag, '--out', tmp_path / 'out.json')
    assert (code, 'error' in err) == (0, False)
    assert r'Ma\udcdfe' in (tmp_path / 'out.html').read_text()
