"""``benchmark``: latency, throughput and memory, as JSON."""

from __future__ import annotations

from keypoint_perception.commands.benchmark_extraction import extraction
from keypoint_perception.commands.benchmark_node import node
import typer

# One line a benchmark.
BENCHMARKS = (extraction, node)

benchmark = typer.Typer(help='Measure latency, throughput and memory, as JSON.')


@benchmark.callback()
def benchmarks() -> None:
    """Measure latency, throughput and memory, as JSON."""


for measure in BENCHMARKS:
    benchmark.command()(measure)
