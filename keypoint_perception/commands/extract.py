"""``extract``: recording -> frame store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.progress import extraction_progress
import typer


def extract(
    source: Annotated[
        list[Path], typer.Argument(help='Bags, videos, folders of images or frame stores.')
    ],
    out: Annotated[Path, typer.Option(help='Frame store to write, to add to or to finish.')],
    topic: Annotated[
        list[str] | None,
        typer.Option(help='Image topic; may be repeated, one per camera.'),
    ] = None,
    size: Annotated[int, typer.Option(help='Long side of the stored frames, px.')] = 128,
) -> None:
    """Write the images of recordings, scaled for the network, into a frame store."""
    from keypoint_perception.frames.store import extract_frames

    with extraction_progress('extracting') as progress:
        store = extract_frames(source, topic or [], out, size=size, progress=progress)
    height, width = store.network_hw
    cameras = ', '.join(camera or '(no topic)' for camera in store.cameras)
    print(f'{len(store)} frames of {width}x{height} in {out}')
    print(f'  cameras: {cameras}')
    for recording in store.sources:
        print(f'  {recording["name"]}: {recording["frames"]} frames')
