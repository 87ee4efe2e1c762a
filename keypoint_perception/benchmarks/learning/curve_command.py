"""``benchmark curve``: quality over learning time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.options import Model, Recording
from keypoint_perception.commands.outputs import check_file, check_outputs
from keypoint_perception.commands.progress import show_progress
import typer


def curve(
    model: Model,
    source: Recording,
    annotations: Annotated[Path, typer.Option(help='Labels: CSV stamp_ns,keypoint,u,v.')],
    out: Annotated[Path, typer.Option(help='JSON to write.')],
    topic: Annotated[
        str | None, typer.Option(help='Image topic; optional if there is only one.')
    ] = None,
    target: Annotated[
        list[float] | None,
        typer.Option(help='Explained value whose learning time is reported; repeatable.'),
    ] = None,
) -> None:
    """Score the snapshots of a run (setting snapshot_every_s): explained over learning time."""
    check_file('--out', out)
    check_outputs({'--out': out}, {'the recording': source, 'the labels': annotations})
    from keypoint_perception.benchmarks.learning.learning_curve import (
        check_target,
        CurvePoint,
        read_labelled_frames,
        score_snapshot,
        seconds_to,
    )
    from keypoint_perception.benchmarks.results import write_results
    from keypoint_perception.frames.annotations import match_labels, read_annotations
    from keypoint_perception.frames.source import read_frames
    from keypoint_perception.inference.estimator import Estimator
    from keypoint_perception.inference.torch_engine import TorchEngine
    from keypoint_perception.manifest import read_manifest
    from keypoint_perception.model.snapshots import find_snapshots

    targets = target or []
    for value in targets:
        check_target(value)
    manifest = read_manifest(model)
    snapshots = find_snapshots(model)
    labels = read_annotations(annotations)
    frames = read_labelled_frames(
        read_frames([source], [] if topic is None else [topic]),
        labels.stamps_ns,
        manifest.input_hw,
    )
    uv = match_labels(labels, frames.stamps_ns, frames.image_hw, path=annotations)
    points = []
    for snapshot in show_progress(snapshots, 'scoring', total=len(snapshots)):
        estimator = Estimator(TorchEngine(model, manifest, snapshot=snapshot.path))
        scores = score_snapshot(frames, uv, labels.names, estimator.estimate_batch)
        points.append(CurvePoint(snapshot.step, snapshot.elapsed_s, *scores))
    times = {f'{value:g}': seconds_to(points, value) for value in targets}
    write_results(
        out,
        {
            'model': str(model),
            'source': str(source),
            'annotations': str(annotations),
            'moments': [point._asdict() for point in points],
            'seconds_to': times,
        },
    )
    for point in points:
        print(f'{point.elapsed_s:8.1f} s {point.step:8d} steps  explained {point.explained:6.3f}')
    for name, seconds in times.items():
        print(f'{name} ' + ('was not reached' if seconds is None else f'after {seconds:.1f} s'))
    print(f'wrote {out}')
