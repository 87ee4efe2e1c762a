"""``extract``: recordings -> frame store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.options import Recordings, Stamps, Topics
from keypoint_perception.commands.outputs import check_outputs, Paths
from keypoint_perception.commands.progress import progress_bars
import typer


def extract(
    source: Recordings,
    out: Annotated[Path, typer.Option(help='Frame store to create, resume or extend.')],
    topic: Topics = None,
    stamps: Stamps = '',
    size: Annotated[int, typer.Option(help='Long side of the stored frames, px.')] = 128,
) -> None:
    """Extract the images of recordings, scaled to network size, into a frame store."""
    recordings: Paths = {f'recording {i}': path for i, path in enumerate(source, start=1)}
    check_outputs({'--out': out}, recordings, directories=('--out',))
    from keypoint_perception.frames.extraction import extract_frames

    with progress_bars() as bars:
        progress = bars.counter('extracting')
        store = extract_frames(
            source, topic or [], out, size=size, stamps=stamps, progress=progress
        )
    height, width = store.network_hw
    cameras = ', '.join(camera or '(no topic)' for camera in store.cameras)
    print(f'{len(store)} frames of {width}x{height} in {out}')
    print(f'  cameras: {cameras}')
    for recording in store.sources:
        print(f'  {recording["name"]}: {recording["frames"]} frames')
