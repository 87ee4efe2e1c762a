"""``benchmark``: learning, latency, throughput and memory, as JSON."""

from __future__ import annotations

from keypoint_perception.benchmarks.curve_verb import curve
from keypoint_perception.benchmarks.engine_verb import engine
from keypoint_perception.benchmarks.extraction_verb import extraction
from keypoint_perception.benchmarks.learning_verb import learning
from keypoint_perception.benchmarks.node_verb import node
from keypoint_perception.benchmarks.record_verb import record
from keypoint_perception.benchmarks.step_verb import step
import typer

# One line a benchmark.
BENCHMARKS = (curve, engine, extraction, learning, node, record, step)

benchmark = typer.Typer(help='Measure learning, latency, throughput and memory, as JSON.')


@benchmark.callback()
def benchmarks() -> None:
    """Measure learning, latency, throughput and memory, as JSON."""


for measure in BENCHMARKS:
    benchmark.command()(measure)
