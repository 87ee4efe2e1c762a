"""``landmarks``: give points names, from a handful of labelled frames."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.options import EngineName, Model, Recording, Threads
from keypoint_perception.commands.progress import show_progress
from keypoint_perception.model_directory import LANDMARKS_NAME, MANIFEST_NAME, ONNX_NAME
import typer


def landmarks(
    model: Model,
    source: Recording,
    annotations: Annotated[Path, typer.Option(help='Labels: CSV stamp_ns,keypoint,u,v.')],
    topic: Annotated[
        str | None, typer.Option(help='Image topic; may be left out where there is one.')
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, help='Use so many labelled frames, spread evenly, and score the others.'
        ),
    ] = None,
    engine: EngineName = 'auto',
    threads: Threads = 0,
) -> None:
    """Name points: fit them to a few labelled frames and export them with the model."""
    from keypoint_perception.evaluation.landmark_report import name_points
    from keypoint_perception.evaluation.report_tables import landmark_fit_table
    from keypoint_perception.frames.annotations import read_annotations
    from keypoint_perception.inference.engine import load_engine
    from keypoint_perception.inference.estimator import Estimator
    from keypoint_perception.model.landmark_head import network_digest
    from keypoint_perception.model.onnx_export import export_model
    from keypoint_perception.sole_writer import sole_writer
    from rich.console import Console

    labels = read_annotations(annotations)
    with sole_writer(model) if model.is_dir() else nullcontext():
        loaded = load_engine(model, engine, threads=threads)
        digest = network_digest(model)
        track, uv = _labelled_frames(source, topic, Estimator(loaded), labels, annotations)
        named = name_points(
            track,
            uv,
            names=labels.names,
            network_hw=loaded.input_hw,
            path=annotations,
            frames=frames,
        )
        export_model(model, replace(named, network_sha256=digest))
    Console().print(landmark_fit_table(named.report).terminal())
    error = named.report['held_out_error_percent']
    if error is not None:
        print(f'{error:.2f} % on the {named.report["held_out_frames"]} labelled frames not used')
    print(f'{len(named.names)} points named from {len(named.report["stamps_ns"])} frames; wrote')
    for name in (LANDMARKS_NAME, ONNX_NAME, MANIFEST_NAME):
        print(f'  {model / name}')


def _labelled_frames(source, topic, estimator, labels, path):
    """Return the keypoints of the labelled frames and their labels (N, L, 2), by stamp."""
    from keypoint_perception.evaluation.detections import detect_frames, Track
    from keypoint_perception.frames.annotations import match_labels
    from keypoint_perception.frames.source import count_frames, read_frames
    import numpy as np

    topics = [] if topic is None else [topic]
    stamps_ns, sizes, track = [], [], Track()
    waiting = set(labels.stamps_ns.tolist())

    def labelled(frames):
        for frame in frames:
            stamps_ns.append(frame.stamp_ns)
            sizes.append(frame.image.shape[:2])
            if frame.stamp_ns in waiting:
                waiting.remove(frame.stamp_ns)  # where two frames have a stamp, it is the first's
                yield frame

    recording = read_frames([source], topics)
    shown = show_progress(recording, 'reading', total=count_frames([source], topics))
    for detection in detect_frames(labelled(shown), estimator.estimate_batch):
        track.add(detection)
    # a label that no frame has is spoken of beside all frames that there are
    match_labels(labels, np.array(stamps_ns, np.int64), np.array(sizes).reshape(-1, 2), path=path)
    track = track.in_stamp_order()
    place = {int(stamp): i for i, stamp in enumerate(labels.stamps_ns)}
    return track, labels.uv[[place[int(stamp)] for stamp in track.stamps_ns]]
