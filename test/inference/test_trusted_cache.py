"""What lies in a sealed folder is used as it was written, or not at all."""

import json
import os
import subprocess
import sys

from keypoint_perception.inference import trusted_cache
from keypoint_perception.inference.trusted_cache import (
    LockTimeoutError,
    TamperedFileError,
    TrustedFolder,
)
import pytest


@pytest.fixture
def folder(tmp_path):
    sealed = TrustedFolder(tmp_path / 'new' / 'engines')
    sealed.write('a.plan', b'code', {'of': 'a'})
    return sealed


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_file_comes_back_with_what_was_known_of_it(folder):
    assert folder.read('a.plan') == (b'code', {'of': 'a'})
    assert folder.read('b.plan') is None
    assert TrustedFolder(folder.path / 'none').read('a.plan') is None


def test_only_the_user_can_read_or_write_the_folder_and_its_files(folder):
    modes = {p.name: p.stat().st_mode & 0o777 for p in [folder.path, *folder.path.iterdir()]}
    assert modes == {'engines': 0o700, 'a.plan': 0o600, 'a.plan.json': 0o600}


def test_a_changed_byte_is_seen(folder):
    flip(folder.path / 'a.plan')
    with pytest.raises(TamperedFileError, match='SHA-256 is not the one in its sidecar'):
        folder.read('a.plan')


def test_a_file_of_another_length_is_seen(folder):
    (folder.path / 'a.plan').write_bytes(b'longer code')
    with pytest.raises(TamperedFileError, match='it has 11 bytes, and 4 according to its'):
        folder.read('a.plan')


@pytest.mark.parametrize('sidecar', ['', 'no json', '[]', '{"bytes": 4}', '{"sha256": "x"}'])
def test_a_broken_sidecar_is_seen(folder, sidecar):
    (folder.path / 'a.plan.json').write_text(sidecar)
    with pytest.raises(TamperedFileError, match='sidecar cannot be read'):
        folder.read('a.plan')


@pytest.mark.parametrize('name', ['a.plan', 'a.plan.json'])
def test_half_of_the_pair_is_not_enough(folder, name):
    (folder.path / name).unlink()
    with pytest.raises(TamperedFileError, match='it or its sidecar is missing'):
        folder.read('a.plan')


@pytest.mark.parametrize('mode', [0o770, 0o777, 0o702, 0o1777])
def test_a_folder_that_others_can_write_is_not_read(folder, mode):
    folder.path.chmod(mode)
    with pytest.raises(TamperedFileError, match=f'others can write it .mode {mode:04o}'):
        folder.read('a.plan')
    assert 'others can write it' in folder.fault()


@pytest.mark.parametrize('name', ['a.plan', 'a.plan.json'])
def test_a_file_that_others_can_write_is_not_read(folder, name):
    (folder.path / name).chmod(0o666)
    with pytest.raises(TamperedFileError, match=f'{name}: others can write it'):
        folder.read('a.plan')


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give a folder away')
@pytest.mark.parametrize('name', ['.', 'a.plan', 'a.plan.json'])
def test_what_belongs_to_someone_else_is_not_read(folder, name):
    os.chown(folder.path / name, 1234, -1)
    with pytest.raises(TamperedFileError, match='it belongs to user 1234 and this process runs'):
        folder.read('a.plan')


def test_what_belongs_to_someone_else_is_not_read_without_root_either(folder, monkeypatch):
    monkeypatch.setattr(trusted_cache.os, 'geteuid', lambda: folder.path.stat().st_uid + 1)
    with pytest.raises(TamperedFileError, match='it belongs to user'):
        folder.read('a.plan')


def test_a_link_and_a_pipe_are_not_read(folder, tmp_path):
    (folder.path / 'a.plan').rename(tmp_path / 'elsewhere')
    (folder.path / 'a.plan').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(TamperedFileError, match=r'a\.plan is a link'):
        folder.read('a.plan')
    (folder.path / 'a.plan').unlink()
    os.mkfifo(folder.path / 'a.plan')
    with pytest.raises(TamperedFileError, match='no regular file'):
        folder.read('a.plan')


def test_writing_again_replaces_and_leaves_nothing_behind(folder):
    folder.write('a.plan', b'new code', {'of': 'b'})
    assert folder.read('a.plan') == (b'new code', {'of': 'b'})
    assert sorted(p.name for p in folder.path.iterdir()) == ['a.plan', 'a.plan.json']


def test_a_stop_between_the_file_and_its_sidecar_is_seen(folder, monkeypatch):
    """The old sidecar is gone before the new file comes, so that they cannot be taken together."""

    def stop(handle, name, content, write=trusted_cache._replace):
        if name.endswith('.json'):
            raise KeyboardInterrupt
        write(handle, name, content)

    monkeypatch.setattr(trusted_cache, '_replace', stop)
    with pytest.raises(KeyboardInterrupt):
        folder.write('a.plan', b'new code', {})
    with pytest.raises(TamperedFileError, match='sidecar is missing'):
        folder.read('a.plan')


def test_a_full_disk_leaves_no_half_file(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(trusted_cache.os, 'replace', full)
    with pytest.raises(OSError, match='No space left'):
        folder.write('b.plan', b'code', {})
    assert [p.name for p in folder.path.glob('b.plan*')] == []


HOLD = """
import sys
from pathlib import Path
from keypoint_perception.inference.trusted_cache import TrustedFolder
with TrustedFolder(Path(sys.argv[1])).lock('a.plan', timeout_s=0, waiting=print):
    print('held', flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(folder):
    """Return another process that holds the lock until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_another_process_is_waited_for(folder, holder):
    waited = []

    def wait(pid, seconds):
        waited.append(pid)
        if len(waited) == 2:
            holder.stdin.close()

    with folder.lock('a.plan', timeout_s=60, waiting=wait):
        assert set(waited) == {str(holder.pid)}
    assert len(waited) >= 2


def test_a_lock_is_not_waited_for_for_ever(folder, holder):
    with (
        pytest.raises(LockTimeoutError, match=str(holder.pid)),
        folder.lock('a.plan', timeout_s=0.0, waiting=print),
    ):
        pytest.fail('two hold the lock')


def test_the_lock_of_a_killed_process_is_free(folder, holder):
    holder.kill()
    holder.wait()
    with folder.lock('a.plan', timeout_s=0.0, waiting=print):
        assert json.loads((folder.path / 'a.plan.lock').read_text()) == os.getpid()
