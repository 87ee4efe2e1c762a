"""A model directory becomes a warm engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from keypoint_perception.errors import ConfigError, EngineError, PerceptionError
from keypoint_perception.inference.engine import Engine
from keypoint_perception.manifest import read_manifest
from keypoint_perception.model_directory import ONNX_NAME
import numpy as np

WARM_UP_RUNS = 3


class EngineSpec(NamedTuple):
    """
    Which engine is wanted; the fields are parameters of the node.

    :param model: model directory
    :param engine: name of the library
    :param threads: CPU threads of one inference
    :param precision: of the network
    :param provider: where ONNX Runtime computes
    """

    model: str
    engine: str
    threads: int
    precision: str = 'fp32'
    provider: str = 'auto'

    @property
    def model_dir(self) -> Path:
        """Return the model directory as a path."""
        return Path(self.model).expanduser()


class Loaded(NamedTuple):
    """
    An engine that is warm.

    :param identity: what tells its model from another
    """

    engine: Engine
    identity: str


def load_warm(
    load: Callable[..., Engine],
    wish: EngineSpec,
    batch_sizes: int,
    progress: Callable[[int, int, str], bool | None] | None = None,
) -> Loaded:
    """
    Load an engine, and run it until it has done everything that is done only once.

    :param load: as :func:`keypoint_perception.inference.engine.load_engine`
    :param batch_sizes: it shall be warm for batches of 1 up to this many images
    :param progress: is told how far an engine is that has to be built first
    :raises PerceptionError: if there is no such model or engine, or if it cannot run
    """
    check_spec(wish)
    try:
        engine = load(
            wish.model_dir,
            wish.engine,
            threads=wish.threads,
            precision=wish.precision,
            provider=wish.provider,
            max_batch=batch_sizes,
            progress=progress,
        )
        try:
            return _warm(engine, wish, batch_sizes)
        except BaseException:
            engine.close()  # what it holds on a GPU is not given back by itself
            raise
    except PerceptionError:
        raise
    except Exception as error:  # a library's own
        msg = f'The engine does not run {wish.model!r}: {type(error).__name__}: {error}.'
        raise EngineError(msg) from error


def _warm(engine: Engine, wish: EngineSpec, batch_sizes: int) -> Loaded:
    black = np.zeros((batch_sizes, *engine.input_hw, 3), np.uint8)
    for _ in range(WARM_UP_RUNS):
        for size in range(1, batch_sizes + 1):
            engine.run(black[:size])
    return Loaded(engine, model_identity(wish.model_dir))


def check_spec(wish: EngineSpec) -> None:
    """
    Look whether a model is named at all.

    :raises ConfigError: if not
    """
    if not wish.model:
        msg = (
            'Parameter model is not set; set it to the directory that `train --out` wrote, '
            'as in `--ros-args -p model:=DIR`.'
        )
        raise ConfigError(msg)


def model_identity(model_dir: Path) -> str:
    """Return what tells one model from another: its place, shape and the network's digest."""
    manifest = read_manifest(model_dir)
    height, width = manifest.input_hw
    return (
        f'{model_dir} ({manifest.keypoint_count} keypoints, {width}x{height} px, '
        f'sha256 {manifest.files[ONNX_NAME][:12]})'
    )
