"""``detect``: run a model over a recording."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
import time
from typing import Annotated

from keypoint_perception.commands.options import (
    EngineName,
    Model,
    Recording,
    Threads,
    Video,
)
from keypoint_perception.commands.outputs import check_file, check_outputs
from keypoint_perception.commands.progress import show_progress
from keypoint_perception.errors import SourceError
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
    engine: EngineName = 'auto',
    threads: Threads = 0,
) -> None:
    """Run a model over a recording."""
    check_file('--out', out)
    # a bag that exists is refused by its writer
    new_bag = bag if bag is not None and not bag.exists() else None
    check_outputs({'--out': out, '--video': video, '--bag': new_bag}, {'the recording': source})
    from keypoint_perception.evaluation.detections import detect_frames, Track
    from keypoint_perception.evaluation.video import OverlayVideos
    from keypoint_perception.frames.annotations import KeypointWriter
    from keypoint_perception.frames.keypoint_bag import keypoint_topic, KeypointBag
    from keypoint_perception.frames.source import count_frames, read_frames
    from keypoint_perception.inference.engine import load_engine
    from keypoint_perception.inference.estimator import Estimator

    topics = list(dict.fromkeys(topic or []))
    loaded = load_engine(model, engine, threads=threads)
    estimator = Estimator(loaded)
    track = Track()
    with ExitStack() as outputs:
        # All are opened before the work starts, so that none is refused after it.
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = outputs.enter_context(KeypointWriter(out))
        videos = None
        if video:
            overlay = OverlayVideos(video, topics, skeleton=estimator.skeleton)
            videos = outputs.enter_context(overlay)
        clouds = outputs.enter_context(KeypointBag(bag)) if bag else None
        started = time.perf_counter()
        detections = detect_frames(read_frames([source], topics), estimator.estimate_batch)
        total = count_frames([source], topics)
        for detection in show_progress(detections, 'detecting', total=total):
            frame, keypoints = detection
            track.add(detection)
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
    print(f'engine: {loaded.name} ({loaded.description})')
    print(f'{len(track)} frames in {seconds:.1f} s, {len(track) / seconds:.0f} per s; wrote')
    for path in [out, *(videos.paths if videos else []), *([bag] if bag else [])]:
        print(f'  {path}')
