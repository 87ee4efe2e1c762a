"""Files and directories appear under their name when they are complete."""

from keypoint_perception.atomic_files import (
    backup_path,
    PendingDirectory,
    PendingFile,
    replace_file,
    sole_writer,
)
from keypoint_perception.errors import PerceptionError
import pytest


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_file_has_its_old_content_until_it_is_complete(tmp_path):
    path = tmp_path / 'model.int8.onnx'
    path.write_bytes(b'old')
    with PendingFile(path) as part:
        part.write_bytes(b'new')
        assert part.parent == path.parent
        assert part.suffix == path.suffix
        assert path.read_bytes() == b'old'
    assert path.read_bytes() == b'new'
    assert names(tmp_path) == ['model.int8.onnx']


def test_an_interrupted_file_leaves_nothing_behind(tmp_path):
    path = tmp_path / 'report.json'
    with pytest.raises(KeyboardInterrupt, match='now'), PendingFile(path) as part:
        part.write_text('half')
        raise KeyboardInterrupt('now')
    assert names(tmp_path) == []


def test_a_file_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), PendingFile(tmp_path / 'a'):
        pass


def test_replacing_takes_text_and_bytes(tmp_path):
    replace_file(tmp_path / 'text', 'é\n')
    replace_file(tmp_path / 'bytes', b'\xff')
    assert (tmp_path / 'text').read_bytes() == b'\xc3\xa9\n'
    assert (tmp_path / 'bytes').read_bytes() == b'\xff'


def test_a_durable_file_is_synced_before_its_rename_and_its_name_after(tmp_path, monkeypatch):
    path, events = tmp_path / 'metadata.yaml', []
    rename = type(path).replace
    monkeypatch.setattr('os.fsync', lambda handle: events.append('sync'))
    monkeypatch.setattr(
        type(path), 'replace', lambda *args: (events.append('rename'), rename(*args))
    )
    replace_file(path, 'a')
    assert events == ['rename']
    replace_file(path, 'b', durable=True)
    assert events == ['rename', 'sync', 'rename', 'sync']
    assert path.read_text() == 'b'


def test_a_directory_appears_whole(tmp_path):
    with PendingDirectory(tmp_path / 'below' / 'bag') as part:
        assert part.name == 'bag'
        part.mkdir()
        (part / 'a').write_text('a')
        assert not (tmp_path / 'below' / 'bag').exists()
    assert names(tmp_path / 'below') == ['bag']
    assert names(tmp_path / 'below' / 'bag') == ['a']


def test_an_interrupted_directory_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt, match='now'), PendingDirectory(tmp_path / 'bag') as part:
        part.mkdir()
        raise KeyboardInterrupt('now')
    assert names(tmp_path) == []


def test_a_directory_made_meanwhile_is_kept(tmp_path):
    path = tmp_path / 'bag'
    with pytest.raises(OSError, match='not empty'), PendingDirectory(path) as part:
        part.mkdir()
        path.mkdir()
        (path / 'mine').write_text('')
    assert names(tmp_path) == ['bag']
    assert names(path) == ['mine']


def test_a_directory_can_be_replaced_after_a_kill(tmp_path):
    path = tmp_path / 'checkpoint'
    for directory in (path, backup_path(path)):
        directory.mkdir()
        (directory / 'old').write_text('')
    # what a killed process leaves
    PendingDirectory(path, replace=True).part.mkdir()
    with PendingDirectory(path, replace=True) as part:
        part.mkdir()
        (part / 'new').write_text('')
        assert names(path) == ['old']
    assert names(tmp_path) == ['checkpoint']
    assert names(path) == ['new']


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path):
    with sole_writer(tmp_path):
        second = sole_writer(tmp_path)
        with pytest.raises(PerceptionError, match='is being written by another process; wait'):
            second.__enter__()
        with sole_writer(tmp_path.parent):
            pass
    with sole_writer(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
