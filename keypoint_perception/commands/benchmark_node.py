"""``benchmark node``: the node beside a bare rclpy node."""

from __future__ import annotations

import json
from pathlib import Path
import tempfile
from typing import Annotated

from keypoint_perception.errors import ConfigError
import typer


def node(
    out: Annotated[Path, typer.Option(help='JSON to write.')],
    model: Annotated[
        Path | None,
        typer.Option(help='Model directory; by default a stand-in that finds bright pixels.'),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help='Images to each node.')] = 300,
    hz: Annotated[float, typer.Option(min=0.1, help='Images a second.')] = 30.0,
    height: Annotated[int, typer.Option(min=1, help='Height of the images, px.')] = 480,
    width: Annotated[int, typer.Option(min=1, help='Width of the images, px.')] = 640,
    engine: Annotated[str, typer.Option(help='auto, onnxruntime, tensorrt or torch.')] = 'auto',
    threads: Annotated[int, typer.Option(min=0, help='CPU threads; 0: the library.')] = 0,
    dds_profile: Annotated[
        Path | None, typer.Option(help='Fast DDS profile; by default the shipped one.')
    ] = None,
    default_dds: Annotated[
        bool, typer.Option('--default-dds', help="Use Fast DDS's own settings, no profile.")
    ] = False,
) -> None:
    """Measure the node's latency, losses and CPU time beside a bare rclpy node's, in one run."""
    from keypoint_perception.commands.progress import extraction_progress
    from keypoint_perception.evaluation.report import describe_machine, now
    from keypoint_perception.inference.engine import load_engine
    from keypoint_perception.inference.stand_in import write_stand_in
    from keypoint_perception.ros.installation import DDS_PROFILE, shipped_file
    from keypoint_perception.ros.node_benchmark import Load, measure_node

    profile = None if default_dds else dds_profile or shipped_file('config', DDS_PROFILE)
    if profile is not None and not profile.is_file():
        msg = f'{str(profile)!r} is no file; expected a Fast DDS profile (--dds-profile).'
        raise ConfigError(msg)
    with tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
        if model is None:
            write_stand_in(Path(directory) / 'model')
        model_dir = model or Path(directory) / 'model'
        load_engine(model_dir, engine, threads=threads).close()
        with extraction_progress('measuring') as progress:
            measured = measure_node(
                model_dir,
                Load(frames=frames, hz=hz, height=height, width=width),
                engine=engine,
                threads=threads,
                dds_profile=profile,
                progress=progress,
            )
    provenance = {
        'date': now(),
        'machine': describe_machine(),
        'model': 'stand-in' if model is None else str(model),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(provenance | measured, indent=2) + '\n')
    show(provenance | measured)
    print(f'wrote {out}')


def show(measured: dict) -> None:
    """Print the table."""
    machine = measured['machine']
    where = f'{machine["processor"]}, {machine["cores"]} cores'
    print(f'{measured["image"]} at {measured["hz"]:g} Hz, {where}')
    print(f'model: {measured["model"]}, DDS profile: {measured["dds_profile"] or "none"}')
    print(f'{"":12}{"received":>12}{"p50 ms":>9}{"p95 ms":>9}{"p99 ms":>9}{"CPU s":>8}')
    for name in ('bare', 'perception'):
        figures = measured[name]
        received = f'{figures["received"]} of {measured["frames"]}'
        latency = ''.join(f'{figures["latency_ms"][p]:9.2f}' for p in ('p50', 'p95', 'p99'))
        print(f'{name:12}{received:>12}{latency}{figures["cpu_s"]:8.2f}')
    for name in ('publisher', 'receiver'):
        print(f'{name:12}{"":39}{measured[name]["cpu_s"]:8.2f}')
