"""``benchmark node``: the node compared with a bare rclpy node, idle, and overloaded."""

from __future__ import annotations

from itertools import product
from pathlib import Path
import re
import tempfile
from typing import Annotated, Any, TYPE_CHECKING

from keypoint_perception.commands.options import DdsProfile, DefaultDds, EngineName
from keypoint_perception.errors import ConfigError
import typer

if TYPE_CHECKING:
    from keypoint_perception.benchmarks.ros.node_benchmark import CameraLoad, NodeSetup

FULL_SPEED = 'full'
FULL_SPEED_S, IDLE_S, OVERLOAD_S = 10.0, 30.0, 60.0
# Slow enough for a camera in Python to send ten times as many images.
SLOW_PRODUCTS = 16


def node(
    out: Annotated[Path, typer.Option(help='JSON to write, with tables (Markdown) beside it.')],
    model: Annotated[
        Path | None,
        typer.Option(
            help='Model directory; by default a synthetic model that finds bright pixels.'
        ),
    ] = None,
    rates: Annotated[
        str, typer.Option(help='Images per second from each camera; full: as many as possible.')
    ] = '30,60,120,full',
    sizes: Annotated[str, typer.Option(help='Image sizes, px.')] = '640x480,1920x1080',
    cameras: Annotated[str, typer.Option(help='Numbers of cameras.')] = '1,4',
    frames: Annotated[
        int, typer.Option(min=1, help='Images from each camera to each node, at a fixed rate.')
    ] = 300,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help='Duration for each node, instead of --frames; by default '
            f'{FULL_SPEED_S:.0f} at full speed, {IDLE_S:.0f} with --idle, {OVERLOAD_S:.0f} '
            'with --overload.',
        ),
    ] = None,
    idle: Annotated[
        bool, typer.Option('--idle', help='Measure the node without subscribers.')
    ] = False,
    overload: Annotated[
        bool,
        typer.Option(
            '--overload', help='Measure age and memory at ten times the rate of the engine.'
        ),
    ] = False,
    engine: EngineName = 'auto',
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads; 0: the library's default.")
    ] = 0,
    precision: Annotated[str, typer.Option(help='fp32, fp16 or int8.')] = 'fp32',
    provider: Annotated[
        str, typer.Option(help='ONNX Runtime provider: auto, cpu, cuda or tensorrt.')
    ] = 'auto',
    dds_profile: DdsProfile = None,
    default_dds: DefaultDds = False,
) -> None:
    """
    Measure latency, losses, CPU time and memory of the node, compared with a bare rclpy node.

    --idle and --overload measure only that, with the first image size and number of cameras.
    """
    from keypoint_perception.benchmarks.results import write_results
    from keypoint_perception.benchmarks.ros.node_benchmark import NodeSetup
    from keypoint_perception.benchmarks.ros.node_tables import node_tables
    from keypoint_perception.inference.synthetic_model import write_synthetic_model

    loads = plan_loads(rates, sizes, cameras, frames, seconds)
    profile = find_profile(dds_profile, default=default_dds)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
        if model is None:
            products = SLOW_PRODUCTS if overload else 0
            write_synthetic_model(Path(directory) / 'model', products=products)
        place = model or Path(directory) / 'model'
        setup = NodeSetup(place, engine, threads, profile, precision, provider)
        measured = _measure(setup, loads, seconds, idle=idle, overload=overload)
    described = 'synthetic' if model is None else str(model)
    text = node_tables(write_results(out, {'model': described} | measured))
    out.with_suffix('.md').write_text(text)
    print(text, end='')
    print(f'wrote {out} and {out.with_suffix(".md")}')


def _measure(
    setup: NodeSetup, loads: list[CameraLoad], seconds: float | None, *, idle: bool, overload: bool
) -> dict[str, Any]:
    from keypoint_perception.benchmarks.ros.node_benchmark import measure_node
    from keypoint_perception.benchmarks.ros.node_endurance import measure_idle, measure_overload
    from keypoint_perception.commands.progress import progress_bars

    # Reject an unusable model at once, and build its engine before other processes wait for it.
    setup.load_engine(max(load.cameras for load in loads)).close()
    measured: dict[str, Any] = {}
    with progress_bars() as bars:
        if idle:
            load = loads[0].lasting(seconds or IDLE_S)
            measured |= measure_idle(setup, load, progress=bars.timer('idle'))
        if overload:
            limit_s, progress = seconds or OVERLOAD_S, bars.timer('overload')
            measured |= measure_overload(setup, loads[0], limit_s, progress=progress)
        if not (idle or overload):
            measured |= measure_node(setup, loads, progress=bars.timer('measuring'))
    return measured


def plan_loads(
    rates: str, sizes: str, cameras: str, frames: int, seconds: float | None
) -> list[CameraLoad]:
    """
    Return the loads to measure, grouped by the number of cameras.

    :raises ConfigError: if an option is invalid
    """
    from keypoint_perception.benchmarks.ros.node_benchmark import CameraLoad

    all_hz = [
        0.0 if rate == FULL_SPEED else float(rate)
        for rate in _parse('--rates', rates, rf'{FULL_SPEED}|(?=.*[1-9])\d+(\.\d+)?', '30,60,full')
    ]
    shapes = _parse('--sizes', sizes, r'[1-9]\d{0,4}x[1-9]\d{0,4}', '640x480,1920x1080')
    counts = _parse('--cameras', cameras, r'0*([1-9]|1[0-6])', '1,4, at most 16')
    loads = []
    for count, shape, hz in product(map(int, counts), shapes, all_hz):
        width, height = map(int, shape.split('x'))
        load = CameraLoad(hz, height, width, count, frames, seconds or FULL_SPEED_S)
        loads.append(load.lasting(seconds) if seconds and hz else load)
    return loads


def _parse(option: str, text: str, pattern: str, example: str) -> list[str]:
    """Return the items of a comma-separated list, all of which must match a pattern."""
    items = [item.strip() for item in text.split(',')]
    if not all(re.fullmatch(pattern, item, re.ASCII) for item in items):
        msg = f'{option} {text!r} is invalid; expected a list such as {example}.'
        raise ConfigError(msg)
    return items


def find_profile(given: Path | None, *, default: bool) -> Path | None:
    """
    Return the Fast DDS profile to use, None for Fast DDS's own settings.

    :raises ConfigError: if it is not a file
    """
    from keypoint_perception.ros.installation import DDS_PROFILE, shipped_file

    profile = None if default else given or shipped_file('config', DDS_PROFILE)
    if profile is not None and not profile.is_file():
        msg = f'{str(profile)!r} is not a file; expected a Fast DDS profile (--dds-profile).'
        raise ConfigError(msg)
    return profile
