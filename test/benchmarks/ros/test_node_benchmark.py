"""The node is measured beside a bare one; the benchmark leaves no process behind."""

from dataclasses import asdict
import json
import os
from pathlib import Path
import re
import select
import signal
import subprocess
import sys

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from keypoint_perception.benchmarks.ros import child_processes, image_publisher
from keypoint_perception.benchmarks.ros.latency_figures import (
    CloudArrival,
    growth_per_minute,
    newest_ages_ms,
    percentiles,
)
from keypoint_perception.benchmarks.ros.node_benchmark import (
    CameraLoad,
    measure_node,
    NODES,
    NodeSetup,
)
from keypoint_perception.benchmarks.ros.node_command import plan_loads
from keypoint_perception.benchmarks.ros.node_endurance import measure_idle, measure_overload
from keypoint_perception.benchmarks.ros.node_tables import node_tables
from keypoint_perception.commands.program import main
from keypoint_perception.errors import EngineError
import numpy as np

PROFILE = Path(__file__).parents[3] / 'config' / 'fastdds_large_images.xml'
MS = 1_000_000
ABOUT = {'date': 'now', 'machine': {'processor': 'a processor', 'cores': 2}, 'model': 'm'}
PATIENCE_S = 30.0


def test_percentiles_of_latencies():
    figures = percentiles([float(i) for i in range(1, 102)])
    assert figures == {'p50': 51.0, 'p95': 96.0, 'p99': 100.0, 'max': 101.0}
    assert percentiles([])['p50'] is None


def test_growth_is_a_slope_a_minute():
    assert growth_per_minute([0, 30, 60], [10, 11, 12]) == 2.0
    assert growth_per_minute([5], [1]) is None


def test_the_newest_keypoints_age_until_newer_ones_come():
    times_ms = [(0, 10), (20, 35), (30, 90)]
    clouds = [CloudArrival('', stamp * MS, arrived * MS) for stamp, arrived in times_ms]
    assert newest_ages_ms(clouds) == [35.0, 70.0]


def test_loads_of_the_command_line():
    loads = plan_loads('30,full', '640x480', '1,4', 300, None)
    assert [(load.hz, load.height, load.width, load.cameras) for load in loads] == [
        *((30.0, 480, 640, 1), (0.0, 480, 640, 1)),
        *((30.0, 480, 640, 4), (0.0, 480, 640, 4)),
    ]
    (load,) = plan_loads('12.5', '8x6', '1', 300, 4.0)
    assert (load.frames, load.duration_s) == (50, 4.0)


class Clock:
    """Time that advances only while somebody sleeps or works."""

    def __init__(self):
        self.now_s = 100.0

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


def sent_at(load: CameraLoad, sent: int, works_s: list[float], monkeypatch) -> list[float]:
    """Return when the images of a block are sent, each of which takes some time to send."""
    clock, sent_s = Clock(), []
    monkeypatch.setattr(image_publisher, 'time', clock)
    for _, works in zip(image_publisher.pace(asdict(load), sent), works_s, strict=False):
        sent_s.append(clock.now_s - 100)
        clock.now_s += works
    return sent_s


def test_a_late_image_is_followed_at_the_rate_and_not_at_once(ros_domain, monkeypatch):
    load = CameraLoad(hz=10.0, frames=12, block=4)
    found = sent_at(load, 0, [0.01, 0.25, 0.01, 0.01, 0.01], monkeypatch)
    np.testing.assert_allclose(found, [0, 0.1, 0.35, 0.45])
    assert len(sent_at(load, 10, [0.01] * 5, monkeypatch)) == 2  # of the last block
    assert image_publisher.turns(asdict(load), ['a', 'b']) == ['a', 'b'] * 3


def test_without_a_number_images_are_sent_for_a_duration(ros_domain, monkeypatch):
    full = CameraLoad(hz=0.0, seconds=1.0, block_s=0.5)
    found = sent_at(full, 0, [0.2] * 9, monkeypatch)
    np.testing.assert_allclose(found, [0.2, 0.4, 0.6])  # after the pause of 0.2 s
    assert image_publisher.turns(asdict(full), ['a', 'b']) == ['a', 'b'] * 2
    timed = CameraLoad(hz=10.0, frames=0, seconds=0.35, block_s=0.35)
    np.testing.assert_allclose(sent_at(timed, 0, [0.01] * 9, monkeypatch), [0, 0.1, 0.2, 0.3])
    assert image_publisher.turns(asdict(timed), ['a']) == ['a']


def case_of(measured: dict, cameras: int, hz: float | None) -> dict:
    (case,) = [c for c in measured['cases'] if (c['cameras'], c['hz']) == (cameras, hz)]
    return case


