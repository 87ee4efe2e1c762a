"""Outputs never overwrite inputs."""

import os
from pathlib import Path
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
    assert "file/out.csv' cannot be written (Not a directory); choose another path" in err


PLACES = {
    'pipe': 'is a pipe, a device or a broken link; specify a',
    '/dev/stdout': 'is a pipe, a device or a broken link; specify a',
    '/dev/null': 'is a pipe, a device or a broken link; specify a',
    'link': 'is a pipe, a device or a broken link; specify a',
    '/proc/new/out': 'cannot be written (No such file or directory); choose another path',
    'file/out': 'cannot be written (Not a directory); choose another path',
    250 * 'n': 'has a name of 250 bytes; specify one of at most 249',
    300 * 'n': 'cannot be written (File name too long); choose another path',
}
OUTPUTS = {
    'extract': 'BAG --out',
    'train': 'BAG --out',
    'detect': 'MODEL BAG --out',
    'detect of a bag': 'MODEL BAG --out OK --bag',
    'evaluate': 'MODEL BAG --out',
    'evaluate of a video': 'MODEL BAG --out OK --video',
}


@pytest.mark.parametrize('verb', OUTPUTS)
@pytest.mark.parametrize('place', PLACES)
def test_places_are_judged_before_any_work(run_verb, model, tmp_path, monkeypatch, place, verb):
    monkeypatch.chdir(tmp_path)
    os.mkfifo('pipe')
    Path('link').symlink_to('gone')
    Path('file').touch()
    if not verb.endswith('bag') or place in ('link', 250 * 'n'):  # bags never replace what exists
        paths = {'BAG': tmp_path / 'bag', 'MODEL': model, 'OK': tmp_path / 'ok'}
        words = [paths.get(word, word) for word in OUTPUTS[verb].split()]
        code, _, err = run_verb(verb.split()[0], *words, place)
        assert code == 2
        assert f"{place}' {PLACES[place]}" in err
    assert {path.name for path in tmp_path.iterdir()} >= {'pipe', 'link', 'file'}
    assert Path('pipe').is_fifo()


def test_a_store_is_not_put_into_its_recording(run_verb, bag):
    before = contents(bag)
    code, _, err = run_verb('extract', bag, '--out', bag / 'store')
    assert code == 2
    assert 'would overwrite or change recording 1' in err
    assert contents(bag) == before


@pytest.mark.parametrize('verb', ['export', 'landmarks'])
def test_a_model_that_cannot_be_changed_is_refused_at_once(run_verb, verb):
    rest = ('BAG', '--annotations', 'x.csv') if verb == 'landmarks' else ()
    code, _, err = run_verb(verb, '/proc/self', *rest)
    assert code == 2
    assert "MODEL '/proc/self' cannot be written (No such file or directory); choose" in err


@pytest.mark.parametrize('words', ['X --out ', 'X --out=', ' --out y'])
def test_an_unset_variable_is_no_path(run_verb, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_verb('extract', *words.split(' '))
    assert code == 2
    assert err.startswith('error: Nothing follows')
    assert err.endswith('check the command for an unset variable.\n')


def test_a_link_that_leads_to_itself_is_named(run_verb, tmp_path):
    (tmp_path / 'loop').symlink_to('loop')
    code, _, err = run_verb('extract', tmp_path / 'loop', '--out', tmp_path / 'store')
    assert code == 2
    assert 'Too many levels of symbolic links' in err


def test_a_csv_may_lie_beside_the_recording(run_verb, model, bag):
    assert run_verb('detect', model, bag, '--out', bag / 'keypoints.csv')[0] == 0


def test_a_model_may_have_a_name_that_is_not_utf8(run_verb, model, bag, tmp_path):
    named = shutil.copytree(model, tmp_path / os.fsdecode(b'Ma\xdfe'))
    code, _, err = run_verb('evaluate', named, bag, '--out', tmp_path / 'out.json')
    assert (code, 'error' in err) == (0, False)
    assert r'Ma\udcdfe' in (tmp_path / 'out.html').read_text()
