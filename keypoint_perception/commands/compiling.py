"""``export --engine tensorrt``: the compiled engine of a model, ahead of time."""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.commands.progress import build_progress
from keypoint_perception.errors import EngineError


def compile_model(model: Path, precision: str, max_batch: int) -> None:
    """
    Build the engine that the node would build, and keep it.

    :raises ModelError: if the model has no network in this precision
    :raises EngineError: if there is no TensorRT or no GPU, or the engine cannot be built or kept
    """
    from keypoint_perception.inference.engine import load_engine

    with build_progress() as progress:
        engine = load_engine(
            model, 'tensorrt', precision=precision, max_batch=max_batch, progress=progress
        )
    ready = engine.ready
    engine.close()
    if ready.place is None:
        msg = (
            'The engine was built but could not be kept, as said above, and would be built again '
            'by the node; mend that and run this again.'
        )
        raise EngineError(msg)
    if ready.parity is None:
        print(f'{ready.place} is there already, for {engine.description}')
        return
    print(
        f'built {ready.place} in {ready.seconds:.0f} s, for {engine.description}; it differs from '
        f'ONNX Runtime by at most {ready.parity["largest_px"]:.4f} px on '
        f'{ready.parity["frames"]} {ready.parity["images"]}'
    )


def clear_engines() -> None:
    """
    Remove all compiled engines and optimised graphs of this user.

    :raises EngineError: if they cannot be removed
    """
    from keypoint_perception.inference.engine_cache import EngineCache

    cache = EngineCache()
    engines, size = cache.clear()
    what = f'{engines} compiled engines and optimised graphs'
    print(f'removed {what}, {size / 2**20:.1f} MiB, from {cache.path}')
