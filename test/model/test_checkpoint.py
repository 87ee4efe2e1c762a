"""Checkpoints come back as they were, or are refused by name."""

from dataclasses import replace
import hashlib
import json
import os
from pathlib import Path
import shutil

from keypoint_perception.errors import ModelError
from keypoint_perception.model.checkpoint import (
    has_checkpoint,
    load_checkpoint,
    load_network,
    load_strictly,
    read_metadata,
    save_checkpoint,
)
import pytest
from safetensors.torch import load_file, save_file
import torch


def test_what_was_saved_is_loaded(model_dir, checkpoint):
    loaded = load_checkpoint(model_dir)
    assert loaded.state == checkpoint.state
    torch.testing.assert_close(loaded.tensors, checkpoint.tensors)
    torch.testing.assert_close(loaded.frames, checkpoint.frames)
    assert loaded.network.config == checkpoint.network.config
    torch.testing.assert_close(loaded.network.state_dict(), checkpoint.network.state_dict())


def test_no_file_of_a_checkpoint_can_hold_code(model_dir):
    kinds = {path.suffix for path in (model_dir / 'checkpoint').iterdir()}
    assert kinds == {'.safetensors', '.json'}


@pytest.mark.parametrize('name', ['network', 'training', 'frames'])
def test_a_changed_byte_is_named(model_dir, name):
    path = model_dir / 'checkpoint' / f'{name}.safetensors'
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=f'{name}.safetensors: it is missing or was changed'):
        load_checkpoint(model_dir)


def test_a_cut_network_is_named(model_dir):
    path = model_dir / 'checkpoint' / 'network.safetensors'
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=r'cannot be read: network\.safetensors'):
        load_network(model_dir)


def test_a_state_that_is_no_json_is_named(model_dir):
    (model_dir / 'checkpoint' / 'training.json').write_text('{')
    with pytest.raises(ModelError, match=r'cannot be read: training\.json'):
        load_checkpoint(model_dir)


def test_a_changed_setting_is_noticed(model_dir):
    path = model_dir / 'checkpoint' / 'training.json'
    path.write_text(path.read_text().replace('"step": 7', '"step": 8'))
    with pytest.raises(ModelError, match=r'cannot be read: training\.json: it was changed'):
        load_checkpoint(model_dir)


def test_no_checkpoint_is_said(tmp_path):
    assert not has_checkpoint(tmp_path)
    with pytest.raises(ModelError, match='holds no checkpoint'):
        load_checkpoint(tmp_path)


def test_a_stop_between_the_two_renames_loses_nothing(model_dir, checkpoint):
    (model_dir / 'checkpoint').rename(model_dir / 'checkpoint.old')
    assert has_checkpoint(model_dir)
    assert load_checkpoint(model_dir).state['step'] == 7
    assert (model_dir / 'checkpoint').is_dir()
    save_checkpoint(model_dir, checkpoint)
    assert not (model_dir / 'checkpoint.old').exists()


def test_a_half_written_checkpoint_is_not_taken(model_dir, checkpoint):
    part = model_dir / '.checkpoint.part' / 'checkpoint'
    shutil.copytree(model_dir / 'checkpoint', part)
    (part / 'network.safetensors').write_bytes(b'')
    assert load_checkpoint(model_dir).state['step'] == 7
    save_checkpoint(model_dir, checkpoint)
    assert load_checkpoint(model_dir).state['step'] == 7
    assert not part.parent.exists()


def test_weights_are_loaded_strictly():
    module = torch.nn.Linear(2, 3)
    tensors = {'weight': torch.zeros(3, 3), 'extra': torch.zeros(1)}
    sentence = r"missing \['bias'\], unexpected \['extra'\], of another shape or type \['weight'\]"
    with pytest.raises(ModelError, match=sentence):
        load_strictly(module, tensors, 'here')


