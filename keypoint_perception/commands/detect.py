"""``detect``: run a model over a recording."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
import time
from typing import Annotated

from keypoint_perception.commands.options import (
    EngineName,
    Model,
    Precision,
    PredictHidden,
    Recording,
    Stamps,
    Threads,
    Topics,
    Video,
)
from keypoint_perception.commands.outputs import check_outputs, print_run, videos_of
from keypoint_perception.commands.progress import show_progress
from keypoint_perception.errors import ModelError, SourceError
import typer


def detect(
    model: Model,
    source: Recording,
    out: Annotated[Path, typer.Option(help='Keypoint CSV to write.')],
    topic: Topics = None,
    stamps: Stamps = '',
    video: Video = None,
    bag: Annotated[
        Path | None, typer.Option(help='rosbag2 directory for the keypoints, as PointCloud2.')
    ] = None,
    landmarks: Annotated[
        Path | None, typer.Option(help='CSV to write the landmarks of the model to.')
    ] = None,
    engine: EngineName = 'auto',
    threads: Threads = 0,
    precision: Precision = 'fp32',
    predict_hidden: PredictHidden = True,
) -> None:
    """Run a model over a recording and write its keypoints."""
    # An existing bag is rejected by its writer.
    new_bag = bag if bag is not None and not bag.exists() else None
    files = {'--out': out, '--bag': new_bag, '--landmarks': landmarks} | videos_of(video)
    check_outputs(files, {'the recording': source}, directories=('--bag',))
    from keypoint_perception.evaluation import detections
    from keypoint_perception.evaluation.video.overlay_video import OverlayVideos
    from keypoint_perception.frames.annotations import KeypointWriter
    from keypoint_perception.frames.keypoint_bag import keypoint_topic, KeypointBag
    from keypoint_perception.frames.source import count_frames, read_frames
    from keypoint_perception.inference.engine import load_engine
    from keypoint_perception.inference.estimator import Estimator
    import numpy as np

    topics = list(dict.fromkeys(topic or []))
    loaded = load_engine(model, engine, threads=threads, precision=precision)
    estimator = Estimator(loaded, predict_hidden=predict_hidden)
    if landmarks is not None and not estimator.landmark_names:
        msg = f'Model {str(model)!r} has no landmarks; add some with `landmarks` first.'
        raise ModelError(msg)
    sequence, landmark_sequence = detections.KeypointSequence(), detections.KeypointSequence()
    with ExitStack() as outputs:
        # All outputs are opened first, so that none fails after the work is done.
        for path in filter(None, (out, landmarks)):
            path.parent.mkdir(parents=True, exist_ok=True)
        rows = outputs.enter_context(KeypointWriter(out))
        landmark_rows = outputs.enter_context(KeypointWriter(landmarks)) if landmarks else None
        videos = OverlayVideos(video, topics, skeleton=estimator.skeleton) if video else None
        if videos:
            outputs.enter_context(videos)
        clouds = outputs.enter_context(KeypointBag(bag)) if bag else None
        started = time.perf_counter()
        frames = read_frames([source], topics, estimator.grey_range, stamps)
        detected = detections.detect_frames(
            frames,
            lambda images: list(map(np.concatenate, estimator.estimate_with_landmarks(images))),
        )
        total, count = count_frames([source], topics), len(estimator.keypoint_names)
        for frame, both in show_progress(detected, 'detecting', total=total):
            keypoints = both[:count]
            sequence.add(detections.Detection(frame, keypoints))
            landmark_sequence.add(detections.Detection(frame, both[count:]))
            if videos:
                videos.add(frame.stamp_ns, frame.topic, frame.image, keypoints)
        seconds = time.perf_counter() - started
        if not len(sequence):
            msg = f'{str(source)!r} has no images; expected at least one.'
            raise SourceError(msg)
        # Recordings are in order of arrival, outputs in order of stamps.
        cameras = len(set(sequence.topics))
        for stamp_ns, camera, keypoints in sequence.in_stamp_order().rows():
            rows.write(stamp_ns, camera, estimator.keypoint_names, keypoints)
            if clouds:
                clouds.write(stamp_ns, keypoint_topic(camera, cameras=cameras), keypoints)
        if landmark_rows:
            for stamp_ns, camera, points in landmark_sequence.in_stamp_order().rows():
                landmark_rows.write(stamp_ns, camera, estimator.landmark_names, points)
    written = (out, landmarks, *(videos.paths if videos else ()), bag)
    print_run(f'{loaded.name} ({loaded.description})', len(sequence), seconds, written)
