"""``benchmark curve``: quality over learning time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.learned_frames import read_exposure
from keypoint_perception.commands.options import Labels, Model, Recording, Stamps, Topic
from keypoint_perception.commands.outputs import check_outputs
from keypoint_perception.commands.progress import show_progress
import typer


def curve(
    model: Model,
    source: Recording,
    annotations: Labels,
    out: Annotated[Path, typer.Option(help='JSON to write.')],
    topic: Topic = None,
    stamps: Stamps = '',
    target: Annotated[
        list[float] | None,
        typer.Option(
            help='Explained fraction (0 to 1); reports the training time until it is reached; '
            'repeatable.'
        ),
    ] = None,
) -> None:
    """Score the snapshots of a run against training time (requires snapshot_every_s)."""
    check_outputs({'--out': out}, {'the recording': source, 'the labels': annotations})
    from keypoint_perception.benchmarks.learning import learning_curve
    from keypoint_perception.benchmarks.results import write_results
    from keypoint_perception.frames.annotations import match_labels, read_annotations
    from keypoint_perception.frames.source import read_frames
    from keypoint_perception.inference.estimator import Estimator
    from keypoint_perception.inference.torch_engine import TorchEngine
    from keypoint_perception.manifest import read_manifest
    from keypoint_perception.model.snapshots import find_snapshots

    targets = target or []
    for value in targets:
        learning_curve.check_target(value)
    manifest = read_manifest(model)
    snapshots = find_snapshots(model)
    labels = read_annotations(annotations)
    recorded = read_frames([source], [] if topic is None else [topic], stamps=stamps)
    frames = learning_curve.read_labelled_frames(recorded, labels.stamps_ns, manifest.input_hw)
    uv = match_labels(labels, frames.stamps_ns, frames.image_hw, path=annotations)
    exposure = read_exposure(manifest, source, stamps)
    withheld = exposure.withheld_mask(frames.stamps_ns, frames.topics)
    points = []
    for snapshot in show_progress(snapshots, 'scoring', total=len(snapshots)):
        estimator = Estimator(TorchEngine(model, manifest, snapshot=snapshot.path))
        scores = learning_curve.score_snapshot(
            frames, uv, labels.names, estimator.estimate_batch, withheld
        )
        points.append(learning_curve.CurvePoint(snapshot.step, snapshot.elapsed_s, *scores))
    times = {f'{value:g}': learning_curve.seconds_to(points, value) for value in targets}
    inputs = {'model': str(model), 'source': str(source), 'annotations': str(annotations)}
    moments = [point._asdict() for point in points]
    write_results(out, {**inputs, 'moments': moments, 'seconds_to': times})
    for point in points:
        print(f'{point.elapsed_s:8.1f} s {point.step:8d} steps  explained {point.explained:6.3f}')
    for name, seconds in times.items():
        print(f'{name} ' + ('was not reached' if seconds is None else f'after {seconds:.1f} s'))
    print(f'wrote {out}')
