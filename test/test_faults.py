"""Exceptions nobody expected become one sentence: what the user can do, or where to report."""

from __future__ import annotations

import errno
import os
from pathlib import Path
import re

from keypoint_perception.errors import SourceError
from keypoint_perception.faults import fault_sentence, REMEDIES, system_error
import pytest


def test_an_error_of_ours_says_what_it_says():
    assert fault_sentence(SourceError('It is gone; look elsewhere.')) == (
        'It is gone; look elsewhere.'
    )


def test_a_full_disk_is_named_with_its_path_and_remedy():
    error = OSError(errno.ENOSPC, 'No space left on device', '/disk/model')
    assert fault_sentence(error) == (
        "No space left on device: '/disk/model'; make room, then run the same command again."
    )


def test_an_error_of_the_system_keeps_a_text_of_its_own():
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    assert fault_sentence(error) == (
        "No usable temporary directory found in ['/tmp']; check the path."
    )


def test_a_library_that_repeats_the_text_of_a_full_disk_is_understood():
    error = RuntimeError('Error: No space left on device (os error 28)')
    assert system_error(error) == errno.ENOSPC
    assert fault_sentence(error).endswith(f'; {REMEDIES[errno.ENOSPC]}.')


@pytest.mark.parametrize(
    'text',
    [
        "[enforce fail at alloc_cpu.cpp:125] err == 0. DefaultCPUAllocator: can't allocate memory",
        'CUDA out of memory. Tried to allocate 2.00 GiB.',
        'OpenCV(4.9) error: (-4:Insufficient memory) Failed to allocate 9 bytes in function',
        'std::bad_alloc',
    ],
)
def test_exhausted_memory_is_understood_in_the_words_of_every_library(text):
    assert fault_sentence(RuntimeError(text)).startswith('Memory is exhausted; close other')


def test_a_full_disk_behind_another_exception_is_found():
    error = ValueError('cannot write')
    error.__cause__ = OSError(errno.EDQUOT, 'quota')
    assert system_error(error) == errno.EDQUOT


def test_a_loop_of_links_is_told_by_every_function_of_pathlib(tmp_path):
    (tmp_path / 'loop').symlink_to('loop')
    for use in (Path.resolve, Path.stat):
        with pytest.raises((OSError, RuntimeError)) as raised:
            use(tmp_path / 'loop', **({'strict': True} if use is Path.resolve else {}))
        assert fault_sentence(raised.value).endswith('; remove the link that leads to itself.')


def test_a_name_that_a_library_cannot_encode_is_told():
    name = os.fsdecode(b'Ma\xdfe')
    with pytest.raises(UnicodeEncodeError) as raised:
        name.encode()
    sentence = "The name 'Ma\\udcdfe' is not UTF-8, which some libraries require; rename it."
    assert fault_sentence(raised.value) == sentence
    with pytest.raises(UnicodeEncodeError) as raised:
        'ß'.encode('ascii')
    assert 'This is a bug' in fault_sentence(raised.value)


def test_a_bug_names_a_file_with_its_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    try:
        {}['missing']
    except KeyError as error:
        sentence = fault_sentence(error)
    assert "bug of keypoint_perception (KeyError: 'missing')" in sentence
    [path] = re.findall(r"with '([^']*)'\.$", sentence)
    kept = Path(path).read_text()
    assert "{}['missing']" in kept
    assert kept.endswith("KeyError: 'missing'\n")


def test_a_bug_is_told_even_where_no_file_can_be_written(monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', '/proc/nope')
    assert 'ZeroDivisionError' in fault_sentence(ZeroDivisionError('by zero'))


@pytest.mark.parametrize('number', sorted(REMEDIES))
def test_each_remedy_ends_a_sentence(number):
    sentence = fault_sentence(OSError(number, 'what'))
    assert sentence.endswith(f'; {REMEDIES[number]}.')
