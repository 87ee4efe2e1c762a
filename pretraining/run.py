"""
Make the package's initial weights: ``python -m pretraining.run --out out/pretraining``.

Simulates the recordings, unless they are there, and learns from them, in an hour and 3 GB of disk.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
import json
from pathlib import Path

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.frames.store_format import is_store
from keypoint_perception.learning.initial import initial_weights
from keypoint_perception.learning.initial.initial_weights import HEAD, QUERIES, WEIGHTS_NAME
from keypoint_perception.model.network import NetworkConfig
from rich.progress import Progress
from safetensors.torch import save_file

from pretraining.correspondence import Correspondence, learn
from pretraining.recordings import write_store

STORE_NAME = 'recordings'
HW = (128, 128)


def main() -> None:
    """Simulate, learn and write the weights."""
    options = _options()
    store = options.out / STORE_NAME
    with Progress() as bars:
        if not is_store(store):
            task = bars.add_task('simulating scenes', total=options.scenes)
            write_store(
                *(store, HW),
                scenes=options.scenes,
                seed=options.seed,
                report=lambda done: bars.update(task, completed=done),
            )
        task = bars.add_task('learning', total=options.steps)
        learner = learn(
            *(FrameStore.open(store), NetworkConfig()),
            steps=options.steps,
            pairs=options.pairs,
            rate=options.rate,
            seed=options.seed,
            report=lambda done, error: bars.update(
                task, completed=done, description=f'learning, error {error:.2f}'
            ),
        )
    write_weights(options.weights, learner, vars(options))
    print(f'wrote {options.weights}')


def write_weights(path: Path, learner: Correspondence, options: dict[str, object]) -> None:
    """Write the features, and what makes a head of them, in the form that the package reads."""
    features = {f'body.{n}': t for n, t in learner.body.state_dict().items()}
    weights = {n: t for n, t in features.items() if not n.startswith(HEAD)}
    weights |= {f'{QUERIES}{n}': t for n, t in learner.queries.state_dict().items()}
    metadata = {
        'config': json.dumps(asdict(NetworkConfig())),
        'pretraining': json.dumps({n: str(v) for n, v in options.items() if n in RECORDED}),
    }
    save_file({n: t.contiguous() for n, t in weights.items()}, path, metadata)


RECORDED = ('scenes', 'steps', 'pairs', 'rate', 'seed')


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    own = Path(initial_weights.__file__).with_name(WEIGHTS_NAME)
    parser.add_argument('--out', type=Path, required=True, help='folder for the recordings')
    parser.add_argument('--weights', type=Path, default=own, help="the package's file by default")
    parser.add_argument('--scenes', type=int, default=2400)
    parser.add_argument('--steps', type=int, default=14_000)
    parser.add_argument('--pairs', type=int, default=24, help='pairs of frames in a step')
    parser.add_argument('--rate', type=float, default=2e-3, help='largest learning rate')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


if __name__ == '__main__':
    main()
