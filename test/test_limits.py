"""The limits come from the environment, and a wrong one is refused."""

from __future__ import annotations

from keypoint_perception.errors import ConfigError
from keypoint_perception.limits import Limits, limits, remedy, VARIABLE
import pytest


def test_without_the_variable_the_defaults_hold(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert limits() == Limits()


@pytest.mark.parametrize('between', [',', ' ', ', '])
def test_the_variable_sets_several_limits(monkeypatch, between):
    monkeypatch.setenv(VARIABLE, f'max_chunk_mb=3{between}max_image_megapixels=1e2')
    assert limits() == Limits(max_chunk_mb=3.0, max_image_megapixels=100.0)


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('max_chunk_mb', r'expected NAME=NUMBER, got .max_chunk_mb.'),
        ('max_chunk_mb=much', r'expected NAME=NUMBER'),
        ('max_chunk_mb=0', r'max_chunk_mb: must be a number above 0'),
        ('max_chunk_mb=inf', r'max_chunk_mb: must be a number above 0'),
        ('max_chunks=1', r'has no .max_chunks.; known: max_chunk_mb'),
    ],
)
def test_a_wrong_limit_is_refused(monkeypatch, text, sentence):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError, match=sentence):
        limits()


def test_the_remedy_accepts_what_was_refused(monkeypatch):
    found = remedy('max_chunk_mb', 300.2).rpartition('set ')[2].partition('=')
    monkeypatch.setenv(found[0], found[2])
    assert limits().max_chunk_mb == 301
