"""``benchmark``: learning, latency, throughput and memory, as JSON."""

from __future__ import annotations

from keypoint_perception.commands.benchmark_curve import curve
from keypoint_perception.commands.benchmark_engine import engine
from keypoint_perception.commands.benchmark_extraction import extraction
from keypoint_perception.commands.benchmark_learning import learning
from keypoint_perception.commands.benchmark_node import node
from keypoint_perception.commands.benchmark_record import record
from keypoint_perception.commands.benchmark_step import step
import typer

# One line a benchmark.
BENCHMARKS = (curve, engine, extraction, learning, node, record, step)

benchmark = typer.Typer(help='Measure learning, latency, throughput and memory, as JSON.')


@benchmark.callback()
def benchmarks() -> None:
    """Measure learning, latency, throughput and memory, as JSON."""


for measure in BENCHMARKS:
    benchmark.command()(measure)
