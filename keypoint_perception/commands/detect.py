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
    Recording,
    Threads,
    Video,
)
from keypoint_perception.commands.outputs import check_file, check_outputs
from keypoint_perception.commands.progress import show_progress
from keypoint_perception.errors import ModelError, SourceError
import typer


def detect(
    model: Model,
    source: Recording,
    out: Annotated[Path, typer.Option(help='Keypoint CSV to write.')],
    topic: Annotated[
        list[str] | None,
        typer.Option(help='Image topic; may be repeated, one per camera.'),
    ] = None,
    video: Video = None,
    bag: Annotated[
        Path | None,
        typer.Option(help='rosbag2 directory to write, with the keypoints as PointCloud2.'),
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(help='CSV to write with the named points of a model that has them.'),
    ] = None,
    engine: EngineName = 'auto',
    threads: Threads = 0,
    precision: Precision = 'fp32',
) -> None:
    """Run a model over a recording."""
    check_file('--out', out)
    if landmarks is not None:
        check_file('--landmarks', landmarks)
    # a bag that exists is refused by its writer
    new_bag = bag if bag is not None and not bag.exists() else None
    written = {'--out': out, '--video': video, '--bag': new_bag, '--landmarks': landmarks}
    check_outputs(written, {'the recording': source})
    from keypoint_perception.evaluation.detections import detect_frames, Detection, Track
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
        msg = f'Model {str(model)!r} names no points; name some with `landmarks` first.'
        raise ModelError(msg)
    track, named = Track(), Track()
    with ExitStack() as outputs:
        # All are opened before the work starts, so that none is refused after it.
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = outputs.enter_context(KeypointWriter(out))
        named_rows = None
        if landmarks is not None:
            landmarks.parent.mkdir(parents=True, exist_ok=True)
            named_rows = outputs.enter_context(KeypointWriter(landmarks))
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
            track.add(Detection(frame, keypoints))
            named.add(Detection(frame, both[count:]))
            if videos:
                videos.add(frame.stamp_ns, frame.topic, frame.image, keypoints)
        seconds = time.perf_counter() - started
        if not len(track):
            msg = f'{str(source)!r} has no images; expected at least one.'
            raise SourceError(msg)
        # A recording keeps the order of arrival; what is written has the order of the stamps.
        cameras = len(set(track.topics))
        for stamp_ns, camera, keypoints in track.in_stamp_order().rows():
            rows.write(stamp_ns, camera, estimator.keypoint_names, keypoints)
            if clouds:
                clouds.write(stamp_ns, keypoint_topic(camera, cameras=cameras), keypoints)
        if named_rows:
            for stamp_ns, camera, points in named.in_stamp_order().rows():
                named_rows.write(stamp_ns, camera, estimator.landmark_names, points)
    print(f'engine: {loaded.name} ({loaded.description})')
    print(f'{len(track)} frames in {seconds:.1f} s, {len(track) / seconds:.0f} per s; wrote')
    named_csv = [landmarks] if landmarks else []
    for path in [out, *named_csv, *(videos.paths if videos else []), *([bag] if bag else [])]:
        print(f'  {path}')


def _estimate_both(estimator):
    """Return a function of images to keypoints and named points, one below the other."""
    import numpy as np

    return lambda images: [np.concatenate(e) for e in estimator.estimate_with_landmarks(images)]
