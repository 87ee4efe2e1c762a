"""``landmarks``: fit named landmarks to a few labelled frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TYPE_CHECKING

from keypoint_perception.commands.learned_frames import read_exposure
from keypoint_perception.commands.options import (
    EngineName,
    Labels,
    Model,
    Recording,
    Stamps,
    Threads,
    Topic,
)
from keypoint_perception.commands.outputs import changed_model
from keypoint_perception.commands.progress import show_progress
from keypoint_perception.model_directory import LANDMARKS_NAME, MANIFEST_NAME, ONNX_NAME
import typer

if TYPE_CHECKING:
    from keypoint_perception.evaluation.detections import KeypointSequence
    from keypoint_perception.frames.annotations import Annotations
    from keypoint_perception.frames.frame import Frame
    from keypoint_perception.inference.estimator import Estimator
    import numpy as np


def landmarks(
    model: Model,
    source: Recording,
    annotations: Labels,
    topic: Topic = None,
    stamps: Stamps = '',
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, help='Fit on this many evenly spaced labelled frames and score the others.'
        ),
    ] = None,
    engine: EngineName = 'auto',
    threads: Threads = 0,
) -> None:
    """Fit landmarks, named by labels, to a few labelled frames and add them to the model."""
    from keypoint_perception.evaluation.landmark_report import build_landmarks
    from keypoint_perception.evaluation.report_tables import landmark_fit_table
    from keypoint_perception.frames.annotations import read_annotations
    from keypoint_perception.inference.engine import load_engine
    from keypoint_perception.inference.estimator import Estimator
    from keypoint_perception.manifest import read_manifest
    from keypoint_perception.model.landmark_head import network_digest
    from keypoint_perception.model.onnx_export import export_model
    from rich.console import Console

    with changed_model(model):
        labels = read_annotations(annotations)
        loaded = load_engine(model, engine, threads=threads)
        digest = network_digest(model)
        sequence, uv = _labelled_frames(
            (source, topic, stamps), Estimator(loaded), labels, annotations
        )
        names, hw = labels.names, loaded.input_hw
        fitted = build_landmarks(
            sequence, uv, names=names, network_hw=hw, path=annotations, frames=frames
        )
        exposure = read_exposure(read_manifest(model), source, stamps)
        withheld = exposure.withheld_mask(sequence.stamps_ns, sequence.topics)
        fitted.report['holdout'] = exposure.tell(int(withheld.sum()), len(withheld))
        export_model(model, replace(fitted, network_sha256=digest))
    console = Console()
    console.print(landmark_fit_table(fitted.report).terminal())
    console.print(fitted.report['holdout'], markup=False, highlight=False)
    error = fitted.report['held_out_error_percent']
    if error is not None:
        print(f'{error:.2f} % error on {fitted.report["held_out_frames"]} held-out frames')
    print(f'{len(fitted.names)} landmarks from {len(fitted.report["stamps_ns"])} frames; wrote')
    for name in (LANDMARKS_NAME, ONNX_NAME, MANIFEST_NAME):
        print(f'  {model / name}')


def _labelled_frames(
    recording: tuple[Path, str | None, str],
    estimator: Estimator,
    labels: Annotations,
    path: Path,
) -> tuple[KeypointSequence, np.ndarray]:
    """Return the keypoints of the labelled frames and their labels (N, L, 2), sorted by stamp."""
    from keypoint_perception.evaluation.detections import detect_frames, KeypointSequence
    from keypoint_perception.frames.annotations import match_labels
    from keypoint_perception.frames.source import count_frames, read_frames
    import numpy as np

    source, topic, stamps = recording
    topics = [] if topic is None else [topic]
    stamps_ns, sizes, sequence = [], [], KeypointSequence()
    pending = set(labels.stamps_ns.tolist())

    def labelled(frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            stamps_ns.append(frame.stamp_ns)
            sizes.append(frame.image.shape[:2])
            if frame.stamp_ns in pending:
                pending.remove(frame.stamp_ns)  # the label belongs to the first such frame
                yield frame

    frames = read_frames([source], topics, estimator.grey_range, stamps)
    shown = show_progress(frames, 'reading', total=count_frames([source], topics))
    for detection in detect_frames(labelled(shown), estimator.estimate_batch):
        sequence.add(detection)
    # Given all frames, so that labels without a frame are reported.
    match_labels(labels, np.array(stamps_ns, np.int64), np.array(sizes).reshape(-1, 2), path=path)
    sequence = sequence.in_stamp_order()
    row_of = {int(stamp): i for i, stamp in enumerate(labels.stamps_ns)}
    return sequence, labels.uv[[row_of[int(stamp)] for stamp in sequence.stamps_ns]]
