"""``record``: live topics -> rosbag2 (MCAP)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.options import DefaultDds
from keypoint_perception.commands.progress import recording_progress
from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.ros.recorder.recorder_settings import DESCRIPTIONS, RecorderSettings
import typer

DEFAULT = RecorderSettings()


def record(
    out: Annotated[Path, typer.Option(help='rosbag2 directory to make.')],
    topic: Annotated[
        list[str],
        typer.Option(help='Topic of any type; may be repeated. Recorded once it is published.'),
    ],
    rate: Annotated[float, typer.Option(help=DESCRIPTIONS['rate'])] = DEFAULT.rate,
    only_motion: Annotated[
        bool, typer.Option('--only-motion', help=DESCRIPTIONS['only_motion'])
    ] = DEFAULT.only_motion,
    motion_threshold: Annotated[
        float, typer.Option(help=DESCRIPTIONS['motion_threshold'])
    ] = DEFAULT.motion_threshold,
    motion_context: Annotated[
        float, typer.Option(help=DESCRIPTIONS['motion_context'])
    ] = DEFAULT.motion_context,
    compression: Annotated[
        str, typer.Option(help=DESCRIPTIONS['compression'])
    ] = DEFAULT.compression,
    jpeg: Annotated[int, typer.Option(help=DESCRIPTIONS['jpeg'])] = DEFAULT.jpeg,
    split_size: Annotated[
        float, typer.Option(help=DESCRIPTIONS['split_size'])
    ] = DEFAULT.split_size,
    split_duration: Annotated[
        float, typer.Option(help=DESCRIPTIONS['split_duration'])
    ] = DEFAULT.split_duration,
    disk_floor: Annotated[
        float, typer.Option(help=DESCRIPTIONS['disk_floor'])
    ] = DEFAULT.disk_floor,
    duration: Annotated[float, typer.Option(help=DESCRIPTIONS['duration'])] = DEFAULT.duration,
    max_messages: Annotated[
        int, typer.Option(help=DESCRIPTIONS['max_messages'])
    ] = DEFAULT.max_messages,
    queue: Annotated[float, typer.Option(help=DESCRIPTIONS['queue'])] = DEFAULT.queue,
    default_dds: DefaultDds = False,
) -> None:
    """Record live topics into a bag that can be read whenever recording stops."""
    from keypoint_perception.ros.recorder.record_session import record_topics

    settings = RecorderSettings(
        rate=rate,
        only_motion=only_motion,
        motion_threshold=motion_threshold,
        motion_context=motion_context,
        compression=compression,
        jpeg=jpeg,
        split_size=split_size,
        split_duration=split_duration,
        disk_floor=disk_floor,
        duration=duration,
        max_messages=max_messages,
        queue=queue,
    )
    if out.exists():
        msg = (
            f'{str(out)!r} exists already and bags are not overwritten; remove it, or choose '
            'another directory.'
        )
        raise ConfigError(msg)
    with recording_progress() as show:
        summary = record_topics(topic, out, settings, show=show, default_dds=default_dds)
    print(summary.sentence())
    for name, counts in summary.topics.items():
        print(
            f'  {name}: {counts.written} of {counts.received} received'
            f' ({counts.skipped} left out, {counts.dropped} dropped, {counts.lost} lost)'
        )
    if not summary.requested:
        msg = f'Recording ended early: {summary.stop_reason}.'
        raise SourceError(msg)
