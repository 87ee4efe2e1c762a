"""
The complete workflow in one command: record, train, perceive, control.

    make closed-loop                      # or: python -m examples.closed_loop

    simulated arm -> record -> train (no labels) -> landmarks (20 labelled frames)
    simulated arm -> perception_node -> servo_node -> simulated arm
                                     +-> judge (commands and scores), film

Each part is a process of its own; they share only files and ROS topics. The controller sees the
camera only through perception_node. Success is measured at the simulator's own tip.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import shutil
import time

from examples.arm import load_bullet
from examples.children import Child, Children, environment, run_program, run_verb
from keypoint_perception.errors import ConfigError
from keypoint_perception.frames.source import read_frames
from rich.console import Console

IMAGE = '/camera/image'
LABELLED = 20
PATIENCE_S = 90.0
RATE_HZ = 15
# Maximum wall-clock seconds per simulated second, on a loaded machine.
SLOWEST = 20
POSITION_S = 40.0
SIM_TIME = ('--ros-args', '-p', 'use_sim_time:=true')
console = Console(highlight=False)


def say(step: str) -> None:
    """Announce the next step."""
    console.print(f'\n[bold]== {step}[/bold]')


def alone(out: Path) -> dict[str, str]:
    """
    Return the environment for all processes: a separate domain, limited to this machine.

    Joint commands are published on topics that real robots subscribe to, so the domain of the
    user's shell must not be used.
    """
    domain = str(1 + os.getpid() % 100)
    apart = {'ROS_DOMAIN_ID': domain, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    return environment(out) | apart


def start_arm(children: Children, out: Path) -> Child:
    """Start the simulated arm and wait until it moves."""
    arguments = ['--ros-args', '-r', f'image:={IMAGE}']
    arm = children.start('the simulated arm', 'examples.arm_node', arguments, log=out / 'arm.log')
    arm.wait_for('ready', others=[], patience_s=PATIENCE_S)
    return arm


def record(out: Path, seconds: float, seed: int) -> None:
    """Move the arm randomly; record its camera and, for the labels, the position of its tip."""
    with Children(alone(out)) as children:
        arm = start_arm(children, out)
        truth = children.start(
            'truth', 'examples.truth', ['--out', str(out / 'truth.csv')], log=out / 'truth.log'
        )
        truth.wait_for('matched', others=[arm], patience_s=PATIENCE_S)
        wander = children.start(
            'wander',
            'examples.wander',
            [*SIM_TIME, '-p', f'seed:={seed}'],
            log=out / 'wander.log',
        )
        arguments = ['record', '--topic', IMAGE, '--out', str(out / 'bag')]
        arguments += ['--max-messages', str(round(seconds * RATE_HZ))]
        recorder = children.start('record', 'keypoint_perception', arguments)
        recorder.wait_to_end(
            others=[arm, truth, wander], patience_s=PATIENCE_S + SLOWEST * seconds
        )
        truth.tell('end')
        truth.wait_for('written', others=[], patience_s=PATIENCE_S)


def learn(out: Path, args: argparse.Namespace) -> None:
    """Learn keypoints without labels, then name the tip from a few labelled frames."""
    from examples.truth import label_frames

    stamps_ns = [frame.stamp_ns for frame in read_frames([str(out / 'bag')])]
    labels = out / 'labels.csv'
    label_frames(out / 'truth.csv', stamps_ns, labels, LABELLED)
    budget = ['--steps', str(args.steps)] if args.steps else ['--minutes', f'{args.minutes:g}']
    model = str(out / 'model')
    run_verb(
        alone(out), 'train', str(out / 'bag'), '--out', model, '--seed', str(args.seed), *budget
    )
    run_verb(alone(out), 'landmarks', model, str(out / 'bag'), '--annotations', str(labels))


def start_loop(children: Children, out: Path) -> tuple[list[Child], Child]:
    """Start the arm, the perception, the controller and the film; wait until it records."""
    points = [f'{name}:=/perception_node/{name}' for name in ('keypoints', 'landmarks')]
    arm = start_arm(children, out)
    node = children.start(
        'perception_node',
        'keypoint_perception.ros.perception_node',
        [*SIM_TIME, '-p', f'model:={out / "model"}', '-r', f'image:={IMAGE}'],
        log=out / 'perception_node.log',
    )
    servo = children.start(
        'servo_node',
        'examples.servo_node',
        [*SIM_TIME, '-p', 'landmark:=tip', '-p', 'perception:=/perception_node'],
        log=out / 'servo_node.log',
    )
    arguments = [
        '--video',
        str(out / 'closed_loop.mp4'),
        '--picture',
        str(out / 'closed_loop.jpg'),
    ]
    arguments += ['--ros-args', '-r', f'image:={IMAGE}']
    arguments += [part for remap in points for part in ('-r', remap)]
    film = children.start('film', 'examples.film', arguments, log=out / 'film.log')
    film.wait_for('matched', others=[arm, node, servo], patience_s=PATIENCE_S)
    return [arm, node, servo, film], film


def control(out: Path, count: int, seed: int) -> dict:
    """Close the loop, command positions and return the score."""
    score = out / 'score.json'
    arguments = ['--truth', str(out / 'truth.csv'), '--out', str(score), '--seed', str(seed)]
    arguments += ['--patience', str(POSITION_S), '--count', str(count), *SIM_TIME]
    longest_s = PATIENCE_S + SLOWEST * POSITION_S
    with Children(alone(out)) as children:
        others, film = start_loop(children, out)
        judge = children.start('judge', 'examples.judge', arguments, log=out / 'judge.log')
        judge.wait_for('matched', others=others, patience_s=PATIENCE_S)
        for number in range(1, count + 1):
            show(number, judge.wait_for(f'position {number}', others=others, patience_s=longest_s))
        judge.wait_for('done', others=others, patience_s=PATIENCE_S)
        film.tell('end')
        film.wait_for('written', others=[], patience_s=PATIENCE_S)
    return json.loads(score.read_text())


def make_room(out: Path) -> None:
    """
    Remove the bag and the model of a previous run.

    :raises ConfigError: if they were not made by this program
    """
    old = [out / name for name in ('bag', 'model') if (out / name).exists()]
    if old and not (out / 'truth.csv').is_file():
        msg = (
            f'{str(old[0])!r} exists but was not made by this program; choose another '
            'directory with --out.'
        )
        raise ConfigError(msg)
    for path in old:
        shutil.rmtree(path)


def show(number: int, result: dict) -> None:
    """Print the result of one position."""
    u, v = result['target_px']
    verdict = 'reached' if result['success'] else 'missed'
    console.print(
        f'{number:2d}  to ({u:5.1f}, {v:5.1f}) px: the true tip is {result["error_percent"]:4.1f} '
        f'% of the diagonal away after {result["seconds"]:4.1f} s, {verdict}',
        soft_wrap=True,
    )


def closed_loop(args: argparse.Namespace) -> None:
    """Run the complete workflow."""
    load_bullet()  # fail early if it is missing
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    if not args.keep_model:
        make_room(out)
        say(f'1/3 record the simulated arm for {args.record:g} s')
        record(out, args.record, args.seed)
        say(f'2/3 train on the bag without labels, then name the tip in {LABELLED} frames')
        learn(out, args)
    say(f'3/3 close the loop over ROS: {args.positions} commanded positions')
    score = control(out, args.positions, args.seed)
    figures = {'seed': args.seed, 'seconds': round(time.monotonic() - started, 1)} | score
    (out / 'closed_loop.json').write_text(json.dumps(figures, indent=2) + '\n')
    console.print(
        f'\n[bold]{score["success"]} of {score["positions"]} positions reached[/bold] within '
        f'{score["within_percent"]:g} % of the diagonal; mean error '
        f'{score["mean_error_percent"]:.1f} %'
    )
    console.print('\nmade:')
    for name in ('closed_loop.mp4', 'closed_loop.jpg', 'closed_loop.json', 'bag', 'model'):
        console.print(f'  {out / name}', soft_wrap=True)


def main() -> None:
    """Run it; however it ends, its child processes end with it."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--out', type=Path, default=Path('out/closed_loop'))
    parser.add_argument('--record', type=float, default=90.0, help='seconds of recording')
    parser.add_argument('--minutes', type=float, default=4.0, help='of training')
    parser.add_argument('--steps', type=int, default=0, help='of training, instead of minutes')
    parser.add_argument('--positions', type=int, default=10, help='to command')
    parser.add_argument('--seed', type=int, default=0, help='of motion, training and positions')
    parser.add_argument(
        '--keep-model', action='store_true', help='control again with what --out holds'
    )
    args = parser.parse_args()
    run_program(lambda: closed_loop(args))


if __name__ == '__main__':
    main()
