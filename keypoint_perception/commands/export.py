"""``export``: (re)build what the robot runs, checked for parity."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from keypoint_perception.errors import ConfigError
from keypoint_perception.model_directory import ONNX_NAME, onnx_name, PRECISIONS
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
    frames: Annotated[
        Path | None,
        typer.Option(help='int8: recording for its scales; by default what was learned from.'),
    ] = None,
    topic: Annotated[str | None, typer.Option(help='Image topic of --frames.')] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help='fp16, int8: px (median, at network size) that the keypoints may be from those '
            'of fp32; by default 0.1 and 0.5.',
        ),
    ] = None,
    signed: Annotated[
        bool, typer.Option('--signed', help='int8: with signed bytes, as TensorRT needs it.')
    ] = False,
    clear_cache: Annotated[
        bool, typer.Option('--clear-cache', help='Remove the compiled engines of this user first.')
    ] = False,
) -> None:
    """Build the ONNX file of a model and check it; or of that file, an engine for this GPU."""
    check_choice('--precision', precision, PRECISIONS)
    check_choice('--engine', engine, ENGINES)
    check_belonging(precision, frames=frames, topic=topic, max_loss=max_loss, signed=signed)
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
        elif precision == 'fp16':
            export_as_fp16(model, max_loss)
        else:
            export_as_int8(model, frames, topic, max_loss, signed=signed)


def check_choice(option: str, given: str, known: tuple[str, ...]) -> None:
    """
    Check an option's word.

    :raises ConfigError: if it is none of those known
    """
    if given not in known:
        msg = f'{option} {given!r} is not known; known: {", ".join(known)}.'
        raise ConfigError(msg)


def check_belonging(precision: str, *, max_loss: float | None, **of_int8: object) -> None:
    """
    Check that no option is given that the precision has no use for.

    :raises ConfigError: if one is
    """
    for name, value in of_int8.items():
        if value and precision != 'int8':
            msg = f'--{name} belongs to --precision int8; it was given with {precision}.'
            raise ConfigError(msg)
    if max_loss is not None and precision == 'fp32':
        msg = '--max-loss belongs to --precision fp16 and int8; fp32 is what they are held to.'
        raise ConfigError(msg)


def export_fp32(model: Path) -> None:
    """Build ``keypointer.onnx`` from the checkpoint and say how far it is from torch."""
    from keypoint_perception.model.onnx_export import export_model

    parity = export_model(model).metrics['parity']
    print(
        f'wrote {model / ONNX_NAME}; it differs from torch by at most '
        f'{parity["largest_px"]:.4f} px on {parity["frames"]} frames of its training recording'
    )


def export_as_fp16(model: Path, max_loss: float | None) -> None:
    """Build ``keypointer.fp16.onnx`` and say what it costs."""
    from keypoint_perception.model.checkpoint import load_checkpoint
    from keypoint_perception.model.precisions import export_fp16, MAX_LOSS_PX

    frames = load_checkpoint(model).frames.numpy()
    allowed = MAX_LOSS_PX['fp16'] if max_loss is None else max_loss
    _say(model, 'fp16', export_fp16(model, frames, max_loss_px=allowed))


def export_as_int8(
    model: Path, source: Path | None, topic: str | None, max_loss: float | None, *, signed: bool
) -> None:
    """Build ``keypointer.int8.onnx`` and say what it costs."""
    from keypoint_perception.commands.recorded_frames import calibration_frames
    from keypoint_perception.manifest import read_manifest
    from keypoint_perception.model.precisions import export_int8, MAX_LOSS_PX

    frames, held_out = calibration_frames(model, read_manifest(model).input_hw, source, topic)
    allowed = MAX_LOSS_PX['int8'] if max_loss is None else max_loss
    manifest = export_int8(model, frames, held_out, max_loss_px=allowed, signed=signed)
    _say(model, 'int8', manifest)


def _say(model: Path, precision: str, manifest) -> None:
    loss = manifest.precisions[precision]
    print(
        f'wrote {model / onnx_name(precision)}; its keypoints are {loss["median_px"]:.3f} px '
        f'(median; 95 % within {loss["p95_px"]:.3f} px) from those of fp32 on {loss["frames"]} '
        f'recorded frames'
        + (' that its scales were not taken from' if precision == 'int8' else '')
    )