def test_a_network_of_unknown_settings_is_refused(model_dir):
    path = model_dir / 'checkpoint' / 'network.safetensors'
    save_file(load_file(path), path, {'config': json.dumps({'depth': 3, 'input_hw': [48, 64]})})
    with pytest.raises(ModelError, match=r"network\.safetensors: .*'depth'"):
        load_network(model_dir)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'width': 10**9}, 'width: must be an integer from 1 to 256, got 1000000000'),
        ({'keypoints': True}, 'keypoints: must be an integer from 1 to 512, got True'),
        ({'stacks': 2.0}, 'stacks: must be an integer from 1 to 8, got 2.0'),
        ({'input_hw': [48, 8 * 10**8]}, 'input_hw: must be an integer from 1 to 4096'),
        ({'input_hw': 48}, 'not iterable'),
        ({'input_hw': [48]}, 'not enough values'),
        ({'norm': []}, r'norm: \[\] is not known'),
        ({'network': json.loads('[' * 90 + ']' * 90)}, 'nested more than 64 deep'),
    ],
)
def test_a_hostile_network_is_refused_before_it_is_made(model_dir, changes, sentence):
    path = model_dir / 'checkpoint' / 'network.safetensors'
    config = {'keypoints': 3, 'input_hw': [48, 64], 'width': 8} | changes
    save_file(load_file(path), path, {'config': json.dumps(config)})
    with pytest.raises(ModelError, match=rf'network\.safetensors: .*{sentence}.*; copy the'):
        load_network(model_dir)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (lambda head: head.fill_(torch.nan), 'weights that are NaN'),
        (lambda head: head.double(), r"another shape or type \['body.head.bias'\]"),
        (lambda head: head.to(torch.int8), r"another shape or type \['body.head.bias'\]"),
        (lambda head: head[:2].clone(), r"another shape or type \['body.head.bias'\]"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(model_dir, change, sentence):
    path = model_dir / 'checkpoint' / 'network.safetensors'
    weights = load_file(path)
    weights['body.head.bias'] = change(weights['body.head.bias'])
    save_file(weights, path, read_metadata(path))
    with pytest.raises(ModelError, match=sentence):
        load_network(model_dir)


@pytest.mark.parametrize('header', [b'\xff' * 8, (10**9).to_bytes(8, 'little'), b'\0' * 8, b''])
def test_a_header_that_claims_what_the_file_does_not_hold_is_refused(model_dir, header):
    path = model_dir / 'checkpoint' / 'network.safetensors'
    path.write_bytes(header + path.read_bytes()[8:])
    with pytest.raises(ModelError, match=r'cannot be read: network\.safetensors'):
        load_network(model_dir)


def rewrite_state(model_dir, **changes):
    """Change the state as someone would who also mends the digest."""
    path = model_dir / 'checkpoint' / 'training.json'
    state = json.loads(path.read_text()) | changes
    del state['sha256']
    state['sha256'] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(state))


@pytest.mark.parametrize('files', [[], 5, {}, {'../../model.onnx': 'ab'}, {'/dev/zero': 'ab'}])
def test_files_that_a_state_names_outside_are_not_read(model_dir, files):
    rewrite_state(model_dir, files=files)
    with pytest.raises(ModelError, match=r'cannot be read: (training\.json|network\.safetens)'):
        load_checkpoint(model_dir)


@pytest.mark.parametrize(
    'frames',
    [
        torch.zeros(4, 48, 64, 3),
        torch.zeros(4, 64, 48, 3, dtype=torch.uint8),
        torch.zeros(3, dtype=torch.uint8),
    ],
)
def test_frames_of_another_network_are_refused(model_dir, checkpoint, frames):
    save_checkpoint(model_dir, replace(checkpoint, frames=frames))
    with pytest.raises(ModelError, match=r'its frames are .*, not those of the network'):
        load_checkpoint(model_dir)


def test_the_new_checkpoint_is_on_disk_before_the_old_one_is_removed(
    model_dir, checkpoint, monkeypatch
):
    events, sync, remove = [], os.fsync, shutil.rmtree

    def synced(handle):
        events.append(Path(f'/proc/self/fd/{handle}').readlink().name)
        sync(handle)

    monkeypatch.setattr('os.fsync', synced)
    monkeypatch.setattr(
        'shutil.rmtree', lambda path, **how: (events.append(f'-{path.name}'), remove(path, **how))
    )
    save_checkpoint(model_dir, checkpoint)
    files = {path.name for path in (model_dir / 'checkpoint').iterdir()}
    # the directories of an interrupted run and of the one before last are removed at first
    cut = events.index('model')
    assert files | {'checkpoint'} == set(events[:cut]) - {'-.checkpoint.part', '-checkpoint.old'}
    assert events[cut + 1 :] == ['-checkpoint.old', '-.checkpoint.part']


@pytest.mark.parametrize('place', ['checkpoint', 'checkpoint.old'])
def test_a_full_disk_leaves_the_old_checkpoint(model_dir, checkpoint, monkeypatch, place):
    if place != 'checkpoint':  # as a kill between two renames leaves it
        (model_dir / 'checkpoint').rename(model_dir / place)
    monkeypatch.setattr(
        'os.fsync', lambda handle: os.write(os.open('/dev/full', os.O_WRONLY), b'x')
    )
    with pytest.raises(OSError, match='No space left'):
        save_checkpoint(model_dir, replace(checkpoint, state=checkpoint.state | {'step': 8}))
    assert [path.name for path in model_dir.iterdir()] == [place]
    assert load_checkpoint(model_dir).state['step'] == 7


def test_a_kill_while_renaming_leaves_a_checkpoint(model_dir, checkpoint, monkeypatch):
    (model_dir / 'checkpoint').rename(model_dir / 'checkpoint.old')

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, 'rename', killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(model_dir, checkpoint)
    monkeypatch.undo()
    assert load_checkpoint(model_dir).state['step'] == 7
