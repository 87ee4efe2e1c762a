"""Advice on recordings and frame stores: who does what the sentence says has no error left."""

import errno
import json
import os
import re
import shutil

from advice import named, QUICK, sentence_of
import cv2
from keypoint_perception.frames.store_writer import StoreWriter
from keypoint_perception.limits import VARIABLE
import pytest

FULL_DISK = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def store(tmp_path):
    return tmp_path / 'store'


def test_a_store_of_a_size_that_cannot_be_trained_on(folder, store, refused, accepted, train):
    accepted('extract', folder, '--out', store, '--size', 100)
    sentence = sentence_of(train(store))
    for number, size in enumerate(re.findall(r'\d+', named(r'--size (\d+ or \d+)', sentence))):
        assert 'extract into another store with' in sentence
        again = store.with_name(f'again{number}')
        accepted('extract', folder, '--out', again, '--size', size)
        assert train(again, out=f'trained{number}')[0] == 0


def test_a_store_of_another_size_than_stated(folder, store, accepted, train):
    accepted('extract', folder, '--out', store, '--size', 64)
    sentence = sentence_of(train(store, '--size', 96))
    assert train(store, '--size', named(r'use --size (\d+)', sentence), out='one')[0] == 0
    again = store.with_name('again')
    size = named(r'extract into another store with --size (\d+)', sentence)
    accepted('extract', folder, '--out', again, '--size', size)
    assert train(again, '--size', 96, out='two')[0] == 0


def test_a_run_that_is_resumed_on_a_store_of_another_size(folder, store, accepted, train):
    accepted('extract', folder, '--out', store, '--size', 64)
    assert train(store)[0] == 0
    accepted('extract', folder, '--out', store.with_name('other'), '--size', 96)
    sentence = sentence_of(train(store.with_name('other'), '--resume'))
    assert 'use --size' not in sentence  # the settings of a resumed run are its own
    again, size = store.with_name('again'), named(r'another store with --size (\d+)', sentence)
    accepted('extract', folder, '--out', again, '--size', size)
    assert train(again, '--resume')[0] == 0


def test_a_store_of_another_size_than_it_is_extended_with(folder, store, refused, accepted):
    extract = ('extract', folder, '--out')
    accepted(*extract, store, '--size', 64)
    sentence = refused(*extract, store, '--size', 96)
    assert 'delete it, or choose another --out or the same size' in sentence
    accepted(*extract, store, '--size', named(r'size of (\d+)x', sentence))
    accepted(*extract, store.with_name('other'), '--size', 96)
    shutil.rmtree(store)
    accepted(*extract, store, '--size', 96)


def test_a_size_that_is_too_small_for_a_run(folder, train, tmp_path):
    for path in folder.iterdir():  # wide images
        cv2.imwrite(str(path), cv2.imread(str(path))[16:24])
    assert 'choose a larger --size' in sentence_of(train(folder, '--size', 64))
    assert train(folder, '--size', 128)[0] == 0


@pytest.mark.parametrize(
    'damage',
    [
        lambda store: (store / 'store.json').write_text('{'),
        lambda store: (store / 'images.bin').write_bytes(b'7'),
        lambda store: (store / 'index.bin').unlink(),
        lambda store: change_header(store, format_version=99),
        lambda store: change_header(store, network_hw=[0, 0]),
    ],
    ids=['header', 'images', 'index', 'version', 'size'],
)
def test_a_damaged_store(folder, store, refused, accepted, train, damage):
    accepted('extract', folder, '--out', store, '--size', 64)
    damage(store)
    assert 'delete the store and extract it again' in refused(
        'extract', folder, '--out', store, '--size', 64
    )
    assert 'delete the store and extract it again' in sentence_of(train(store))
    shutil.rmtree(store)
    accepted('extract', folder, '--out', store, '--size', 64)


def change_header(store, **values):
    header = json.loads((store / 'store.json').read_text())
    (store / 'store.json').write_text(json.dumps(header | values))


