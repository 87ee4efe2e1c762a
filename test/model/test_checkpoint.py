"""Checkpoints come back as they were, or are refused by name."""

import json
import shutil

from keypoint_perception.errors import ModelError
from keypoint_perception.model.checkpoint import (
    has_checkpoint,
    load_checkpoint,
    load_network,
    load_strictly,
    save_checkpoint,
)
import pytest
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
    sentence = r"missing \['bias'\], unexpected \['extra'\], of another shape \['weight'\]"
    with pytest.raises(ModelError, match=sentence):
        load_strictly(module, tensors, 'here')


def test_a_network_of_unknown_settings_is_refused(model_dir):
    from safetensors.torch import load_file, save_file

    path = model_dir / 'checkpoint' / 'network.safetensors'
    save_file(load_file(path), path, {'config': json.dumps({'depth': 3, 'input_hw': [48, 64]})})
    with pytest.raises(ModelError, match=r"network\.safetensors: .*'depth'"):
        load_network(model_dir)
