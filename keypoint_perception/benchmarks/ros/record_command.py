"""``benchmark record``: whether the recorder keeps up with several cameras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import shutil
from typing import Annotated, Any

from keypoint_perception.commands.options import DdsProfile, DefaultDds
from keypoint_perception.errors import ConfigError
import typer


def record(
    out: Annotated[Path, typer.Option(help='JSON to write; the bag is written beside it.')],
    cameras: Annotated[int, typer.Option(min=1, max=16, help='Number of cameras.')] = 2,
    hz: Annotated[float, typer.Option(min=0.1, help='Images per second from each camera.')] = 30.0,
    width: Annotated[int, typer.Option(min=1, help='Image width, px.')] = 640,
    height: Annotated[int, typer.Option(min=1, help='Image height, px.')] = 480,
    seconds: Annotated[float, typer.Option(min=0.1, help='Duration.')] = 30.0,
    compression: Annotated[str, typer.Option(help='none or zstd.')] = 'none',
    jpeg: Annotated[int, typer.Option(min=0, max=100, help='JPEG quality; 0: raw.')] = 0,
    keep: Annotated[bool, typer.Option('--keep', help='Keep the bag.')] = False,
    dds_profile: DdsProfile = None,
    default_dds: DefaultDds = False,
) -> None:
    """Measure image loss with several cameras, and the recorder's CPU time and memory."""
    from keypoint_perception.benchmarks.results import write_results
    from keypoint_perception.benchmarks.ros.node_benchmark import CameraLoad
    from keypoint_perception.benchmarks.ros.node_command import find_profile
    from keypoint_perception.benchmarks.ros.record_benchmark import measure_recording
    from keypoint_perception.commands.progress import progress_bars

    if compression not in ('none', 'zstd'):
        msg = f'--compression: must be none or zstd, got {compression!r}.'
        raise ConfigError(msg)
    frames = max(1, round(hz * seconds))
    load = CameraLoad(hz, height, width, cameras, frames=frames, block=frames)
    settings = {'compression': compression, 'jpeg': jpeg}
    profile = find_profile(dds_profile, default=default_dds)
    out.parent.mkdir(parents=True, exist_ok=True)
    bag = out.with_name(f'{out.stem}_bag')
    if bag.exists():  # not ours, so it must not be removed at the end
        msg = f'{str(bag)!r} exists already; remove it, or choose another --out.'
        raise ConfigError(msg)
    try:
        with progress_bars() as bars:
            measured = measure_recording(
                load, bag, settings, dds_profile=profile, progress=bars.timer('recording')
            )
    finally:
        if not keep:
            shutil.rmtree(bag, ignore_errors=True)
    write_results(out, measured)
    print(record_table(measured))
    print(f'wrote {out}')


def record_table(measured: Mapping[str, Any]) -> str:
    """Return the measurements as a Markdown table."""
    from keypoint_perception.evaluation.tables import markdown_table

    load, memory = measured['load'], measured['memory_mb']
    cells = {
        'cameras': f'{load["cameras"]} x {load["width"]}x{load["height"]} at {load["hz"]:g} Hz',
        'bag': ', '.join(f'{n} {v}' for n, v in measured['settings'].items() if v),
        'sent': measured['sent'],
        'written': measured['written'],
        'lost in transit': measured['lost'] + measured['unseen'],
        'dropped': measured['dropped'],
        'MB/s': f'{measured["mb_per_s"]:.1f}',
        'CPU': f'{100 * measured["cpu_share"]:.0f} % of a core',
        'memory': f'{memory["most"]:.0f} MB peak, {memory["idle"]:.0f} MB idle',
    }
    return markdown_table(list(cells), [list(cells.values())])
