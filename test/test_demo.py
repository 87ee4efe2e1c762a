"""The recording of the demo is whole, and the demo's processes end with it."""

from __future__ import annotations

import os
from pathlib import Path

from demo import children as children_module
from demo.children import Children, DemoError
from demo.measure import read_journey
from keypoint_perception.frames.annotations import read_annotations
from keypoint_perception.frames.source import count_frames, list_image_topics, read_frames
import pytest

DEMO = Path(__file__).parents[1] / 'demo'


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Return a function that makes a module which other processes can run."""

    def write(name: str, source: str) -> str:
        (tmp_path / f'{name}.py').write_text(source)
        return name

    monkeypatch.chdir(tmp_path)
    return write


def test_the_recording_is_small_and_readable():
    size = sum(path.stat().st_size for path in (DEMO / 'arm').iterdir())
    assert size < 6_000_000
    assert list_image_topics(DEMO / 'arm') == ['/camera/image/compressed']
    assert count_frames([DEMO / 'arm']) == 1080


def test_the_labels_belong_to_the_recording():
    labels = read_annotations(DEMO / 'arm_annotations.csv')
    frames = list(read_frames([DEMO / 'arm']))
    assert [frame.stamp_ns for frame in frames] == labels.stamps_ns.tolist()
    assert {frame.image.shape for frame in frames} == {(120, 160, 3)}
    assert set(labels.names) == {'elbow', 'wrist', 'hand', 'finger_left', 'finger_right', 'cube'}


def test_the_labels_lie_where_the_cube_is():
    # the cube is the bluest thing of the scene: (B - R) at its label is far above the picture's
    labels = read_annotations(DEMO / 'arm_annotations.csv')
    cube = labels.uv[:, labels.names.index('cube')]
    bluer = []
    for frame, (u, v) in zip(read_frames([DEMO / 'arm']), cube, strict=True):
        if u == u:
            blueness = frame.image[..., 2].astype(int) - frame.image[..., 0]
            bluer.append(blueness[round(float(v)), round(float(u))] > blueness.mean() + 20)
    # elsewhere the fingers or its own yellow band are in front
    assert sum(bluer) > 0.4 * len(bluer)


def test_a_child_reports_and_ends(script):
    talk = script(
        'talk', 'import sys\nprint(\'{"event": "ready", "n": 3}\', flush=True)\nsys.stdin.read()'
    )
    with Children(dict(os.environ)) as children:
        child = children.start('talk', talk, [])
        assert child.wait_for('ready', others=[], patience_s=60)['n'] == 3
        assert child.process.poll() is None
    assert child.process.poll() is not None


def test_a_child_that_does_not_listen_ends_too(script, monkeypatch):
    monkeypatch.setattr(children_module, '_PATIENCE_S', 0.2)
    stubborn = script(
        'stubborn',
        'import signal\n'
        'signal.signal(signal.SIGINT, signal.SIG_IGN)\n'
        'print(\'{"event": "ready"}\', flush=True)\n'
        'signal.pause()',
    )
    started = []

    def go():
        with Children(dict(os.environ)) as children:
            started.append(children.start('stubborn', stubborn, []))
            started[0].wait_for('ready', others=[], patience_s=60)
            msg = 'a step failed'
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match='a step failed'):
        go()
    assert started[0].process.poll() is not None


def test_a_child_that_fails_speaks(script, tmp_path):
    fail = script('fail', "raise SystemExit('error: no such model.')")
    wait = script('wait', 'import signal\nsignal.pause()')
    with Children(dict(os.environ)) as children:
        failing = children.start('node', fail, [], log=tmp_path / 'node.log')
        waiting = children.start('receiver', wait, [], log=tmp_path / 'receiver.log')
        expected = 'node ended with exit code 1: error: no such model'
        with pytest.raises(DemoError, match=expected):
            waiting.wait_for('matched', others=[failing], patience_s=60)


def test_a_child_that_ends_without_a_report_is_said(script, tmp_path):
    silent = script('silent', "print('no report')")
    with Children(dict(os.environ)) as children:
        child = children.start('receiver', silent, [], log=tmp_path / 'receiver.log')
        with pytest.raises(DemoError, match='receiver ended with exit code 0'):
            child.wait_for('done', others=[], patience_s=60)


def test_latency_is_joined_by_stamp(tmp_path):
    (tmp_path / 'sent.csv').write_text('stamp_ns,published_ns\n1,1000000\n2,2000000\n3,3000000\n')
    (tmp_path / 'arrivals.csv').write_text('stamp_ns,arrived_ns\n3,5500000\n1,2500000\n')
    journey = read_journey(tmp_path / 'sent.csv', tmp_path / 'arrivals.csv')
    assert (journey.sent, journey.received) == (3, 2)
    assert sorted(journey.latency_ms) == [1.5, 2.5]
    assert journey.percentiles_ms['p50'] == 2.0
