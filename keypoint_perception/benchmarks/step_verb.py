"""``benchmark step``: pairs a second of a configuration, where the time goes, and the floor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def step(
    out: Annotated[Path, typer.Option(help='JSON to write.')],
    config: Annotated[Path | None, typer.Option(help='YAML file with settings.')] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option('--set', help='KEY=VALUE of a setting; may be repeated.'),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help='Steps a round.')] = 3,
    rounds: Annotated[int, typer.Option(min=1, help='Rounds; the fastest counts.')] = 5,
) -> None:
    """Measure a step of learning on frames made for it."""
    from keypoint_perception.benchmarks.step_benchmark import measure_step
    from keypoint_perception.commands.progress import extraction_progress
    from keypoint_perception.evaluation.report import describe_machine, now
    from keypoint_perception.learning.config import read_config, read_yaml, to_values
    from keypoint_perception.learning.variants import changed, read_assignments

    base = {} if config is None else read_yaml(config)
    settings = read_config(None, changed(base, read_assignments(setting or [])))
    with extraction_progress('measuring') as progress:
        measured = measure_step(settings, steps=steps, rounds=rounds, progress=progress)
    provenance = {'date': now(), 'machine': describe_machine(), 'settings': to_values(settings)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(provenance | measured, indent=2) + '\n')
    _show(settings, provenance['machine'], measured)
    print(f'wrote {out}')


def _show(settings, machine: dict, measured: dict) -> None:
    print(
        f'{settings.title}, network {settings.network}, {settings.size} px, '
        f'{settings.batch_size} pairs a step, K = {settings.keypoints}'
    )
    print(
        f'{machine["processor"]}: {measured["threads"]} threads, {measured["precision"]}, '
        f'{measured["device"]}'
    )
    rate, seconds = measured['pairs_per_s'], measured['step_s']
    print(f'  {rate:.1f} pairs/s, {1000 * seconds:.0f} ms a step (fastest round)')
    print(
        f'  floor {1000 * measured["floor_s"]:.0f} ms: {measured["flop"] / 1e9:.1f} GFLOP at the '
        f'{measured["plain_flop_per_s"] / 1e9:.0f} GFLOP/s of a plain convolution; '
        f'{measured["share_of_floor"]:.0%} of it reached'
    )
    for operator in measured['operators']:
        print(
            f'  {operator["share"]:5.1%} {operator["ms"]:9.1f} ms {operator["calls"]:5d} x '
            f'{operator["name"]}'
        )
