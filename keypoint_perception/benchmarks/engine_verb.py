"""``benchmark engine``: latency, throughput and memory of a model in every engine that is here."""

from __future__ import annotations

from importlib.util import find_spec
import json
from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.options import Model
from keypoint_perception.commands.outputs import check_file
from keypoint_perception.model_directory import CHECKPOINT_NAME, FRAME_STORE_NAME
import typer

FRAMES = 64


def engine(
    model: Model,
    out: Annotated[Path, typer.Option(help='JSON to write.')],
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, max=256, help='Images of a call; may be repeated; 1, 2, 4 and 8.'),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=0, max=1024, help='CPU threads; may be repeated; 1. 0: its own choice.'),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help='Calls at each batch size that count.')] = 300,
    memory: Annotated[
        bool, typer.Option(help='Measure memory, in a process for each engine.')
    ] = True,
) -> None:
    """Measure a model in every engine that is here, in turns, and compare their keypoints."""
    check_file('--out', out)
    from keypoint_perception.benchmarks.engine_benchmark import (
        contenders,
        measure_engines,
        measure_memory,
    )
    from keypoint_perception.commands.progress import extraction_progress
    from keypoint_perception.errors import EngineError
    from keypoint_perception.evaluation.report import describe_machine, describe_model, now
    from keypoint_perception.inference.engine import candidates
    from keypoint_perception.manifest import read_manifest

    batches = sorted(set(batch or [1, 2, 4, 8]))
    manifest = read_manifest(model)
    there = (model / CHECKPOINT_NAME).is_dir() and find_spec('torch') is not None
    field = contenders(
        ['fp32', *manifest.precisions], [found[:2] for found in candidates()], torch=there
    )
    images, what = _frames(model, manifest.input_hw, max(FRAMES, *batches))
    values: dict = {
        'date': now(),
        'machine': describe_machine(),
        'model': describe_model(model, manifest),
        'input_hw': list(manifest.input_hw),
        'keypoints': manifest.keypoint_count,
        'images': what,
        'measured': [],
    }
    with extraction_progress('measuring') as progress:
        for count in threads or [1]:
            values['measured'].append(
                measure_engines(
                    model,
                    field,
                    images,
                    threads=count,
                    batches=batches,
                    runs=runs,
                    progress=progress,
                )
            )
    for measured in values['measured'] if memory else []:
        for contender, facts in zip(field, measured['engines'], strict=True):
            if 'failed' not in facts:
                try:
                    facts['memory'] = measure_memory(
                        model, contender, threads=measured['threads'], batch=batches[-1]
                    )
                except EngineError as error:
                    facts['memory'] = {'failed': str(error)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(values, indent=2) + '\n')
    print(table(values))
    print(f'wrote {out}')


def _frames(model: Path, input_hw: tuple[int, int], count: int):
    """Return recorded frames of the model's own if they are still there, else noise."""
    from keypoint_perception.errors import SourceError
    from keypoint_perception.frames.frame_store import FrameStore
    from keypoint_perception.sampling import evenly_spaced
    import numpy as np

    try:
        images = FrameStore.open(model / FRAME_STORE_NAME).images
        if images.shape[1:3] == tuple(input_hw) and len(images) >= count:
            return np.asarray(evenly_spaced(images, count)), 'recorded frames'
    except SourceError:
        pass  # it is said which images were used
    noise = np.random.default_rng(0).integers(0, 256, (count, *input_hw, 3), dtype=np.uint8)
    return noise, 'noise'


def table(values: dict) -> str:
    """Return what was measured, in Markdown."""
    machine, (height, width) = values['machine'], values['input_hw']
    lines = [
        f'{machine["processor"]}, {machine["cores"]} cores; K = {values["keypoints"]}, '
        f'{width}x{height}, {values["images"]}; times of a call in ms.',
        '',
    ]
    for measured in values['measured']:
        lines += [*_table(measured), '']
    return '\n'.join(lines)


def _table(measured: dict) -> list[str]:
    engines = measured['engines']
    working = [facts for facts in engines if 'failed' not in facts]
    batches = list(working[0]['batches']) if working else []
    first = batches[0] if batches else ''
    head = ['engine', 'threads', *(f'p{p}, batch {first}' for p in (50, 95, 99))]
    head += [*(f'images/s, batch {batch}' for batch in batches), 'memory, peak MB']
    head += [f'px from {measured["reference"]}: median, p95']
    lines = [_row(head), _row(['---'] * len(head))]
    for facts in working:
        title = ' '.join(filter(None, (facts['engine'], facts['precision'], facts['provider'])))
        of_one = facts['batches'][first]
        row = [title, str(facts['threads'] or 'own')]
        row += [f'{of_one[name]:.2f}' for name in ('p50_ms', 'p95_ms', 'p99_ms')]
        row += [f'{facts["batches"][batch]["images_per_s"]:.0f}' for batch in batches]
        row += [f'{facts.get("memory", {}).get("peak_mb", float("nan")):.0f}']
        row += [f'{facts["parity"]["median_px"]:.3f}, {facts["parity"]["p95_px"]:.3f}']
        lines.append(_row(row))
    failed = [facts for facts in engines if 'failed' in facts]
    return lines + [f'\n{f["engine"]} {f["precision"]}: {f["failed"]}' for f in failed]


def _row(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'
