"""``benchmark node``: the node beside a bare rclpy node, idle, and overloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import re
import tempfile
from typing import Annotated, Any, TYPE_CHECKING, TypeVar

from keypoint_perception.commands.options import DdsProfile, DefaultDds, EngineName
from keypoint_perception.errors import ConfigError
import typer

if TYPE_CHECKING:
    from keypoint_perception.benchmarks.ros.node_benchmark import CameraLoad, NodeSetup

FULL_SPEED = 'full'
FULL_SPEED_S, IDLE_S, OVERLOAD_S = 10.0, 30.0, 60.0
MAX_CAMERAS = 16
# Slow enough for a camera in Python to send ten times as many images.
SLOW_PRODUCTS = 16
Value = TypeVar('Value')


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
    Measure latency, losses, CPU time and memory of the node beside a bare rclpy node.

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
        measured = measure(setup, loads, seconds, idle=idle, overload=overload)
    described = 'synthetic' if model is None else str(model)
    text = node_tables(write_results(out, {'model': described} | measured))
    out.with_suffix('.md').write_text(text)
    print(text, end='')
    print(f'wrote {out} and {out.with_suffix(".md")}')


def measure(
    setup: NodeSetup,
    loads: list[CameraLoad],
    seconds: float | None,
    *,
    idle: bool,
    overload: bool,
) -> dict[str, Any]:
    """Return the measurements, made under progress bars."""
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

    all_hz = parse('--rates', rates, read_rate, '30,60,full')
    hws = parse('--sizes', sizes, read_size, '640x480,1920x1080')
    counts = parse('--cameras', cameras, read_count, f'1,4, at most {MAX_CAMERAS}')
    loads = []
    for count in counts:
        for height, width in hws:
            for hz in all_hz:
                load = CameraLoad(hz, height, width, count, frames, seconds or FULL_SPEED_S)
                loads.append(load.lasting(seconds) if seconds and hz else load)
    return loads


def parse(
    option: str, text: str, read: Callable[[str], Value | None], example: str
) -> list[Value]:
    """
    Return the values of a comma-separated list.

    :param read: returns None for an invalid value
    :raises ConfigError: if a value is invalid
    """
    values = []
    for part in text.split(','):
        value = read(part.strip())
        if value is None:
            msg = f'{option} {text!r} is invalid; expected a list such as {example}.'
            raise ConfigError(msg)
        values.append(value)
    return values


def read_rate(text: str) -> float | None:
    """Return images a second, 0 for full speed."""
    if text == FULL_SPEED:
        return 0.0
    valid = re.fullmatch(r'\d+(\.\d+)?', text) and float(text) > 0
    return float(text) if valid else None


def read_size(text: str) -> tuple[int, int] | None:
    """Return height and width, px, of WIDTHxHEIGHT."""
    found = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
    return (int(found[2]), int(found[1])) if found else None


def read_count(text: str) -> int | None:
    """Return a number of cameras."""
    return int(text) if text.isdigit() and 1 <= int(text) <= MAX_CAMERAS else None


def find_profile(given: Path | None, *, default: bool) -> Path | None:
    """
    Return the Fast DDS profile to use, None for Fast DDS's own settings.

    :param default: whether to use Fast DDS's own settings
    :raises ConfigError: if it is not a file
    """
    from keypoint_perception.ros.installation import DDS_PROFILE, shipped_file

    profile = None if default else given or shipped_file('config', DDS_PROFILE)
    if profile is not None and not profile.is_file():
        msg = f'{str(profile)!r} is not a file; expected a Fast DDS profile (--dds-profile).'
        raise ConfigError(msg)
    return profile
