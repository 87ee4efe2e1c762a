"""
The complete workflow, as a user of the package would run it.

    recording -> train -> ONNX -> perception_node
    recording -> replay -> DDS -> perception_node -> DDS -> receive -> overlay, figures

Training, the node, the camera and the receiver are four processes that share only files and ROS
topics. ``make demo`` runs this; ``make demo BAG=... TOPIC=...`` does the same with your recording.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
import shutil
import time

from demo.measure import draw, read_journey, score
from examples.children import Children, environment, ROOT, run_program, run_verb, StepError
from keypoint_perception.commands.progress import show_progress
from keypoint_perception.frames.annotations import read_keypoints
from keypoint_perception.frames.source import count_frames, read_frames
from keypoint_perception.manifest import read_manifest
from keypoint_perception.model_directory import CHECKPOINT_NAME, MANIFEST_NAME, ONNX_NAME
from rich.console import Console
from rich.table import Table

RECORDING = ROOT / 'demo' / 'arm'
ANNOTATIONS = ROOT / 'demo' / 'arm_annotations.csv'
RATE_HZ = 30
MOST_FRAMES = 1800
PATIENCE_S = 90.0
console = Console(highlight=False)


def say(step: str) -> None:
    """Announce the next step."""
    console.print(f'\n[bold]== {step}[/bold]')


def train(source: str, topic: str, out: Path, minutes: float) -> dict:
    """Train in a separate process and return the metrics of the model."""
    if (out / MANIFEST_NAME).is_file() or (out / CHECKPOINT_NAME).is_dir():
        shutil.rmtree(out)  # the model of the previous run
    options = ['--minutes', f'{minutes:g}', *(['--topic', topic] if topic else [])]
    started = time.monotonic()
    run_verb(environment(out.parent), 'train', source, '--out', str(out), *options)
    manifest = read_manifest(out)
    console.print(
        f'model: K={manifest.keypoint_count}, network input '
        f'{manifest.input_hw[1]}x{manifest.input_hw[0]}, ONNX '
        f'{(out / ONNX_NAME).stat().st_size / 1e6:.2f} MB'
    )
    return {'train_s': time.monotonic() - started, **manifest.metrics}


def go_live(source: str, topic: str, model: Path, out: Path) -> None:
    """Run camera, node and receiver as processes until every image is answered."""
    camera = [source, '--rate', str(RATE_HZ), '--limit', str(MOST_FRAMES), '--lead-in']
    camera += ['--sent', str(out / 'sent.csv'), *(['--topic', topic] if topic else [])]
    controller = ['--model', str(model), '--out', str(out / 'keypoints.csv')]
    controller += ['--arrivals', str(out / 'arrivals.csv')]
    parameters = ['--ros-args', '-p', f'model:={model}', '-r', 'image:=/camera/image']
    with Children(environment(out)) as children:
        node = children.start(
            'perception_node',
            'keypoint_perception.ros.perception_node',
            parameters,
            log=out / 'perception_node.log',
        )
        receive = children.start('receive', 'demo.receive', controller, log=out / 'receive.log')
        console.print('waiting for node and receiver to discover each other ...')
        receive.wait_for('matched', others=[node], patience_s=PATIENCE_S)
        replay = children.start('replay', 'demo.replay', camera)
        receive.wait_for('answered', others=[node, replay], patience_s=PATIENCE_S)
        replay.tell('go')
        longest_s = PATIENCE_S + 2 * MOST_FRAMES / RATE_HZ
        sent = replay.wait_for('sent', others=[node, receive], patience_s=longest_s)
        receive.tell(str(sent['last_stamp_ns']))
        receive.wait_for('done', others=[node], patience_s=PATIENCE_S)


def overlay(source: str, topic: str, out: Path) -> tuple[int, int]:
    """Draw the received keypoints over the recording."""
    topics = [topic] if topic else []
    total = min(MOST_FRAMES, count_frames([source], topics) or MOST_FRAMES)
    frames = itertools.islice(read_frames([source], topics), MOST_FRAMES)
    frames = show_progress(frames, 'drawing', total=total)
    return draw(frames, out / 'keypoints.csv', out / 'overlay.mp4')


def show(figures: dict, points: list[dict]) -> None:
    """Print the measurements."""
    table = Table(title='measurements', title_justify='left')
    table.add_column('what')
    table.add_column('value', justify='right')
    for what, value in figures.items():
        table.add_row(what, f'{value:.2f}' if isinstance(value, float) else str(value))
    console.print(table)
    if points:
        table = Table(title='share of each labelled motion that the keypoints explain')
        for heading in ('point', 'explained', 'error', 'mean predictor'):
            table.add_column(heading, justify='left' if heading == 'point' else 'right')
        for p in points:
            errors = (f'{p["error_percent"]:.1f} %', f'{p["trivial_percent"]:.1f} %')
            table.add_row(p['name'], f'{p["explained"]:.2f}', *errors)
        table.caption = (
            'errors in % of the image diagonal; fitted on the first 70 %, scored on the rest'
        )
        console.print(table)


def measure(out: Path, image_hw: tuple[int, int], annotations: Path | None, metrics: dict) -> None:
    """Collect, print and write the figures."""
    journey = read_journey(out / 'sent.csv', out / 'arrivals.csv')
    if not journey.received:
        log = out / 'perception_node.log'
        msg = f'{journey.sent} images were sent but no keypoints were received; see {str(log)!r}.'
        raise StepError(msg)
    figures = {'images sent': journey.sent, 'keypoints received': journey.received}
    figures |= {f'latency {p} (ms)': ms for p, ms in journey.percentiles_ms.items()}
    points = []
    if annotations is not None:
        scored = score(read_keypoints(out / 'keypoints.csv'), image_hw, annotations)
        figures |= {'explained (mean over points)': scored.mean_explained}
        figures |= {'regressed error (% of diagonal)': scored.mean_error_percent}
        points = [vars(point) for point in scored.points]
    figures |= {k.replace('_', ' '): v for k, v in metrics.items() if isinstance(v, int | float)}
    show(figures, points)
    text = json.dumps({'figures': figures, 'points': points}, indent=2)
    (out / 'measured.json').write_text(text + '\n')


def demo(args: argparse.Namespace) -> None:
    """Run the complete workflow."""
    out, model = args.out, args.out / 'model'
    out.mkdir(parents=True, exist_ok=True)
    own = args.bag is None
    source = str(RECORDING) if own else args.bag
    annotations = ANNOTATIONS if own else args.annotations
    started = time.monotonic()
    say(f'1/4 learn keypoints from {source} without labels for {args.minutes:g} minutes')
    metrics = train(source, args.topic, model, args.minutes)
    say(f'2/4 run perception_node and replay the recording to it over DDS at {RATE_HZ} images/s')
    go_live(source, args.topic, model, out)
    say('3/4 draw the received keypoints over the recording')
    image_hw = overlay(source, args.topic, out)
    say('4/4 measurements')
    measure(out, image_hw, annotations, metrics | {'demo_s': time.monotonic() - started})
    console.print('\nwritten:')
    for name in ('overlay.mp4', 'overlay.png', 'keypoints.csv', 'measured.json', 'model'):
        console.print(f'  {out / name}', soft_wrap=True)


def main() -> None:
    """Run the demo; however it ends, its child processes end with it."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--bag', help='your recording, any SOURCE')
    parser.add_argument('--topic', default='', help='its image topic, if it has several')
    parser.add_argument('--annotations', type=Path, help='its labels, if there are any')
    parser.add_argument('--out', type=Path, default=Path('out/demo'))
    parser.add_argument('--minutes', type=float, default=4.0, help='of training')
    args = parser.parse_args()
    run_program(lambda: demo(args))


if __name__ == '__main__':
    main()
