"""``detect``: run a model over a recording."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
import time
from typing import Annotated, TYPE_CHECKING

from keypoint_perception.commands.options import (
    EngineName,
    Model,
    Precision,
    Recording,
    Threads,
    Topics,
    Video,
)
from keypoint_perception.commands.outputs import check_file, check_outputs
from keypoint_perception.commands.progress import show_progress
from keypoint_perception.errors import ModelError, SourceError
import typer

if TYPE_CHECKING:
    from keypoint_perception.inference.estimator import Estimator
    import numpy as np


def detect(
    model: Model,
    source: Recording,
    out: Annotated[Path, typer.Option(help='Keypoint CSV to write.')],
    topic: Topics = None,
    video: Video = None,
    bag: Annotated[
        Path | None,
        typer.Option(help='rosbag2 directory to write the keypoints to, as PointCloud2.'),
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(help='CSV to write the landmarks of the model to.'),
    ] = None,
    engine: EngineName = 'auto',
    threads: Threads = 0,
    precision: Precision = 'fp32',
) -> None:
    """Run a model over a recording and write its keypoints."""
    check_file('--out', out)
    if landmarks is not None:
        check_file('--landmarks', landmarks)
    # An existing bag is rejected by its writer.
    new_bag = bag if bag is not None and not bag.exists() else None
    written = {'--out': out, '--video': video, '--bag': new_bag, '--landmarks': landmarks}
    check_outputs(written, {'the recording': source})
    from keypoint_perception.evaluation.detections import (
        detect_frames,
        Detection,
        KeypointSequence,
    )
    from keypoint_perception.evaluation.overlay_video import OverlayVideos
    from keypoint_perception.frames.annotations import KeypointWriter
    from keypoint_perception.frames.keypoint_bag import keypoint_topic, KeypointBag
    from keypoint_perception.frames.source import count_frames, read_frames
    from keypoint_perception.inference.engine import load_engine
    from keypoint_perception.inference.estimator import Estimator

    topics = list(dict.fromkeys(topic or []))
    loaded = load_engine(model, engine, threads=threads, precision=precision)
    estimator = Estimator(loaded)
    if landmarks is not None and not estimator.landmark_names:
        msg = f'Model {str(model)!r} has no landmarks; add some with `landmarks` first.'
        raise ModelError(msg)
    sequence, landmark_sequence = KeypointSequence(), KeypointSequence()
    with ExitStack() as outputs:
        # All outputs are opened first, so that none fails after the work is done.
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = outputs.enter_context(KeypointWriter(out))
        landmark_rows = None
        if landmarks is not None:
            landmarks.parent.mkdir(parents=True, exist_ok=True)
            landmark_rows = outputs.enter_context(KeypointWriter(landmarks))
        videos = None
        if video:
            overlay = OverlayVideos(video, topics, skeleton=estimator.skeleton)
            videos = outputs.enter_context(overlay)
        clouds = outputs.enter_context(KeypointBag(bag)) if bag else None
        started = time.perf_counter()
        detections = detect_frames(read_frames([source], topics), _estimate_both(estimator))
        total = count_frames([source], topics)
        count = len(estimator.keypoint_names)
        for frame, both in show_progress(detections, 'detecting', total=total):
            keypoints = both[:count]
            sequence.add(Detection(frame, keypoints))
            landmark_sequence.add(Detection(frame, both[count:]))
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
    print(f'engine: {loaded.name} ({loaded.description})')
    print(f'{len(sequence)} frames in {seconds:.1f} s, {len(sequence) / seconds:.0f} per s; wrote')
    for path in (out, landmarks, *(videos.paths if videos else ()), bag):
        if path is not None:
            print(f'  {path}')


def _estimate_both(estimator: Estimator) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    """Return a function from images to keypoints followed by landmarks, (K + L, 3) each."""
    import numpy as np

    return lambda images: [np.concatenate(e) for e in estimator.estimate_with_landmarks(images)]
