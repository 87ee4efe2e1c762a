"""``record``: live topics -> rosbag2 (MCAP)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from keypoint_perception.commands.options import DefaultDds, options_of
from keypoint_perception.commands.progress import recording_progress
from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.ros.recorder.recorder_settings import RecorderSettings
import typer


@options_of(RecorderSettings)
def record(
    out: Annotated[Path, typer.Option(help='rosbag2 directory to write.')],
    topic: Annotated[
        list[str],
        typer.Option(
            help='Topic of any type, recorded as soon as it has a publisher; repeatable.'
        ),
    ],
    default_dds: DefaultDds = False,
    **values: Any,
) -> None:
    """Record live topics into a bag that is readable whenever recording stops."""
    from keypoint_perception.ros.stop_signals import catch_stop_signals, ignore_stop_signals

    catch_stop_signals()
    from keypoint_perception.ros.recorder.record_session import record_topics

    settings = RecorderSettings(**values)
    if out.exists():
        msg = (
            f'{str(out)!r} already exists, and bags are never overwritten; remove it, or choose '
            'another directory.'
        )
        raise ConfigError(msg)
    with recording_progress() as show:
        summary = record_topics(topic, out, settings, show=show, default_dds=default_dds)
    ignore_stop_signals()
    print(summary.sentence())
    for name, counts in summary.topics.items():
        print(
            f'  {name}: {counts.written} of {counts.received} received'
            f' ({counts.skipped} skipped, {counts.dropped} dropped, {counts.lost} lost)'
        )
    if not summary.requested:
        msg = f'Recording ended early: {summary.stop_reason}.'
        raise SourceError(msg)
