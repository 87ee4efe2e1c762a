"""``export``: (re)build what the robot runs, checked for parity."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from keypoint_perception.errors import ConfigError, EngineError
from keypoint_perception.manifest import PRECISIONS
import typer

ENGINES = ('onnxruntime', 'tensorrt')


def export(
    model: Annotated[
        Path | None, typer.Argument(help='Model directory, as `train` wrote it.')
    ] = None,
    precision: Annotated[str, typer.Option(help='fp32, fp16 or int8.')] = 'fp32',
    engine: Annotated[
        str, typer.Option(help='onnxruntime: the ONNX file; tensorrt: the engine for this GPU.')
    ] = 'onnxruntime',
    max_batch: Annotated[
        int, typer.Option(help='tensorrt: images of one pass, as many as the node has cameras.')
    ] = 1,
    clear_cache: Annotated[
        bool, typer.Option('--clear-cache', help='Remove the compiled engines of this user first.')
    ] = False,
) -> None:
    """Build the ONNX file of a model and check it; or of that file, an engine for this GPU."""
    check_choice('--precision', precision, PRECISIONS)
    check_choice('--engine', engine, ENGINES)
    from keypoint_perception.commands.compiling import clear_engines, compile_model
    from keypoint_perception.sole_writer import sole_writer

    if clear_cache:
        clear_engines()
        if model is None:
            return
    if model is None:
        msg = 'No model is named; give the directory that `train --out` wrote.'
        raise ConfigError(msg)
    if engine == 'tensorrt':
        compile_model(model, precision, max_batch)
        return
    with sole_writer(model) if model.is_dir() else nullcontext():
        if precision == 'fp32':
            export_fp32(model)
        else:
            msg = f'--precision {precision} is not built in this version; it builds fp32.'
            raise EngineError(msg)


def check_choice(option: str, given: str, known: tuple[str, ...]) -> None:
    """
    Check an option's word.

    :raises ConfigError: if it is none of those known
    """
    if given not in known:
        msg = f'{option} {given!r} is not known; known: {", ".join(known)}.'
        raise ConfigError(msg)


def export_fp32(model: Path) -> None:
    """Build ``keypointer.onnx`` from the checkpoint and say how far it is from torch."""
    from keypoint_perception.model.onnx_export import export_model

    parity = export_model(model).metrics['parity']
    print(
        f'wrote {model / "keypointer.onnx"}; it differs from torch by at most '
        f'{parity["largest_px"]:.4f} px on {parity["frames"]} frames of its training recording'
    )
