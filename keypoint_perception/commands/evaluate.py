"""``evaluate``: measure a model on a recording, with or without labels."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
import time
from typing import Annotated, Any, TYPE_CHECKING

from keypoint_perception.commands.learned_frames import read_exposure
from keypoint_perception.commands.options import (
    EngineName,
    Model,
    Precision,
    Recording,
    Stamps,
    Threads,
    Topic,
    Video,
)
from keypoint_perception.commands.outputs import check_outputs, print_run, videos_of
from keypoint_perception.commands.progress import show_progress
from keypoint_perception.errors import PerceptionError, SourceError
import typer

OUT_HELP = (
    'JSON report to write, with an HTML page beside it that also replaces the report.html of '
    'the model.'
)

if TYPE_CHECKING:
    from keypoint_perception.evaluation.recording_measurements import RecordingMeasurements
    from keypoint_perception.frames.annotations import Annotations
    from keypoint_perception.holdout import Exposure
    from keypoint_perception.inference.estimator import Estimator


def evaluate(
    model: Model,
    source: Recording,
    out: Annotated[Path, typer.Option(help=OUT_HELP)],
    topic: Topic = None,
    stamps: Stamps = '',
    annotations: Annotated[
        Path | None,
        typer.Option(help='Labels, CSV stamp_ns,keypoint,u,v; default: label-free measures only.'),
    ] = None,
    video: Video = None,
    engine: EngineName = 'auto',
    threads: Threads = 0,
    precision: Precision = 'fp32',
) -> None:
    """Measure the quality of a model's keypoints on a recording, with or without labels."""
    inputs = {'the recording': source, 'the labels': annotations}
    page_path = out.with_suffix('.html')
    files = {'--out': out, 'the page beside --out': page_path} | videos_of(video)
    check_outputs(files, inputs)
    from keypoint_perception.atomic_files import replace_file
    from keypoint_perception.evaluation import report
    from keypoint_perception.evaluation.report_page import report_page
    from keypoint_perception.evaluation.report_tables import evaluation_tables
    from keypoint_perception.evaluation.scores import plain_background_share
    from keypoint_perception.frames.annotations import read_annotations
    from keypoint_perception.inference.engine import load_engine
    from keypoint_perception.inference.estimator import Estimator
    from keypoint_perception.manifest import read_manifest
    import numpy as np
    from rich.console import Console

    labels = None if annotations is None else (annotations, read_annotations(annotations))
    manifest = read_manifest(model)
    loaded = load_engine(model, engine, threads=threads, precision=precision)
    estimator = Estimator(loaded)
    exposure = read_exposure(manifest, source, stamps)
    started = time.perf_counter()
    recording = _detect(source, topic, stamps, estimator, video, exposure)
    detected = time.perf_counter()
    held_out = exposure.describe(sum(recording.withheld), len(recording.withheld))
    values: dict[str, Any] = {
        'format_version': report.FORMAT_VERSION,
        'holdout': {'share': manifest.holdout, **held_out},
        'recording': report.describe_recording(source, recording.sequence),
        'model': report.describe_model(model, manifest),
        'engine': {'name': loaded.name, 'description': loaded.description},
    }
    if labels is not None:
        values |= _score(model, recording, *labels, estimator)
    values['label_free'] = recording.label_free(
        lambda images: np.stack(estimator.estimate_batch(images)), estimator.keypoint_names
    )
    if labels is not None:
        values['plain_background_share'] = plain_background_share(values)
    durations = {'detection': detected - started, 'measures': time.perf_counter() - detected}
    machine = report.describe_machine()
    values |= {'durations_s': durations, 'machine': machine, 'date': report.now()}
    report.write_json(out, values)
    page = report_page(values, recording, model).encode(errors='backslashreplace')
    replace_file(page_path, page)
    written = [out, page_path, _update_model(model, page), *videos_of(video).values()]
    console = Console()
    console.print(held_out['sentence'], '', markup=False, highlight=False)
    for table in evaluation_tables(values):
        console.print(table.terminal(), '')
    engine = '{name} ({description})'.format(**values['engine'])
    print_run(engine, len(recording.sequence), durations['detection'], written)


def _detect(
    source: Path,
    topic: str | None,
    stamps: str,
    estimator: Estimator,
    video: Path | None,
    exposure: Exposure,
) -> RecordingMeasurements:
    """Run the model over the recording."""
    from keypoint_perception.evaluation.background_points import BackgroundPoints
    from keypoint_perception.evaluation.detections import detect_frames
    from keypoint_perception.evaluation.recording_measurements import RecordingMeasurements
    from keypoint_perception.evaluation.video.overlay_video import OverlayVideo
    from keypoint_perception.evaluation.video.preview_clip import PreviewClip
    from keypoint_perception.frames.source import count_frames, read_frames

    topics = [] if topic is None else [topic]
    total = count_frames([source], topics)
    preview = PreviewClip(total, skeleton=estimator.skeleton)
    recording = RecordingMeasurements(
        preview=preview, exposure=exposure, background=BackgroundPoints(total)
    )
    overlay = None if video is None else OverlayVideo(video, skeleton=estimator.skeleton)
    with overlay or nullcontext():
        detections = detect_frames(
            read_frames([source], topics, estimator.grey_range, stamps),
            estimator.estimate_batch,
        )
        recording.add_all(show_progress(detections, 'detecting', total=total), overlay)
        if not len(recording.sequence):
            msg = f'{str(source)!r} has no images; expected at least one.'
            raise SourceError(msg)
    return recording


def _score(
    model: Path,
    recording: RecordingMeasurements,
    path: Path,
    labels: Annotations,
    estimator: Estimator,
) -> dict[str, Any]:
    """Return the measures that need labels, read from ``path``."""
    from keypoint_perception.evaluation.landmark_report import score_landmarks
    from keypoint_perception.evaluation.scores import score_labels
    from keypoint_perception.frames.annotations import match_labels
    from keypoint_perception.landmark_map import read_landmarks

    sequence = recording.sequence.in_stamp_order()
    uv = match_labels(labels, sequence.stamps_ns, sequence.image_hw, path=path)
    withheld = recording.exposure.withheld_mask(sequence.stamps_ns, sequence.topics)
    scores = {'annotations': str(path)} | score_labels(
        sequence,
        uv,
        label_names=labels.names,
        keypoint_names=estimator.keypoint_names,
        withheld=withheld,
    )
    landmarks = read_landmarks(model) if estimator.landmark_names else None
    if landmarks is not None:
        scores['landmarks'] = score_landmarks(
            sequence,
            uv,
            landmarks,
            names=labels.names,
            network_hw=estimator.input_hw,
            withheld=withheld,
        )
    return scores


def _update_model(model: Path, page: bytes) -> Path | None:
    """Write the page into the model directory unless that is in use or read-only."""
    import logging

    from keypoint_perception.atomic_files import sole_writer
    from keypoint_perception.manifest import update_file
    from keypoint_perception.model_directory import REPORT_NAME

    try:
        with sole_writer(model):
            update_file(model, REPORT_NAME, page)
    except (PerceptionError, OSError) as error:
        log = logging.getLogger('keypoint_perception')
        log.warning('%s of %r is not updated (%s).', REPORT_NAME, str(model), error)
        return None
    return model / REPORT_NAME
