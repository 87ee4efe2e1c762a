"""The verbs `extract` and `benchmark extraction`, as a user types them."""

import json

from keypoint_perception.commands.program import main
from keypoint_perception.evaluation.report import describe_machine
from keypoint_perception.frames.frame_store import FrameStore
import pytest


def run(*arguments) -> int:
    with pytest.raises(SystemExit, match=r'\d') as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_extract_writes_a_store(camera_bag, tmp_path, capsys):
    out = tmp_path / 'store'
    assert run('extract', camera_bag, '--topic', '/camera/image_raw', '--out', out) == 0
    assert len(FrameStore.open(out)) == 3
    printed = capsys.readouterr()
    assert f'3 frames of 128x96 in {out}' in printed.out
    assert 'extracting' in printed.err


def test_extract_of_a_wrong_topic_ends_in_one_sentence(camera_bag, tmp_path, capsys):
    assert run('extract', camera_bag, '--topic', '/nowhere', '--out', tmp_path / 'store') == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == (
        f"error: '{camera_bag}' has no topic '/nowhere'; image topics: /camera/image_raw; choose "
        'one of these with --topic.'
    )


def test_benchmark_writes_both_rates_with_machine_and_date(tmp_path, capsys):
    out = tmp_path / 'figures' / 'extraction.json'
    assert run('benchmark', 'extraction', '--frames', 3, '--out', out) == 0
    figures = json.loads(out.read_text())
    assert figures['images'] == figures['extracted'] == 3
    assert figures['image_hw'] == [480, 640]
    assert figures['network_hw'] == [96, 128]
    assert figures['rosbags_images_per_s'] > 0
    assert figures['extraction_images_per_s'] > 0
    assert {'date', 'machine', 'source', 'ratio', 'peak_memory_mb'} <= figures.keys()
    assert figures['machine'] == describe_machine()
    assert 'rosbags alone' in capsys.readouterr().out


def test_benchmark_of_what_is_no_bag_ends_in_one_sentence(tmp_path, recordings, capsys):
    picture_folder = tmp_path / 'pictures'
    picture_folder.mkdir()
    (picture_folder / '1.png').write_bytes(b'')
    out = tmp_path / 'out.json'
    assert run('benchmark', 'extraction', '--source', picture_folder, '--out', out) == 2
    assert 'rosbags alone cannot read' in capsys.readouterr().err
