"""``benchmark extraction``: the rate of extraction compared with rosbags alone."""

from __future__ import annotations

from pathlib import Path
import tempfile
from typing import Annotated

import typer


def extraction(
    out: Annotated[Path, typer.Option(help='JSON to write.')],
    source: Annotated[
        Path | None, typer.Option(help='Bag to read; by default a generated bag of raw images.')
    ] = None,
    topic: Annotated[str | None, typer.Option(help='Image topic.')] = None,
    frames: Annotated[
        int, typer.Option(min=2, help='Images (640x480 rgb8) in the generated bag.')
    ] = 400,
    size: Annotated[int, typer.Option(help='Long side of the extracted frames, px.')] = 128,
) -> None:
    """Measure the rate of extraction compared with rosbags alone, on one core and in one run."""
    from keypoint_perception.benchmarks import extraction_benchmark as benchmark
    from keypoint_perception.benchmarks.results import write_results
    from keypoint_perception.commands.progress import progress_bars

    with tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
        bag = source or Path(directory) / 'bag'
        if source is None:
            benchmark.write_camera_bag(bag, frames)
        with progress_bars() as bars:
            progress = bars.counter('measuring')
            measured = benchmark.measure_extraction(bag, topic, size=size, progress=progress)
    described = 'generated' if source is None else str(source)
    results = write_results(out, {'source': described} | measured)
    print(f'{measured["images"]} images, one core of {results["machine"]["processor"]}')
    print(f'  rosbags alone  {measured["rosbags_images_per_s"]:8.1f} images/s')
    print(f'  extraction     {measured["extraction_images_per_s"]:8.1f} images/s')
    print(f'  ratio          {measured["ratio"]:8.3f}')
    print(f'wrote {out}')