def test_both_nodes_are_measured_in_one_run(ros_domain, model_dir):
    small = {'height': 48, 'width': 64, 'block': 2, 'block_s': 0.3, 'seconds': 0.3}
    loads = [
        CameraLoad(hz=100.0, frames=6, **small),
        CameraLoad(hz=0.0, **small),
        CameraLoad(hz=100.0, frames=4, cameras=2, **small),
    ]
    seen = []
    setup = NodeSetup(model_dir, dds_profile=PROFILE)
    measured = measure_node(setup, loads, progress=lambda *spent: seen.append(spent))
    assert seen[-1] == (pytest.approx(0.8), pytest.approx(0.8))
    assert [case_of(measured, 1, 100.0)[name]['sent'] for name in NODES] == [6, 6]
    assert [case_of(measured, 2, 100.0)[name]['sent'] for name in NODES] == [8, 8]
    for case in measured['cases']:
        for name in NODES:
            node = case[name]
            assert 0 < node['received'] == node['sent'] - node['lost']
            assert node['latency_ms']['p50'] > 0
        above_ms = case['perception']['latency_ms']['p50'] - case['bare']['latency_ms']['p50']
        assert case['above_bare_ms'] == pytest.approx(above_ms)
        assert case['beyond_engine_ms'] == pytest.approx(above_ms - case['engine_ms'])
    full = case_of(measured, 1, None)
    assert full['bare']['sent'] > 6
    text = node_tables(ABOUT | json.loads(json.dumps(measured)))
    assert text.count('| perception |') == 3


def test_an_idle_node(ros_domain, model_dir):
    load = CameraLoad(hz=50.0, height=48, width=64, frames=20)
    measured = measure_idle(NodeSetup(model_dir), load, progress=lambda *spent: None)
    assert measured['idle']['images_sent'] == 20
    assert measured['idle']['subscriptions'] == 0
    assert measured['idle']['memory_mb']['last'] > 10
    assert '| % of a core |' in node_tables(ABOUT | json.loads(json.dumps(measured)))


def test_an_overloaded_node(ros_domain, model_dir):
    load = CameraLoad(height=48, width=64)
    measured = measure_overload(NodeSetup(model_dir), load, 1.0, progress=lambda *spent: None)
    overload = measured['overload']
    assert 0 < overload['received'] < overload['sent']
    assert overload['sent_per_engine_time'] <= 10.1
    assert overload['newest_age_ms']['max'] >= overload['latency_ms']['p50']
    share = overload['newest_age_ms']['max'] / overload['engine_ms']
    # the engine's time, which is short here, is rounded to microseconds
    rounded = 0.01 + 0.0005 / overload['engine_ms']
    assert overload['newest_age_in_engine_times']['max'] == pytest.approx(share, rel=rounded)
    text = node_tables(ABOUT | json.loads(json.dumps(measured)))
    assert f'({overload["newest_age_in_engine_times"]["max"]:.2f})' in text


def test_a_node_that_does_not_start_ends_the_benchmark(ros_domain, model_dir, monkeypatch):
    monkeypatch.setattr(child_processes, 'START_TIMEOUT_S', 3.0)
    nowhere = NodeSetup(model_dir / 'nowhere')
    with pytest.raises(
        EngineError, match=r'process (cloud_rec|image_pub).* ended with .* before its work'
    ):
        measure_idle(
            nowhere, CameraLoad(frames=1, height=4, width=4), progress=lambda *spent: None
        )


def children_of(pid: int) -> list[int]:
    return [int(c) for c in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(ros_domain, model_dir, tmp_path, how):
    command = [sys.executable, '-m', 'keypoint_perception', 'benchmark', 'node', '--rates', '10']
    command += ['--model', str(model_dir), '--sizes', '64x48', '--cameras', '1']
    command += ['--seconds', '1000', '--out', str(tmp_path / 'out.json')]
    benchmark = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = []
    for line in benchmark.stderr:
        said.append(line)
        if 'listening to /benchmark' in line:
            break
    children = children_of(benchmark.pid)
    assert len(children) == 4, said
    ends = [os.pidfd_open(pid) for pid in children]
    benchmark.send_signal(how)
    said.append(benchmark.stderr.read())
    benchmark.stderr.close()
    assert benchmark.wait() == (130 if how == signal.SIGINT else -how)
    for end in ends:  # readable when the process has ended
        assert select.select([end], [], [], PATIENCE_S)[0]
        os.close(end)
    assert 'Traceback' not in ''.join(said)


@pytest.mark.parametrize(
    ('module', 'arguments'),
    [('image_publisher', ['{"node": ["/image"]}']), ('cloud_receiver', [])],
)
def test_a_child_whose_parent_is_gone_ends_silently(ros_domain, module, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, '-m', f'keypoint_perception.benchmarks.ros.{module}', *arguments]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    _, errors = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, errors) == (0, '')


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--model', '/nowhere'], "'/nowhere' is not a model directory"),
        (['--model', '/nowhere', '--idle'], "'/nowhere' is not a model directory"),
        (
            ['--dds-profile', '/nowhere.xml'],
            "'/nowhere.xml' is not a file; expected a Fast DDS prof",
        ),
        (['--rates', '30,fast'], "--rates '30,fast' is invalid; expected a list such as 30,"),
        (['--rates', '0'], "--rates '0' is invalid"),
        (['--sizes', '640'], "--sizes '640' is invalid; expected a list such as 640x480,19"),
        (['--cameras', '1,99'], "--cameras '1,99' is invalid; expected .* at most 16"),
    ],
)
def test_invalid_options_are_refused(tmp_path, capsys, options, sentence):
    with pytest.raises(SystemExit, match='2'):
        main(['benchmark', 'node', '--out', str(tmp_path / 'out.json'), *options])
    assert re.search(sentence, capsys.readouterr().err)
