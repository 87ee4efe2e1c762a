"""``benchmark``: learning, latency, throughput and memory, as JSON."""

from __future__ import annotations

from keypoint_perception.benchmarks.engine_command import engine
from keypoint_perception.benchmarks.extraction_command import extraction
from keypoint_perception.benchmarks.learning.curve_command import curve
from keypoint_perception.benchmarks.learning.learning_command import learning
from keypoint_perception.benchmarks.learning.step_command import step
from keypoint_perception.benchmarks.ros.node_command import node
from keypoint_perception.benchmarks.ros.record_command import record
import typer

benchmark = typer.Typer(help='Measure learning, latency, throughput and memory, as JSON.')
for measure in (curve, engine, extraction, learning, node, record, step):
    benchmark.command()(measure)
