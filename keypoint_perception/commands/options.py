"""Arguments and options shared by several verbs, and options generated from settings."""

from __future__ import annotations

from collections.abc import Callable
import inspect
from pathlib import Path
from typing import Annotated, Any

from keypoint_perception.inference.engine import ENGINE_NAMES
from keypoint_perception.settings import Setting, Settings, settings_of
import typer

Model = Annotated[Path, typer.Argument(help='Model directory written by `train`.')]
Recording = Annotated[Path, typer.Argument(help='Bag, video, image folder or frame store.')]
Recordings = Annotated[
    list[Path], typer.Argument(help='Bags, videos, image folders or frame stores.')
]
Topic = Annotated[
    str | None, typer.Option(help='Image topic; optional if the recording has only one.')
]
Topics = Annotated[list[str] | None, typer.Option(help='Image topic; repeat for several cameras.')]
Stamps = Annotated[
    str,
    typer.Option(
        help='Stamps of the images: header, bag (when they were recorded), index:RATE (numbered, '
        'RATE images per second); default: header unless these are no use.',
        show_default=False,
    ),
]
Labels = Annotated[Path, typer.Option(help='Labels, CSV stamp_ns,keypoint,u,v.')]
Video = Annotated[
    Path | None,
    typer.Option(help='Overlay video (MP4) to write, with a contact sheet (PNG) beside it.'),
]
EngineName = Annotated[str, typer.Option(help=f'Engine: {", ".join(ENGINE_NAMES)}.')]
Threads = Annotated[
    int, typer.Option(min=0, max=1024, help="CPU threads of the engine; 0: the engine's default.")
]
Precision = Annotated[str, typer.Option(help='fp32, or fp16 or int8 if exported.')]
PredictHidden = Annotated[
    bool,
    typer.Option(help='Predict hidden keypoints from the others, with confidence 0.'),
]
DdsProfile = Annotated[
    Path | None, typer.Option(help='Fast DDS profile; default: the one included.')
]
DefaultDds = Annotated[
    bool,
    typer.Option('--default-dds', help='Use Fast DDS without a profile.'),
]


def options_of(kind: type[Settings]) -> Callable[[Any], Any]:
    """Return a decorator that adds settings as options to a verb that takes ``**values``."""

    def add(verb: Any) -> Any:
        signature = inspect.signature(verb, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        options = [_option(setting) for setting in settings_of(kind).values()]
        verb.__signature__ = signature.replace(parameters=[*own, *options])
        return verb

    return add


def _option(setting: Setting) -> inspect.Parameter:
    # switches have no --no- form
    flags = [f'--{setting.name.replace("_", "-")}'] if setting.kind is bool else []
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=setting.default,
        annotation=Annotated[setting.kind, typer.Option(*flags, help=setting.help)],
    )
