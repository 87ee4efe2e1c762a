"""``export``: (re)build what the robot runs, checked for parity."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from keypoint_perception.errors import ConfigError, EngineError
import typer

PRECISIONS = ('fp32', 'fp16', 'int8')
ENGINES = ('onnxruntime', 'tensorrt')


def export(
    model: Annotated[Path, typer.Argument(help='Model directory, as `train` wrote it.')],
    precision: Annotated[str, typer.Option(help='fp32; fp16 and int8 are to come.')] = 'fp32',
    engine: Annotated[str, typer.Option(help='onnxruntime or tensorrt.')] = 'onnxruntime',
) -> None:
    """Build the ONNX file of a model from its checkpoint and check it against torch."""
    if precision not in PRECISIONS:
        msg = f'--precision {precision!r} is not known; known: {", ".join(PRECISIONS)}.'
        raise ConfigError(msg)
    if engine not in ENGINES:
        msg = f'--engine {engine!r} is not known; known: {", ".join(ENGINES)}.'
        raise ConfigError(msg)
    if precision != 'fp32' or engine != 'onnxruntime':
        msg = (
            f'--precision {precision} --engine {engine} is not built in this version; it builds '
            '--precision fp32 --engine onnxruntime, which every ONNX Runtime runs.'
        )
        raise EngineError(msg)
    from keypoint_perception.model.checkpoint import has_checkpoint
    from keypoint_perception.model.onnx_export import export_model
    from keypoint_perception.sole_writer import sole_writer

    with sole_writer(model) if has_checkpoint(model) else nullcontext():
        manifest = export_model(model)
    parity = manifest.metrics['parity']
    print(
        f'wrote {model / "keypointer.onnx"}; it differs from torch by at most '
        f'{parity["largest_px"]:.4f} px on {parity["frames"]} frames of its training recording'
    )
