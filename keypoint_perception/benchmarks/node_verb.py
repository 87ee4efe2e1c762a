"""``benchmark node``: the node beside a bare rclpy node, at rest, and with too many images."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import re
import tempfile
from typing import Annotated, TypeVar

from keypoint_perception.commands.options import DdsProfile, DefaultDds, EngineName
from keypoint_perception.errors import ConfigError
import typer

FULL_SPEED = 'full'
FULL_SPEED_S, IDLE_S, OVERLOAD_S = 10.0, 30.0, 60.0
MOST_CAMERAS = 16
# Slow enough that a camera in Python can send ten times as many images.
SLOW_PRODUCTS = 16
Value = TypeVar('Value')


def node(
    out: Annotated[Path, typer.Option(help='JSON to write; a table is written beside it.')],
    model: Annotated[
        Path | None,
        typer.Option(help='Model directory; by default a stand-in that finds bright pixels.'),
    ] = None,
    rates: Annotated[
        str, typer.Option(help='Images a second from each camera; full: as many as it can.')
    ] = '30,60,120,full',
    sizes: Annotated[str, typer.Option(help='Sizes of the images, px.')] = '640x480,1920x1080',
    cameras: Annotated[str, typer.Option(help='Numbers of cameras.')] = '1,4',
    frames: Annotated[
        int, typer.Option(min=1, help='Images from each camera to each node, at a rate.')
    ] = 300,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help='For how long to each node, instead of --frames; by default '
            f'{FULL_SPEED_S:.0f} at full speed, {IDLE_S:.0f} with --idle, {OVERLOAD_S:.0f} '
            'with --overload.',
        ),
    ] = None,
    idle: Annotated[
        bool, typer.Option('--idle', help='Measure the node while nobody listens to it.')
    ] = False,
    overload: Annotated[
        bool,
        typer.Option('--overload', help='Send ten times what the engine can do: age, memory.'),
    ] = False,
    engine: EngineName = 'auto',
    threads: Annotated[int, typer.Option(min=0, help='CPU threads; 0: the library.')] = 0,
    precision: Annotated[str, typer.Option(help='fp32, fp16 or int8.')] = 'fp32',
    provider: Annotated[
        str, typer.Option(help='Where ONNX Runtime computes: auto, cpu, cuda or tensorrt.')
    ] = 'auto',
    dds_profile: DdsProfile = None,
    default_dds: DefaultDds = False,
) -> None:
    """
    Measure the node's latency, losses, CPU time and memory beside a bare rclpy node's, in one run.

    With --idle or --overload measure these instead, with the first size and number of cameras.
    """
    from keypoint_perception.benchmarks.node_benchmark import Setup
    from keypoint_perception.benchmarks.node_tables import tables
    from keypoint_perception.evaluation.report import describe_machine, now
    from keypoint_perception.inference.synthetic_model import write_synthetic_model

    loads = plan(rates, sizes, cameras, frames, seconds)
    profile = find_profile(dds_profile, default=default_dds)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
        if model is None:
            products = SLOW_PRODUCTS if overload else 0
            write_synthetic_model(Path(directory) / 'model', products=products)
        chosen = (engine, threads, profile, precision, provider)
        setup = Setup(model or Path(directory) / 'model', *chosen)
        measured = measure(setup, loads, seconds, idle=idle, overload=overload)
    provenance = {
        'date': now(),
        'machine': describe_machine(),
        'model': 'stand-in' if model is None else str(model),
    }
    out.write_text(json.dumps(provenance | measured, indent=2) + '\n')
    text = tables(provenance | measured)
    out.with_suffix('.md').write_text(text)
    print(text, end='')
    print(f'wrote {out} and {out.with_suffix(".md")}')


def measure(setup, loads: list, seconds: float | None, *, idle: bool, overload: bool) -> dict:
    """Return what was measured, under progress bars."""
    from keypoint_perception.benchmarks.node_benchmark import measure_node
    from keypoint_perception.benchmarks.node_endurance import measure_idle, measure_overload
    from keypoint_perception.commands.progress import seconds_progress

    # A model that is no good is refused at once, and an engine built before others wait for it.
    setup.load_engine(max(load.cameras for load in loads)).close()
    measured = {}
    if idle:
        resting = loads[0].lasting(seconds or IDLE_S)
        with seconds_progress('nobody listens') as progress:
            measured |= measure_idle(setup, resting, progress=progress)
    if overload:
        with seconds_progress('too many images') as progress:
            measured |= measure_overload(setup, loads[0], seconds or OVERLOAD_S, progress=progress)
    if not (idle or overload):
        with seconds_progress('measuring') as progress:
            measured |= measure_node(setup, loads, progress=progress)
    return measured


def plan(rates: str, sizes: str, cameras: str, frames: int, seconds: float | None) -> list:
    """
    Return the loads to measure, those of one number of cameras together.

    :raises ConfigError: if an option cannot be understood
    """
    from keypoint_perception.benchmarks.node_benchmark import Load

    speeds = parse('--rates', rates, read_rate, '30,60,full')
    hws = parse('--sizes', sizes, read_size, '640x480,1920x1080')
    counts = parse('--cameras', cameras, read_count, f'1,4, at most {MOST_CAMERAS}')
    loads = []
    for count in counts:
        for height, width in hws:
            for hz in speeds:
                load = Load(hz, height, width, count, frames, seconds or FULL_SPEED_S)
                loads.append(load.lasting(seconds) if seconds and hz else load)
    return loads


def parse(option: str, text: str, read: Callable[[str], Value | None], example: str) -> list:
    """
    Return the values of a list with commas.

    :param read: returns None for what is no value
    :raises ConfigError: if one is none
    """
    values = [read(part.strip()) for part in text.split(',')]
    if None in values:
        msg = f'{option} {text!r} cannot be understood; expected a list as {example}.'
        raise ConfigError(msg)
    return values


def read_rate(text: str) -> float | None:
    """Return images a second, 0 at full speed."""
    if text == FULL_SPEED:
        return 0.0
    good = re.fullmatch(r'\d+(\.\d+)?', text) and float(text) > 0
    return float(text) if good else None


def read_size(text: str) -> tuple[int, int] | None:
    """Return height and width, px, of WIDTHxHEIGHT."""
    found = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
    return (int(found[2]), int(found[1])) if found else None


def read_count(text: str) -> int | None:
    """Return a number of cameras."""
    return int(text) if text.isdigit() and 1 <= int(text) <= MOST_CAMERAS else None


def find_profile(given: Path | None, *, default: bool) -> Path | None:
    """
    Return the Fast DDS profile to use, None for Fast DDS's own settings.

    :raises ConfigError: if there is none at the place
    """
    from keypoint_perception.ros.installation import DDS_PROFILE, shipped_file

    profile = None if default else given or shipped_file('config', DDS_PROFILE)
    if profile is not None and not profile.is_file():
        msg = f'{str(profile)!r} is no file; expected a Fast DDS profile (--dds-profile).'
        raise ConfigError(msg)
    return profile
