"""Results of benchmarks as JSON, with their provenance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keypoint_perception.evaluation.report import describe_machine, now, write_json


def write_results(out: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the date and the machine to measurements, write them as JSON, and return them."""
    results = {'date': now(), 'machine': describe_machine(), **values}
    write_json(out, results)
    return results
