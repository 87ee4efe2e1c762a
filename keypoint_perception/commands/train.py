"""``train``: recordings -> a model directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
import os
from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.options import Stamps, Topics
from keypoint_perception.commands.outputs import check_outputs
from keypoint_perception.errors import TrainingError
from keypoint_perception.faults import fault_sentence, FULL
from keypoint_perception.model_directory import (
    MANIFEST_NAME,
    ONNX_NAME,
    OVERLAYS_NAME,
    REPORT_NAME,
    TENSORBOARD_NAME,
)
import typer

OBJECTIVE_HELP = (
    'Training objective, e.g. default or temporal_transport, or several joined by +; '
    'docs/objectives.md describes them. [default: default]'
)

INIT_HELP = (
    'Model directory to take the initial weights from, or none for random ones. [default: those '
    'that come with the package]'
)


def train(
    source: Annotated[
        list[str], typer.Argument(help='Bags, videos, image folders or frame stores.')
    ],
    out: Annotated[Path, typer.Option(help='Model directory to write.')],
    topic: Topics = None,
    stamps: Stamps = '',
    objective: Annotated[str | None, typer.Option(help=OBJECTIVE_HELP)] = None,
    keypoints: Annotated[int | None, typer.Option(help='Number of keypoints, K.')] = None,
    steps: Annotated[int | None, typer.Option(min=1, help='Total optimiser steps.')] = None,
    size: Annotated[
        int | None, typer.Option(help='Long side of the network input, px; a multiple of 8.')
    ] = None,
    seed: Annotated[int | None, typer.Option(help='Seed of weights and pairs.')] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help='Runs to start, with seeds from --seed on; only the best continues.'),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help='Whether the camera moves: auto, still or moving.')
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help='CSV of labels to learn from: stamp_ns,keypoint,u,v.')
    ] = None,
    tracks: Annotated[
        Path | None,
        typer.Option(help='CSV of a point tracker to learn identity from, as `detect` writes it.'),
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option(
            help='Share of each recording, its last frames, to withhold from learning, so that '
            '`evaluate` can score them. [default: 0]'
        ),
    ] = None,
    init: Annotated[str | None, typer.Option(help=INIT_HELP)] = None,
    config: Annotated[
        Path | None, typer.Option(help='YAML file of settings; options take precedence.')
    ] = None,
    resume: Annotated[
        bool, typer.Option('--resume', help='Resume from the checkpoint in --out.')
    ] = False,
    stop_when_settled: Annotated[
        bool,
        typer.Option(
            '--stop-when-settled', help='End the run early once its keypoints have settled.'
        ),
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help='Stop cleanly after this many minutes of training.'),
    ] = None,
) -> None:
    """Learn keypoints from recordings, without labels or with a few."""
    stated = {
        'objective': objective,
        'keypoints': keypoints,
        'steps': steps,
        'size': size,
        'seed': seed,
        'seeds': seeds,
        'holdout': holdout,
        'camera': camera,
        'annotations': None if annotations is None else str(annotations),
        'tracks': None if tracks is None else str(tracks),
        'init': init,
        'stop_when_settled': stop_when_settled or None,
    }
    from keypoint_perception.learning.initial.initial_weights import is_model

    init_model = Path(init) if init and is_model(init) else None
    recordings = {f'recording {i}': Path(name) for i, name in enumerate(source, start=1)}
    inputs = recordings | {
        'the labels': annotations,
        'the tracks': tracks,
        '--init': init_model,
    }
    check_outputs({'--out': out}, inputs, directories=('--out',))
    from keypoint_perception.commands.progress import progress_bars
    from keypoint_perception.evaluation.training_page import write_training_page
    from keypoint_perception.learning import training_loop as learning
    from keypoint_perception.learning.camera_advice import states_objective, suited_to_camera
    from keypoint_perception.learning.data.recordings import prepare_frames, settings_of_store
    from keypoint_perception.learning.resume import settings_of_run, step_limit
    from keypoint_perception.learning.stopping import Budget
    from keypoint_perception.model.checkpoint import has_checkpoint
    from keypoint_perception.model.onnx_export import export_model

    first = os.environ.get('RANK', '0') == '0'  # of the processes that torchrun started
    with _sole_writer(out, resume=resume) if first else nullcontext():
        if has_checkpoint(out) and not resume:
            msg = (
                f'{str(out)!r} already holds a model; continue it with --resume, or choose '
                'another --out.'
            )
            raise TrainingError(msg)
        defaults = settings_of_store(source)
        settings = settings_of_run(out, config, stated, resume=resume, defaults=defaults)
        limit = step_limit(settings, out, minutes=minutes, resume=resume)
        fabric = learning.make_fabric(settings)
        with progress_bars(quiet=not first) as bars:
            show, size = bars.counter('extracting frames'), settings.size
            store = prepare_frames(
                *(fabric, source, topic or [], out),
                size=size,
                stamps=stamps,
                resume=resume,
                progress=show,
            )
            if not (resume or states_objective(config, stated)):
                settings = suited_to_camera(settings, store)
            budget = Budget(steps=limit, minutes=minutes)
            outcome = learning.train(
                fabric, settings, store, out, budget=budget, resume=resume, report=bars.training
            )
        if not first:
            return
        write_training_page(out)
        manifest = export_model(out)
    print(f'stopped at step {outcome.step}: {outcome.reason}')
    if outcome.complaint:
        print(f'warning: {outcome.complaint}')
    if outcome.metrics['settling']:
        print(outcome.metrics['settling'])
    pairs_per_s, memory_mb = (outcome.metrics[key] for key in ('pairs_per_s', 'peak_memory_mb'))
    speed = f' at {pairs_per_s:.0f} pairs/s' if pairs_per_s else ''
    learned = outcome.metrics['frames']
    rest = f' ({len(store) - learned} withheld)' if settings.holdout else ''
    print(
        f'{manifest.keypoint_count} keypoints learned from {learned} frames{rest}{speed}, '
        f'{memory_mb} MB peak memory; wrote'
    )
    for name in (ONNX_NAME, MANIFEST_NAME, REPORT_NAME, OVERLAYS_NAME, TENSORBOARD_NAME):
        print(f'  {out / name}')


@contextmanager
def _sole_writer(out: Path, *, resume: bool) -> Iterator[None]:
    """Make and lock the directory of a run; after an error of the disk, say how it goes on."""
    from keypoint_perception.atomic_files import sole_writer
    from keypoint_perception.model.checkpoint import has_checkpoint

    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with sole_writer(out):
            yield
    except OSError as error:
        goes_on = f'{FULL} with --resume' if has_checkpoint(out) and not resume else FULL
        raise TrainingError(fault_sentence(error).replace(FULL, goes_on)) from error
    finally:
        if is_new:
            with suppress(OSError):
                out.rmdir()  # nothing was written
