"""The benchmark measures both nodes in one run, and ends when a process fails."""

import json
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')

from keypoint_perception.commands.program import main
from keypoint_perception.errors import EngineError
from keypoint_perception.ros import node_benchmark
from keypoint_perception.ros.node_benchmark import Load, measure_node, summary
import numpy as np

PROFILE = Path(__file__).parents[2] / 'config' / 'fastdds_large_images.xml'


def test_figures_of_one_node():
    figures = summary([float(i) for i in range(1, 102)], 1.234)
    assert figures == {
        'received': 101,
        'latency_ms': {'p50': 51.0, 'p95': 96.0, 'p99': 100.0},
        'cpu_s': 1.23,
    }
    assert np.isnan(summary([], 0)['latency_ms']['p50'])


def test_both_nodes_are_measured_in_one_run(ros_domain, model_dir):
    load = Load(frames=6, hz=100.0, height=48, width=64, warm_up=5, block=2)
    seen = []
    measured = measure_node(
        model_dir, load, dds_profile=PROFILE, progress=lambda *counts: seen.append(counts)
    )
    for name in node_benchmark.NODES:
        assert 0 < measured[name]['received'] <= 6
        assert measured[name]['latency_ms']['p50'] > 0
    json.dumps(measured)


def test_node_that_does_not_start_ends_the_benchmark(ros_domain, tmp_path, monkeypatch):
    monkeypatch.setattr(node_benchmark, 'START_PATIENCE_S', 3.0)
    load = Load(frames=1, height=4, width=4)
    with pytest.raises(EngineError, match=r'process benchmark_.* ended with .* before its work'):
        measure_node(tmp_path / 'nothing', load, dds_profile=None)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--model', '/nowhere'], "'/nowhere' is not a model directory"),
        (['--dds-profile', '/nowhere.xml'], "'/nowhere.xml' is no file; expected a Fast DDS prof"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(tmp_path, capsys, options, sentence):
    with pytest.raises(SystemExit, match='2'):
        main(['benchmark', 'node', '--out', str(tmp_path / 'out.json'), *options])
    assert sentence in capsys.readouterr().err
