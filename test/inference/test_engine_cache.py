"""An engine is found under all that it depends on, and under nothing else."""

from dataclasses import replace
import logging
import os

from keypoint_perception.errors import EngineError
from keypoint_perception.inference import engine_cache
from keypoint_perception.inference.engine_cache import cache_folder, EngineCache, EngineKey
import pytest

KEY = EngineKey(
    onnx_sha256='ab' * 32,
    tensorrt='10.3.0',
    gpu='Orin (nvgpu)',
    capability='8.7',
    multiprocessors=16,
    platform='Linux aarch64',
    precision='fp16',
    input_hw=(96, 128),
    max_batch=2,
    options={'level': 3, 'workspace_bytes': 1 << 30, 'tf32': False},
)
OTHERS = {
    'onnx_sha256': 'cd' * 32,
    'tensorrt': '10.3.1',
    'gpu': 'Orin',
    'capability': '8.6',
    'multiprocessors': 8,
    'platform': 'Linux x86_64',
    'precision': 'fp32',
    'input_hw': (128, 96),
    'max_batch': 3,
    'options': {'level': 4, 'workspace_bytes': 1 << 30, 'tf32': False},
}


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / 'engines')


def test_every_part_of_the_key_is_in_the_test():
    assert set(OTHERS) == set(KEY.components()) - {'build_version'}


@pytest.mark.parametrize('part', OTHERS)
def test_each_part_makes_another_name(cache, part):
    other = replace(KEY, **{part: OTHERS[part]})
    cache.store(KEY, b'plan', {})
    assert other.name != KEY.name
    assert cache.find(other) is None
    assert cache.find(KEY) == b'plan'


def test_the_version_of_the_code_makes_another_name(monkeypatch):
    before = KEY.name
    monkeypatch.setattr(engine_cache, 'BUILD_VERSION', 99)
    assert KEY.name != before


def test_a_name_can_be_read():
    assert KEY.name.startswith('trt10.3.0-orin-nvgpu-sm8.7-fp16-128x96-b2-')
    assert KEY.name.endswith('.plan')


def test_timings_are_shared_by_the_engines_of_a_machine(cache):
    cache.store_timings(KEY, b'measured')
    assert cache.timings(replace(KEY, onnx_sha256='cd' * 32, precision='int8')) == b'measured'
    assert cache.timings(replace(KEY, tensorrt='10.4.0')) == b''
    assert cache.timings(replace(KEY, gpu='Other')) == b''


def test_an_engine_under_the_name_of_another_is_not_loaded(cache, caplog):
    cache.store(KEY, b'plan', {})
    other = replace(KEY, max_batch=3)
    for suffix in ('', '.json'):
        (cache.path / (KEY.name + suffix)).rename(cache.path / (other.name + suffix))
    assert cache.find(other) is None
    assert 'is not loaded and will be rebuilt: its sidecar belongs to another' in caplog.text


def test_a_tampered_engine_is_not_loaded_and_it_is_said(cache, caplog):
    cache.store(KEY, b'plan', {})
    (cache.path / KEY.name).write_bytes(b'evil')
    assert cache.find(KEY) is None
    assert f'{KEY.name} is not loaded and will be rebuilt: its SHA-256' in caplog.text


def test_tampered_timings_are_not_used(cache, caplog):
    cache.store_timings(KEY, b'measured')
    (cache.path / KEY.timings_name).write_bytes(b'evil____')
    assert cache.timings(KEY) == b''
    assert 'is ignored: its SHA-256' in caplog.text


def test_a_folder_that_others_can_write_is_neither_read_nor_written(cache, caplog):
    cache.store(KEY, b'plan', {})
    cache.path.chmod(0o777)
    assert cache.find(KEY) is None
    assert not cache.store(replace(KEY, max_batch=3), b'plan', {})
    assert 'others can write it (mode 0777)), so the engine will be rebuilt' in caplog.text
    assert len(list(cache.path.glob('*.plan'))) == 1


def test_a_place_that_cannot_be_written_is_said(tmp_path, caplog):
    (tmp_path / 'file').write_text('')
    cache = EngineCache(tmp_path / 'file' / 'engines')
    with cache.build_lock(KEY, lambda *_: None):
        assert cache.find(KEY) is None
        assert not cache.store(KEY, b'plan', {})
    assert 'cannot be stored in' in caplog.text


def test_the_engines_unused_for_longest_make_room(cache, monkeypatch, caplog):
    keys = [replace(KEY, max_batch=n) for n in (1, 2, 3)]
    for age, key in zip((300, 200, 100), keys, strict=True):
        cache.store(key, bytes(10000), {})
        os.utime(cache.path / key.name, (1_000_000 - age, 1_000_000 - age))
    assert cache.find(keys[0]) is not None  # used just now
    monkeypatch.setattr(engine_cache, 'MAX_CACHE_BYTES', 35_000)
    with caplog.at_level(logging.INFO, 'keypoint_perception'):
        cache.store(replace(KEY, max_batch=4), bytes(10000), {})
    assert [cache.find(key) is not None for key in keys] == [True, False, True]
    assert not (cache.path / f'{keys[1].name}.json').exists()
    assert f'removed the least recently used engine {cache.path / keys[1].name}' in caplog.text


def test_clearing_takes_what_is_ours_and_leaves_the_rest(cache):
    cache.store(KEY, bytes(1000), {})
    cache.store_timings(KEY, b'measured')
    with cache.build_lock(KEY, lambda *_: None):
        pass
    (cache.path / 'x.plan.77.part').write_bytes(b'')
    (cache.path / 'notes.txt').write_text('mine')
    (cache.path / 'ort.graph.onnx').write_bytes(b'')  # of version 0.1.0
    (cache.path / 'onnxruntime' / 'abc').mkdir(parents=True)
    assert EngineCache(cache.path / 'none').clear() == (0, 0)
    engines, size = cache.clear()
    assert engines == 1
    assert size > 1000
    assert [p.name for p in cache.path.iterdir()] == ['notes.txt']
    assert EngineCache(cache.path / 'none').clear() == (0, 0)


def test_a_builder_that_never_ends_is_named(cache, monkeypatch):
    monkeypatch.setattr(engine_cache, 'LOCK_TIMEOUT_S', 0.0)
    with (
        cache.build_lock(KEY, lambda *_: None),
        pytest.raises(EngineError, match=f'Process {os.getpid()} has been building .* more than'),
        cache.build_lock(KEY, lambda *_: None),
    ):
        pytest.fail('two build')


def test_another_engine_can_be_built_meanwhile(cache):
    with (
        cache.build_lock(KEY, lambda *_: None),
        cache.build_lock(replace(KEY, max_batch=3), lambda *_: None),
    ):
        pass


def test_the_folder_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.delenv('KEYPOINT_PERCEPTION_ENGINE_CACHE', raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative/is/ignored')
    assert cache_folder() == tmp_path / '.cache/keypoint_perception/engines'
    monkeypatch.setenv('XDG_CACHE_HOME', '/elsewhere')
    assert str(cache_folder()) == '/elsewhere/keypoint_perception/engines'
    monkeypatch.setenv('KEYPOINT_PERCEPTION_ENGINE_CACHE', '~/mine')
    assert cache_folder() == tmp_path / 'mine'


def test_a_user_without_a_home_is_asked_for_a_folder(monkeypatch):
    def homeless():
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.delenv('KEYPOINT_PERCEPTION_ENGINE_CACHE', raising=False)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(engine_cache.Path, 'home', homeless)
    with pytest.raises(EngineError, match=r'no home directory .*KEYPOINT_PERCEPTION_ENGINE_CACHE'):
        cache_folder()