@pytest.fixture
def interrupted(folder, store, run_verb, monkeypatch):
    """Return a store whose extraction was interrupted at the tenth image."""
    append, count = StoreWriter.append, iter(range(40))

    def stop(writer, *arguments):
        if next(count) == 9:
            raise KeyboardInterrupt
        append(writer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, 'append', stop)
        assert run_verb('extract', folder, '--out', store, '--size', 64)[0] == 130
    return store


def test_a_store_that_is_incomplete(folder, interrupted, accepted, train):
    assert 'run the same `extract` again' in sentence_of(train(interrupted))
    assert '40 frames' in accepted('extract', folder, '--out', interrupted, '--size', 64)
    assert train(interrupted)[0] == 0


def test_a_store_that_is_incomplete_and_extended(folder, interrupted, bag, refused, accepted):
    extend = ('extract', bag, '--out', interrupted, '--size', 64)
    sentence = refused(*extend)
    assert 'run its `extract` again first' in sentence
    accepted('extract', named("'([^']+)' was interrupted", sentence), *extend[2:])
    assert '60 frames' in accepted(*extend)


def test_a_full_disk(folder, store, refused, accepted, monkeypatch, model, tmp_path):
    def full(*_):
        raise FULL_DISK

    detect = ('detect', model, folder, '--out', tmp_path / 'k.csv', '--video', tmp_path / 'v.mp4')
    extract = ('extract', folder, '--out', store)
    for verb, function in ((extract, 'fsync'), (detect, 'replace')):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, full)
            assert 'make room, then run the same command again' in refused(*verb)
        accepted(*verb)


def test_topics(make_bag, store, refused, accepted):
    bag = make_bag(topics=('/left/image', '/right/image'))
    extract = ('extract', bag, '--out', store)
    listed = named(r'image topics \((.+)\); choose with --topic', refused(*extract))
    assert listed == '/left/image, /right/image'
    again = refused(*extract, '--topic', '/image')
    for topic in named(r'image topics: (.+); choose one of these with --topic', again).split(', '):
        accepted('extract', bag, '--out', store.with_name(topic[1:-6]), '--topic', topic)


def test_stamps(folder, store, bag, refused, accepted):
    extract = ('extract', folder, '--out', store)
    expected = refused(*extract, '--stamps', 'camera')
    assert 'expected header, bag, index or, with the number' in expected
    accepted(
        'extract',
        folder,
        '--out',
        store.with_name('a'),
        '--stamps',
        named(r'(index:\d+)', expected),
    )
    assert 'leave out --stamps, or use index' in refused(*extract, '--stamps', 'bag')
    accepted('extract', folder, '--out', store.with_name('b'), '--stamps', 'index')
    accepted(*extract)
    sentence = refused(*extract, '--stamps', 'index')
    assert 'extracted without --stamps, not with --stamps index:30; do as before' in sentence
    accepted(*extract)


@pytest.mark.parametrize(
    ('limit', 'verb'),
    [
        ('max_image_megapixels', 'extract {folder} --out {store}'),
        ('max_message_mb', 'extract {folder} --out {store}'),
        ('max_yaml_mb', 'train {folder} --config {config} --out {store}'),
        ('max_json_mb', 'detect {model} {folder} --out {store}'),
        ('max_model_mb', 'detect {model} {folder} --out {store}'),
    ],
)
def test_a_limit(request, refused, accepted, monkeypatch, tmp_path, limit, verb):
    config = tmp_path / 'quick.yaml'
    config.write_text(f'{QUICK}steps: 1\nsize: 64\nkeypoints: 2\n')
    fixtures = {
        n: request.getfixturevalue(n) for n in re.findall(r'\{(folder|bag|model|store)\}', verb)
    }
    arguments = [word.format(config=config, **fixtures) for word in verb.split()]
    # a second limit, which was raised before, must not be lost
    monkeypatch.setenv(VARIABLE, f'max_chunk_mb=300,{limit}=0.00001')
    sentence = refused(*arguments)
    monkeypatch.setenv(VARIABLE, named(f'set {VARIABLE}=([^ ;.)]+)', sentence))
    assert 'max_chunk_mb=300' in os.environ[VARIABLE]
    accepted(*arguments)


