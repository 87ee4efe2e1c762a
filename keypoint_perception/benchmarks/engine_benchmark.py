"""
How fast every engine runs a model, side by side.

The engines take turns, a few calls each, so that whatever else the machine does falls on all of
them alike; ratios of one run mean something where absolute times do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import json
from pathlib import Path
import subprocess
import sys
import time
from typing import NamedTuple

from keypoint_perception.errors import EngineError, PerceptionError
from keypoint_perception.inference.engine import Engine, load_engine
import numpy as np

# Calls of one turn; the first finds another network in the caches and is not counted.
TURN = 6
PARITY_FRAMES = 64

Load = Callable[..., Engine]


class Contender(NamedTuple):
    """
    An engine with the precision of its network and where it computes.

    :param provider: of ONNX Runtime; empty for other engines
    """

    engine: str
    precision: str
    provider: str = ''

    @property
    def title(self) -> str:
        """Return its name in a table."""
        return ' '.join(filter(None, self))

    def load(self, model_dir: Path, threads: int, max_batch: int, load: Load) -> Engine:
        """Return the engine."""
        provider = {'provider': self.provider} if self.provider else {}
        return load(
            model_dir,
            self.engine,
            threads=threads,
            precision=self.precision,
            max_batch=max_batch,
            **provider,
        )


def contenders(
    precisions: Sequence[str], candidates: Sequence[tuple[str, str]], *, torch: bool
) -> list[Contender]:
    """
    Return what can be measured.

    :param precisions: in which the model is there
    :param candidates: engines that are there and their providers, as ``auto`` finds them
    :param torch: whether there is a checkpoint, and PyTorch for it
    """
    found = [
        Contender(engine, precision, provider)
        for engine, provider in reversed(candidates)
        for precision in precisions
        # ONNX Runtime's CPU computes half precision in single, after casts
        if (precision, provider) != ('fp16', 'cpu')
    ]
    return [*found, Contender('torch', 'fp32')] if torch else found


def measure_engines(
    model_dir: Path,
    field: Sequence[Contender],
    images: np.ndarray,
    *,
    threads: int,
    batches: Sequence[int],
    runs: int,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    load: Load = load_engine,
) -> dict:
    """
    Measure engines in turns.

    :param images: at least as many as the largest batch, (N, H, W, 3) uint8
    :param threads: CPU threads of each
    :param runs: calls of each engine at each batch size that count
    :param progress: is told batch sizes done, and all
    :return: ``engines``, each with its facts or with ``failed``; see :func:`_facts`
    """
    engines, results = {}, []
    for contender in field:
        facts = contender._asdict() | {'threads': threads}
        results.append(facts)
        started = time.perf_counter()
        try:
            engine = contender.load(model_dir, threads, max(batches), load)
            engine.run(images[:1])
        except PerceptionError as error:
            facts['failed'] = str(error)
            continue
        facts |= {'description': engine.description, 'load_s': time.perf_counter() - started}
        engines[contender] = engine
    for number, batch in enumerate(batches):
        durations = _take_turns(engines, images[:batch], runs)
        progress(number + 1, len(batches))
        for contender, facts in zip(field, results, strict=True):
            if contender in engines:
                facts.setdefault('batches', {})[str(batch)] = _facts(durations[contender], batch)
    reference = next(iter(engines), None)
    for contender, facts in zip(field, results, strict=True):
        if contender in engines:
            facts['parity'] = _parity(engines[reference], engines[contender], images)
    for engine in engines.values():
        engine.close()
    name = '' if reference is None else reference.title
    return {'threads': threads, 'runs': runs, 'reference': name, 'engines': results}


def _take_turns(engines, images: np.ndarray, runs: int) -> dict[Contender, list[float]]:
    """Return the durations of each engine's calls, s."""
    durations: dict[Contender, list[float]] = {contender: [] for contender in engines}
    for _ in range(0, runs, TURN - 1):
        for contender, engine in engines.items():
            durations[contender] += list(_timed(engine, images))[1:]
    return {contender: times[:runs] for contender, times in durations.items()}


def _timed(engine: Engine, images: np.ndarray) -> Iterator[float]:
    for _ in range(TURN):
        started = time.perf_counter()
        engine.run(images)
        yield time.perf_counter() - started


def _facts(durations: list[float], batch: int) -> dict[str, float]:
    """Return the least duration of a call and percentiles, ms, and images a second at p50."""
    p50, p95, p99 = np.percentile(durations, [50, 95, 99])
    return {
        'least_ms': 1e3 * min(durations),
        'p50_ms': 1e3 * float(p50),
        'p95_ms': 1e3 * float(p95),
        'p99_ms': 1e3 * float(p99),
        'images_per_s': batch / float(p50),
    }


def _parity(reference: Engine, engine: Engine, images: np.ndarray) -> dict[str, float]:
    """Return how far an engine's keypoints are from another's, px at network size."""
    found, expected = (
        np.concatenate([e.run(image[None]) for image in images[:PARITY_FRAMES]])
        for e in (engine, reference)
    )
    distances = np.linalg.norm((found - expected)[..., :2], axis=-1)
    median, p95 = np.percentile(distances, [50, 95])
    return {'median_px': float(median), 'p95_px': float(p95), 'largest_px': float(distances.max())}


def measure_memory(model_dir: Path, contender: Contender, *, threads: int, batch: int) -> dict:
    """
    Return the memory of a process that has an engine and nothing else.

    :return: ``loaded_mb`` resident after the first call, ``peak_mb`` after some of the batch size
    :raises EngineError: if the process fails
    """
    command = [sys.executable, '-m', __name__, str(model_dir), *contender]
    done = subprocess.run(
        [*command, str(threads), str(batch)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ['no word']
        msg = f'{contender.title} does not run in a process of its own: {words[-1]}.'
        raise EngineError(msg)
    return json.loads(done.stdout.splitlines()[-1])


def _report_memory(arguments: list[str]) -> None:
    """Load an engine, run it, and print what the process has needed."""
    model_dir, engine, precision, provider, threads, batch = arguments
    contender = Contender(engine, precision, provider)
    loaded = contender.load(Path(model_dir), int(threads), int(batch), load_engine)
    images = np.zeros((int(batch), *loaded.input_hw, 3), np.uint8)
    loaded.run(images[:1])
    resident = _status_mb('VmRSS')
    for _ in range(5):
        loaded.run(images)
    print(json.dumps({'loaded_mb': resident, 'peak_mb': _status_mb('VmHWM')}))


def _status_mb(field: str) -> float:
    """Return a field of this process's state, MB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(field)


if __name__ == '__main__':
    _report_memory(sys.argv[1:])
