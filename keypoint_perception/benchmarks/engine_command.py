"""``benchmark engine``: latency, throughput and memory of a model in every available engine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TYPE_CHECKING

from keypoint_perception.commands.options import Model
from keypoint_perception.commands.outputs import check_outputs
from keypoint_perception.model_directory import CHECKPOINT_NAME, FRAME_STORE_NAME
import typer

if TYPE_CHECKING:
    import numpy as np

FRAMES = 64


def engine(
    model: Model,
    out: Annotated[Path, typer.Option(help='JSON to write.')],
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, max=256, help='Batch size; repeatable; by default 1, 2, 4 and 8.'),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(
            min=0, max=1024, help="CPU threads; repeatable; by default 1. 0: the engine's default."
        ),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help='Timed calls for each batch size.')] = 300,
    memory: Annotated[
        bool, typer.Option(help='Measure memory, in a separate process for each engine.')
    ] = True,
) -> None:
    """Measure a model in every available engine, in turns, and compare their keypoints."""
    check_outputs({'--out': out}, {})
    from keypoint_perception.benchmarks import engine_benchmark as benchmark
    from keypoint_perception.benchmarks.results import write_results
    from keypoint_perception.commands.progress import progress_bars
    from keypoint_perception.errors import EngineError
    from keypoint_perception.evaluation.report import describe_model
    from keypoint_perception.inference.engine import candidates
    from keypoint_perception.manifest import read_manifest

    batches = sorted(set(batch or [1, 2, 4, 8]))
    manifest = read_manifest(model)
    has_torch = (model / CHECKPOINT_NAME).is_dir() and find_spec('torch') is not None
    precisions, engines = ['fp32', *manifest.precisions], [found[:2] for found in candidates()]
    field = benchmark.contenders(precisions, engines, torch=has_torch)
    images, kind = _images(model, manifest.input_hw, max(FRAMES, *batches))
    with progress_bars() as bars:
        measure = partial(benchmark.measure_engines, progress=bars.counter('measuring'))
        measurements = [
            measure(model, field, images, threads=count, batches=batches, runs=runs)
            for count in threads or [1]
        ]
    for measured in measurements if memory else []:
        for contender, facts in zip(field, measured['engines'], strict=True):
            if 'failed' not in facts:
                load = {'threads': measured['threads'], 'batch': batches[-1]}
                try:
                    facts['memory'] = benchmark.measure_memory(model, contender, **load)
                except EngineError as error:
                    facts['memory'] = {'failed': str(error)}
    values = {
        'model': describe_model(model, manifest),
        'input_hw': list(manifest.input_hw),
        'keypoints': manifest.keypoint_count,
        'images': kind,
        'measured': measurements,
    }
    print(engine_tables(write_results(out, values)))
    print(f'wrote {out}')


def _images(model: Path, input_hw: tuple[int, int], count: int) -> tuple[np.ndarray, str]:
    """Return frames of the model's training, or noise if they are gone, and which it is."""
    from keypoint_perception.errors import SourceError
    from keypoint_perception.frames.frame_store import FrameStore
    from keypoint_perception.sampling import evenly_spaced
    import numpy as np

    try:
        images = FrameStore.open(model / FRAME_STORE_NAME).images
        if images.shape[1:3] == tuple(input_hw) and len(images) >= count:
            return np.asarray(evenly_spaced(images, count)), 'recorded frames'
    except SourceError:
        pass  # the results say which images were used
    noise = np.random.default_rng(0).integers(0, 256, (count, *input_hw, 3), dtype=np.uint8)
    return noise, 'noise'


def engine_tables(results: Mapping[str, Any]) -> str:
    """Return the results as a Markdown table for each number of threads."""
    machine, (height, width) = results['machine'], results['input_hw']
    title = (
        f'{machine["processor"]}, {machine["cores"]} cores; K = {results["keypoints"]}, '
        f'{width}x{height}, {results["images"]}; times of a call in ms.\n'
    )
    return '\n'.join([title, *(_table(measured) for measured in results['measured'])])


def _table(measured: Mapping[str, Any]) -> str:
    from keypoint_perception.evaluation.tables import markdown_table

    engines = measured['engines']
    working = [facts for facts in engines if 'failed' not in facts]
    batches = list(working[0]['batches']) if working else []
    first = batches[0] if batches else ''
    titles = ['engine', 'threads', *(f'p{p}, batch {first}' for p in (50, 95, 99))]
    titles += [*(f'images/s, batch {batch}' for batch in batches), 'memory, peak MB']
    titles.append(f'px from {measured["reference"]}: median, p95')
    rows = []
    for facts in working:
        latency, parity = facts['batches'][first], facts['parity']
        peak_mb = facts.get('memory', {}).get('peak_mb')
        rows.append(
            [
                ' '.join(filter(None, (facts[n] for n in ('engine', 'precision', 'provider')))),
                facts['threads'] or 'own',
                *(latency[name] for name in ('p50_ms', 'p95_ms', 'p99_ms')),
                *(f'{facts["batches"][batch]["images_per_s"]:.0f}' for batch in batches),
                None if peak_mb is None else f'{peak_mb:.0f}',
                f'{parity["median_px"]:.3f}, {parity["p95_px"]:.3f}',
            ]
        )
    failed = [facts for facts in engines if 'failed' in facts]
    lines = [f'\n{f["engine"]} {f["precision"]}: {f["failed"]}' for f in failed]
    return '\n'.join([markdown_table(titles, rows), *lines, ''])