@pytest.mark.parametrize('limit', ['max_message_mb', 'max_chunk_mb'])
def test_a_limit_of_bags(bag, store, run_verb, accepted, monkeypatch, limit):
    monkeypatch.setenv(VARIABLE, f'{limit}=0.00001')
    code, _, err = run_verb('extract', bag, '--out', store)
    assert (code, 'follow the warning above' in err) == (2, True), err
    monkeypatch.setenv(VARIABLE, named(f'set {VARIABLE}=([^ ;.)]+)', err))
    assert '20 frames' in accepted('extract', bag, '--out', store)


def test_labels_of_several_cameras(make_bag, store, accepted, train, stamps_ns, positions):
    bag, path = make_bag(topics=('/left/image', '/right/image')), store.with_name('labels.csv')
    rows = (f'{t},spot,{u},{v}\n' for t, (u, v) in zip(stamps_ns, positions, strict=True))
    path.write_text('stamp_ns,keypoint,u,v\n' + ''.join(rows))
    both = ('--topic', '/left/image', '--topic', '/right/image')
    accepted('extract', bag, *both, '--out', store, '--size', 64)
    labelled = ('--objective', 'supervised', '--annotations', path)
    sentence = sentence_of(train(store, *labelled, keypoints=1))
    one = ('--topic', named("cameras at the same stamps .'([^']+)'", sentence))
    assert 'extract one of them into a frame store with --topic, and train on that' in sentence
    sentence = sentence_of(train(store, *labelled, *one, keypoints=1))
    assert 'give --stamps and --topic to `extract`, with another --out' in sentence
    accepted('extract', bag, *one, '--out', store.with_name('one'), '--size', 64)
    assert train(store.with_name('one'), *labelled, keypoints=1)[0] == 0


def test_stamps_of_a_store(folder, store, accepted, train):
    accepted('extract', folder, '--out', store, '--size', 64)
    assert 'give --stamps' in sentence_of(train(store, '--stamps', 'index:15'))
    again = store.with_name('again')
    accepted('extract', folder, '--out', again, '--size', 64, '--stamps', 'index:15')
    assert train(again)[0] == 0


def test_stamps_that_are_questioned(folder, store, make_bag, accepted):
    for number, path in enumerate(sorted(folder.iterdir())):  # one image in 100 s
        path.rename(folder / f'{10**18 + number * 10**11}.png')
    told = accepted('extract', folder, '--out', store)
    assert '--stamps bag' not in told  # a folder has no times of a bag
    rate = named('use --stamps (index:RATE) with the rate', told).replace('RATE', '15')
    told = accepted('extract', folder, '--out', store.with_name('again'), '--stamps', rate)
    assert 'The stamps of' not in told
    bag = make_bag(order=range(0, 80_000, 2000))
    told = accepted('extract', bag, '--out', store.with_name('by_header'), '--stamps', 'header')
    stamps = named('use --stamps (bag) or', told)
    told = accepted('extract', bag, '--out', store.with_name('by_bag'), '--stamps', stamps)
    assert 'use --stamps bag' not in told


def test_a_run_that_was_not_started(folder, train):
    sentence = sentence_of(train(folder, '--size', 64, '--resume'))
    assert 'or train without --resume' in sentence
    assert train(folder, '--size', 64)[0] == 0


def test_a_recording_that_changed_while_it_was_extracted(folder, interrupted, refused, accepted):
    next(folder.iterdir()).unlink()
    extract = ('extract', folder, '--out', interrupted, '--size', 64)
    assert 'or, if it has changed, delete the store' in refused(*extract)
    shutil.rmtree(interrupted)
    accepted(*extract)
