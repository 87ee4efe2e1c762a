"""``record``: live topics -> rosbag2 (MCAP)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.progress import recording_progress
from keypoint_perception.errors import ConfigError, SourceError
import typer


def record(
    out: Annotated[Path, typer.Option(help='rosbag2 directory to make.')],
    topic: Annotated[
        list[str],
        typer.Option(help='Topic of any type; may be repeated. Recorded once it is published.'),
    ],
    rate: Annotated[float, typer.Option(help='Images a second and topic at most; 0: all.')] = 0.0,
    only_motion: Annotated[
        bool, typer.Option('--only-motion', help='Keep images only while something moves.')
    ] = False,
    motion_threshold: Annotated[
        float,
        typer.Option(help='Grey levels (of 255) by which a 64th of the picture has to change.'),
    ] = 8.0,
    motion_context: Annotated[
        float, typer.Option(help='Seconds that are kept before and after motion.')
    ] = 0.5,
    compression: Annotated[
        str,
        typer.Option(help='none: costs no time; zstd: loses nothing, and needs some processor.'),
    ] = 'none',
    jpeg: Annotated[
        int,
        typer.Option(
            help='Quality 1 to 100 with which raw images become JPEG on TOPIC/compressed: about a '
            'tenth of the size, not exact; 0: as received.'
        ),
    ] = 0,
    split_size: Annotated[
        float, typer.Option(help='MB after which another file begins; 0: never.')
    ] = 0.0,
    split_duration: Annotated[
        float, typer.Option(help='Seconds after which another file begins; 0: never.')
    ] = 0.0,
    disk_floor: Annotated[
        float, typer.Option(help='MB of the disk that stay free: recording ends before.')
    ] = 500.0,
    duration: Annotated[
        float, typer.Option(help='Seconds after the first message; 0: until Ctrl-C.')
    ] = 0.0,
    max_messages: Annotated[int, typer.Option(help='Messages to record; 0: until Ctrl-C.')] = 0,
    queue: Annotated[
        float, typer.Option(help='MB that may wait for the disk; more is dropped and counted.')
    ] = 256.0,
    default_dds: Annotated[
        bool, typer.Option('--default-dds', help="Use Fast DDS's own settings, no profile.")
    ] = False,
) -> None:
    """Record live topics into a bag that can be read whenever recording stops."""
    from keypoint_perception.ros.record_session import record_topics
    from keypoint_perception.ros.recorder_settings import RecorderSettings

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
    if not summary.asked:
        msg = f'Recording ended early: {summary.ended}.'
        raise SourceError(msg)
