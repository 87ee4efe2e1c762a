"""
The speed of a model in every engine, side by side.

The engines take turns, a few calls each, so that other load on the machine affects all of them
alike: ratios of one run are meaningful where absolute times are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import json
from pathlib import Path
import subprocess
import sys
import time
from typing import Any, NamedTuple

from keypoint_perception.errors import EngineError, PerceptionError
from keypoint_perception.inference.engine import Engine, load_engine
from keypoint_perception.parity import check_parity, UNLIMITED
import numpy as np

# Calls of one turn; the first is not counted, as the caches hold another network.
TURN = 6
PARITY_FRAMES = 64

LoadEngine = Callable[..., Engine]


class Contender(NamedTuple):
    """An engine, a precision, and the provider if the engine is ONNX Runtime."""

    engine: str
    precision: str
    provider: str = ''

    @property
    def title(self) -> str:
        """Return the name in a table."""
        return ' '.join(filter(None, self))

    def load(self, model_dir: Path, threads: int, max_batch: int, load: LoadEngine) -> Engine:
        """Return the engine."""
        options: dict[str, Any] = {'precision': self.precision, 'threads': threads}
        if self.provider:
            options['provider'] = self.provider
        return load(model_dir, self.engine, max_batch=max_batch, **options)


def contenders(
    precisions: Sequence[str], candidates: Sequence[tuple[str, str]], *, torch: bool
) -> list[Contender]:
    """
    Return the combinations that can be measured.

    :param candidates: available engines and providers, in the order of ``auto``
    :param torch: whether a checkpoint and PyTorch are available
    """
    found = [
        Contender(engine, precision, provider)
        for engine, provider in reversed(candidates)
        for precision in precisions
        # on the CPU ONNX Runtime casts half precision to single
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
    load: LoadEngine = load_engine,
) -> dict[str, Any]:
    """
    Measure engines in turns.

    :param images: at least as many as the largest batch, (N, H, W, 3) uint8
    :param runs: timed calls of each engine at each batch size
    :return: ``engines``, each with its figures or with ``failed``; see :func:`_figures`
    """
    engines: dict[Contender, Engine] = {}
    results: list[dict[str, Any]] = []
    for contender in field:
        facts: dict[str, Any] = {**contender._asdict(), 'threads': threads}
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
                facts.setdefault('batches', {})[str(batch)] = _figures(durations[contender], batch)
    for contender, facts in zip(field, results, strict=True):
        if contender in engines:
            reference = next(iter(engines.values()))
            facts['parity'] = _parity(reference, engines[contender], images)
    for engine in engines.values():
        engine.close()
    name = next((contender.title for contender in engines), '')
    return {'threads': threads, 'runs': runs, 'reference': name, 'engines': results}


def _take_turns(
    engines: Mapping[Contender, Engine], images: np.ndarray, runs: int
) -> dict[Contender, list[float]]:
    """Return the durations of each engine's timed calls, s."""
    durations: dict[Contender, list[float]] = {contender: [] for contender in engines}
    for _ in range(0, runs, TURN - 1):
        for contender, engine in engines.items():
            engine.run(images)
            for _ in range(TURN - 1):
                started = time.perf_counter()
                engine.run(images)
                durations[contender].append(time.perf_counter() - started)
    return {contender: times[:runs] for contender, times in durations.items()}


def _figures(durations: list[float], batch: int) -> dict[str, float]:
    """Return minimum and percentiles of a call's duration, and images a second at p50."""
    percentiles_ms = {f'p{p}_ms': 1e3 * float(np.percentile(durations, p)) for p in (50, 95, 99)}
    rate = 1e3 * batch / percentiles_ms['p50_ms']
    return {'least_ms': 1e3 * min(durations), **percentiles_ms, 'images_per_s': rate}


def _parity(reference: Engine, engine: Engine, images: np.ndarray) -> dict[str, float]:
    """Return distances between the keypoints of two engines, px at network size."""
    found, expected = (
        {'keypoints': np.concatenate([e.run(image[None]) for image in images[:PARITY_FRAMES]])}
        for e in (engine, reference)
    )
    pair = f'Engines {engine.name} and {reference.name}'
    parity = check_parity(
        found, expected, UNLIMITED, pair=pair, images='frames', min_confidence=0.0
    )
    return {name: getattr(parity, name) for name in ('median_px', 'p95_px', 'largest_px')}


def measure_memory(
    model_dir: Path, contender: Contender, *, threads: int, batch: int
) -> dict[str, float]:
    """
    Return the memory of a process that only runs an engine.

    :return: ``loaded_mb`` resident after the first call, ``peak_mb`` after calls of the batch size
    :raises EngineError: if the process fails
    """
    command = [sys.executable, '-m', __name__, str(model_dir), *contender]
    done = subprocess.run(
        [*command, str(threads), str(batch)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ['it printed nothing']
        msg = f'{contender.title} does not run in a separate process: {lines[-1]}.'
        raise EngineError(msg)
    memory_mb: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return memory_mb


def _report_memory(arguments: list[str]) -> None:
    """Load an engine, run it, and print the memory of this process."""
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
    """Return a field of this process's status, MB."""
    _, _, text = Path('/proc/self/status').read_text().partition(f'\n{field}:')
    return int(text.split()[0]) * 1024 / 1e6


if __name__ == '__main__':
    _report_memory(sys.argv[1:])
