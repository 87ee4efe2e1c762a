"""``benchmark step``: training pairs per second, the costliest operators, and the floor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from keypoint_perception.learning.config import TrainConfig


def step(
    out: Annotated[Path, typer.Option(help='JSON to write.')],
    config: Annotated[Path | None, typer.Option(help='YAML file with settings.')] = None,
    setting: Annotated[
        list[str] | None, typer.Option('--set', help='KEY=VALUE of a setting; repeatable.')
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help='Steps per round.')] = 3,
    rounds: Annotated[
        int, typer.Option(min=1, help='Number of rounds; the fastest is reported.')
    ] = 5,
) -> None:
    """Measure a training step on synthetic frames."""
    from keypoint_perception.benchmarks.learning.step_benchmark import measure_step
    from keypoint_perception.benchmarks.results import write_results
    from keypoint_perception.commands.progress import progress_bars
    from keypoint_perception.learning.config import read_config, read_yaml, to_values
    from keypoint_perception.learning.variants import changed, read_assignments

    base = {} if config is None else read_yaml(config)
    settings = read_config(None, changed(base, read_assignments(setting or [])))
    with progress_bars() as bars:
        progress = bars.counter('measuring')
        measured = measure_step(settings, steps=steps, rounds=rounds, progress=progress)
    results = write_results(out, {'settings': to_values(settings)} | measured)
    _show(settings, results)
    print(f'wrote {out}')


def _show(settings: TrainConfig, results: dict[str, Any]) -> None:
    print(
        f'{settings.title}, network {settings.network}, {settings.size} px, '
        f'{settings.batch_size} pairs a step, K = {settings.keypoints}'
    )
    print(
        f'{results["machine"]["processor"]}: {results["threads"]} threads, '
        f'{results["precision"]}, {results["device"]}'
    )
    rate, seconds = results['pairs_per_s'], results['step_s']
    print(f'  {rate:.1f} pairs/s, {1000 * seconds:.0f} ms a step (fastest round)')
    print(
        f'  floor {1000 * results["floor_s"]:.0f} ms: {results["flop"] / 1e9:.1f} GFLOP at the '
        f'{results["plain_flop_per_s"] / 1e9:.0f} GFLOP/s of a plain convolution; '
        f'{results["share_of_floor"]:.0%} of it reached'
    )
    for op in results['operators']:
        print(f'  {op["share"]:5.1%} {op["ms"]:9.1f} ms {op["calls"]:5d} x {op["name"]}')
