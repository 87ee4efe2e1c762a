"""``benchmark record``: whether the recorder keeps up."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
from typing import Annotated

from keypoint_perception.commands.options import DdsProfile, DefaultDds
from keypoint_perception.errors import ConfigError
import typer


def record(
    out: Annotated[Path, typer.Option(help='JSON to write; the bag is made beside it.')],
    cameras: Annotated[int, typer.Option(min=1, max=16, help='Number of cameras.')] = 2,
    hz: Annotated[float, typer.Option(min=0.1, help='Images a second from each camera.')] = 30.0,
    width: Annotated[int, typer.Option(min=1, help='Width of the images, px.')] = 640,
    height: Annotated[int, typer.Option(min=1, help='Height of the images, px.')] = 480,
    seconds: Annotated[float, typer.Option(min=0.1, help='How long to record.')] = 30.0,
    compression: Annotated[str, typer.Option(help='none or zstd.')] = 'none',
    jpeg: Annotated[int, typer.Option(min=0, max=100, help='Quality; 0: raw.')] = 0,
    keep: Annotated[bool, typer.Option('--keep', help='Keep the bag.')] = False,
    dds_profile: DdsProfile = None,
    default_dds: DefaultDds = False,
) -> None:
    """Measure what the recorder loses of raw images of several cameras, and what it costs."""
    from keypoint_perception.benchmarks.node_benchmark import Load
    from keypoint_perception.benchmarks.node_verb import find_profile
    from keypoint_perception.benchmarks.record_benchmark import measure_recording
    from keypoint_perception.commands.progress import seconds_progress
    from keypoint_perception.evaluation.report import describe_machine, now

    if compression not in ('none', 'zstd'):
        msg = f'--compression: must be one of none, zstd, got {compression!r}.'
        raise ConfigError(msg)
    frames = max(1, round(hz * seconds))
    load = Load(hz, height, width, cameras, frames=frames, block=frames)
    settings = {'compression': compression, 'jpeg': jpeg}
    profile = find_profile(dds_profile, default=default_dds)
    out.parent.mkdir(parents=True, exist_ok=True)
    bag = out.with_name(f'{out.stem}_bag')
    if bag.exists():  # it is somebody's, and must not be removed in the end
        msg = f'{str(bag)!r} exists already; remove it, or choose another --out.'
        raise ConfigError(msg)
    try:
        with seconds_progress('recording') as progress:
            measured = measure_recording(
                load, bag, settings, dds_profile=profile, progress=progress
            )
    finally:
        if not keep:
            shutil.rmtree(bag, ignore_errors=True)
    provenance = {'date': now(), 'machine': describe_machine()}
    out.write_text(json.dumps(provenance | measured, indent=2) + '\n')
    print(table(measured), end='')
    print(f'wrote {out}')


def table(measured: dict) -> str:
    """Return what was measured as a table in Markdown."""
    load, memory = measured['load'], measured['memory_mb']
    cells = {
        'cameras': f'{load["cameras"]} x {load["width"]}x{load["height"]} at {load["hz"]:g} Hz',
        'bag': ', '.join(f'{n} {v}' for n, v in measured['settings'].items() if v),
        'sent': measured['sent'],
        'written': measured['written'],
        'lost on the way': measured['lost'] + measured['unseen'],
        'dropped': measured['dropped'],
        'MB/s': f'{measured["mb_per_s"]:.1f}',
        'CPU': f'{100 * measured["cpu_share"]:.0f} % of a core',
        'memory': f'{memory["most"]:.0f} MB at most, {memory["idle"]:.0f} idle',
    }
    rows = (cells, ['---'] * len(cells), cells.values())
    return ''.join(f'| {" | ".join(str(cell) for cell in row)} |\n' for row in rows)
