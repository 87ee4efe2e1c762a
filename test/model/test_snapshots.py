"""Snapshots come back with their moment, in the order of learning."""

from keypoint_perception.errors import ModelError
from keypoint_perception.model.checkpoint import read_network
from keypoint_perception.model.network import Keypointer, NetworkConfig
from keypoint_perception.model.snapshots import (
    drop_snapshots,
    find_snapshots,
    save_snapshot,
)
import pytest
import torch


@pytest.fixture
def run(tmp_path):
    """A run with snapshots at steps 10 and 9, taken in that order."""
    networks = {}
    for step in (10, 9):
        networks[step] = Keypointer(NetworkConfig(keypoints=step, input_hw=(32, 32), width=8))
        save_snapshot(tmp_path, networks[step], step, step / 8)
    return tmp_path, networks


def test_a_snapshot_is_the_network_at_its_moment(run):
    path, networks = run
    found = find_snapshots(path)
    assert [(s.step, s.elapsed_s) for s in found] == [(9, 1.125), (10, 1.25)]
    for snapshot in found:
        network = read_network(snapshot.path)
        assert network.config.keypoints == snapshot.step
        torch.testing.assert_close(network.state_dict(), networks[snapshot.step].state_dict())


def test_going_on_drops_what_comes_again(run):
    path, _ = run
    drop_snapshots(path, after_step=9)
    assert [s.step for s in find_snapshots(path)] == [9]
    drop_snapshots(path, after_step=0)
    assert not (path / 'snapshots').exists()


def test_a_run_without_snapshots(tmp_path):
    with pytest.raises(ModelError, match='holds no snapshots; train with snapshot_every_s above'):
        find_snapshots(tmp_path)


def test_a_damaged_snapshot_is_named(run):
    path, _ = run
    (path / 'snapshots' / 'step_0000009.safetensors').write_bytes(b'junk')
    with pytest.raises(ModelError, match=r'step_0000009\.safetensors'):
        find_snapshots(path)
