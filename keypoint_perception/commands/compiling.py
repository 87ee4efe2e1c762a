"""``export --engine tensorrt``: the compiled engine of a model, ahead of time."""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.commands.progress import build_progress
from keypoint_perception.errors import EngineError


def compile_model(model: Path, precision: str, max_batch: int) -> None:
    """
    Build the engine that the node would build, and cache it.

    :raises ModelError: if the model lacks the precision
    :raises EngineError: if there is no TensorRT or no GPU, or the engine cannot be built or cached
    """
    from keypoint_perception.inference.tensorrt.tensorrt_engine import TensorRTEngine
    from keypoint_perception.manifest import read_manifest

    with build_progress() as progress:
        engine = TensorRTEngine(
            model,
            read_manifest(model),
            precision=precision,
            max_batch=max_batch,
            progress=progress,
        )
    prepared = engine.prepared
    engine.close()
    if prepared.path is None:
        msg = (
            'The engine was built but could not be cached, for the reason logged above, so the '
            'node would build it again; fix that and repeat the export.'
        )
        raise EngineError(msg)
    if prepared.parity is None:
        print(f'{prepared.path} is up to date, for {engine.description}')
        return
    print(
        f'built {prepared.path} in {prepared.seconds:.0f} s, for {engine.description}; it differs '
        f'from ONNX Runtime by at most {prepared.parity["largest_px"]:.4f} px on '
        f'{prepared.parity["frames"]} {prepared.parity["images"]}'
    )


def clear_engines() -> None:
    """
    Remove all compiled engines of this user.

    :raises EngineError: if they cannot be removed
    """
    from keypoint_perception.inference.engine_cache import EngineCache

    cache = EngineCache()
    engines, size = cache.clear()
    print(f'removed {engines} compiled engines, {size / 2**20:.1f} MiB, from {cache.path}')
