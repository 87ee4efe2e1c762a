"""Arguments and options that several verbs have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(help='Model directory, as `train` wrote it.')]
Recording = Annotated[Path, typer.Argument(help='Bag, video, folder of images or frame store.')]
Video = Annotated[
    Path | None,
    typer.Option(help='Overlay video (MP4) to write, with a contact sheet (PNG) beside it.'),
]
EngineName = Annotated[str, typer.Option(help='auto, onnxruntime, tensorrt or torch.')]
Threads = Annotated[
    int, typer.Option(min=0, max=1024, help='CPU threads of the engine; 0: its own choice.')
]
Precision = Annotated[
    str, typer.Option(help='fp32, or fp16 or int8 where the model was exported so.')
]
DdsProfile = Annotated[
    Path | None, typer.Option(help='Fast DDS profile; by default the shipped one.')
]
DefaultDds = Annotated[
    bool, typer.Option('--default-dds', help="Use Fast DDS's own settings, no profile.")
]
