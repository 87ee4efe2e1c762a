"""``export``: write the network in the form that the robot runs, checked for parity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from keypoint_perception.commands.outputs import changed_model
from keypoint_perception.errors import ConfigError, EngineError
from keypoint_perception.manifest import Manifest
from keypoint_perception.model_directory import ONNX_NAME, onnx_name, PRECISIONS
import typer

ENGINES = ('onnxruntime', 'tensorrt')


def export(
    model: Annotated[
        Path | None, typer.Argument(help='Model directory, written by `train`.')
    ] = None,
    precision: Annotated[str, typer.Option(help='fp32, fp16 or int8.')] = 'fp32',
    engine: Annotated[
        str,
        typer.Option(
            help='What to write: onnxruntime, the ONNX file; tensorrt, an engine compiled for '
            'this GPU.'
        ),
    ] = 'onnxruntime',
    max_batch: Annotated[
        int, typer.Option(help='tensorrt: images per pass; the number of cameras of the node.')
    ] = 1,
    frames: Annotated[
        Path | None,
        typer.Option(help='int8: recording to calibrate on; by default the training frames.'),
    ] = None,
    topic: Annotated[str | None, typer.Option(help='Image topic of --frames.')] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help='fp16, int8: largest median distance to the keypoints of fp32, px at network '
            'size; default: 0.1 for fp16, 0.5 for int8.',
        ),
    ] = None,
    signed: Annotated[
        bool, typer.Option('--signed', help='int8: signed values, as TensorRT requires.')
    ] = False,
    clear_cache: Annotated[
        bool, typer.Option('--clear-cache', help='First remove the compiled engines of this user.')
    ] = False,
) -> None:
    """Write and check the ONNX file of a model, or compile it to an engine for this GPU."""
    _check_choice('--precision', precision, PRECISIONS)
    _check_choice('--engine', engine, ENGINES)
    _check_applicable(precision, frames=frames, topic=topic, max_loss=max_loss, signed=signed)
    if clear_cache:
        from keypoint_perception.inference.engine_cache import EngineCache

        cache = EngineCache()
        engines, size = cache.clear()
        print(f'removed {engines} compiled engines, {size / 2**20:.1f} MiB, from {cache.path}')
        if model is None:
            return
    if model is None:
        msg = 'No model was given; specify the directory that `train --out` wrote.'
        raise ConfigError(msg)
    if engine == 'tensorrt':
        _compile(model, precision, max_batch)
        return
    with changed_model(model):
        if precision == 'fp32':
            _export_fp32(model)
        elif precision == 'fp16':
            _export_fp16(model, max_loss)
        else:
            _export_int8(model, frames, topic, max_loss, signed=signed)


def _check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f'{option} {value!r} is not known; known: {", ".join(known)}.'
        raise ConfigError(msg)


def _check_applicable(precision: str, *, max_loss: float | None, **of_int8: object) -> None:
    for name, value in of_int8.items():
        if value and precision != 'int8':
            msg = f'--{name} requires --precision int8, got {precision}.'
            raise ConfigError(msg)
    if max_loss is not None and precision == 'fp32':
        msg = '--max-loss requires --precision fp16 or int8, which are compared with fp32.'
        raise ConfigError(msg)


def _export_fp32(model: Path) -> None:
    from keypoint_perception.model.onnx_export import export_model

    parity = export_model(model).metrics['parity']
    print(
        f'wrote {model / ONNX_NAME}; it differs from torch by at most '
        f'{parity["largest_px"]:.4f} px on {parity["frames"]} frames of its training recording'
    )


def _export_fp16(model: Path, max_loss: float | None) -> None:
    from keypoint_perception.model.checkpoint import load_checkpoint
    from keypoint_perception.model.precisions import export_fp16

    frames = load_checkpoint(model).frames.numpy()
    _print_loss(model, 'fp16', export_fp16(model, frames, max_loss_px=max_loss))


def _export_int8(
    model: Path, source: Path | None, topic: str | None, max_loss: float | None, *, signed: bool
) -> None:
    from keypoint_perception.commands.recorded_frames import calibration_frames
    from keypoint_perception.manifest import read_manifest
    from keypoint_perception.model.precisions import export_int8

    frames, held_out = calibration_frames(model, read_manifest(model).input_hw, source, topic)
    manifest = export_int8(model, frames, held_out, max_loss_px=max_loss, signed=signed)
    _print_loss(model, 'int8', manifest)


def _print_loss(model: Path, precision: str, manifest: Manifest) -> None:
    loss = manifest.precisions[precision]
    print(
        f'wrote {model / onnx_name(precision)}; its keypoints differ from those of fp32 by '
        f'{loss["median_px"]:.3f} px (median; 95 %: {loss["p95_px"]:.3f} px) on {loss["frames"]} '
        + ('held-out frames' if precision == 'int8' else 'recorded frames')
    )


def _compile(model: Path, precision: str, max_batch: int) -> None:
    """Build the engine that the node would build, and cache it."""
    from keypoint_perception.commands.progress import progress_bars
    from keypoint_perception.inference.tensorrt.tensorrt_engine import TensorRTEngine
    from keypoint_perception.manifest import read_manifest

    with progress_bars() as bars:
        engine = TensorRTEngine(
            model,
            read_manifest(model),
            precision=precision,
            max_batch=max_batch,
            progress=bars.phase,
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
