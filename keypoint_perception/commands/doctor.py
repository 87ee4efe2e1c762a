"""``doctor``: check the installation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from keypoint_perception.commands import diagnosis
from keypoint_perception.commands.diagnosis import BROKEN, Finding, MISSING, OK
from keypoint_perception.errors import ModelError, PerceptionError
import typer

STYLES = {'ok': 'green', 'missing': 'yellow', 'warning': 'yellow', 'broken': 'red'}


def doctor(
    model: Annotated[Path | None, typer.Argument(help='Model directory to check too.')] = None,
    as_json: Annotated[
        bool, typer.Option('--json', help='Print JSON instead of a table.')
    ] = False,
    gpu: Annotated[
        bool,
        typer.Option('--gpu', help='Build, check and time a GPU engine; prints a bug report.'),
    ] = False,
    max_batch: Annotated[int, typer.Option(help='Maximum batch size for --gpu.')] = 2,
) -> None:
    """Check what is installed, what will be used, and how to get what is missing."""
    if gpu:
        from keypoint_perception.commands.gpu_report import gpu_report

        gpu_report(model, max_batch=max_batch, as_json=as_json)
        return
    findings = [*diagnosis.diagnose(), engine_choice()]
    if model is not None:
        findings.append(model_state(model))
    broken = [finding for finding in findings if finding.state == BROKEN]
    if as_json:
        checks = [finding._asdict() for finding in findings]
        print(json.dumps({'ok': not broken, 'checks': checks}, indent=2))
    else:
        _show(findings)
    if broken:
        faults = '; '.join(f'{f.name}: {", ".join(filter(None, f[3:]))}' for f in broken)
        msg = f'Required or installed parts do not work: {faults}.'
        raise PerceptionError(msg)


def engine_choice() -> Finding:
    """Return the engine that ``auto`` selects, and the reason."""
    from keypoint_perception.inference.engine import candidates

    name, _, reason = candidates()[0]
    found = f'auto selected {name}, because {reason}'
    if diagnosis.is_installed(name):
        return Finding('will be used', 'engine', OK, found)
    found, remedy = f'{found}; not installed', f'`pip install {name}`'
    return Finding('will be used', 'engine', MISSING, found, remedy)


def model_state(model: Path) -> Finding:
    """Check that a model directory is intact."""
    from keypoint_perception.manifest import read_manifest

    try:
        manifest = read_manifest(model)
    except ModelError as error:
        return Finding('model', str(model), BROKEN, str(error).rstrip('.'))
    height, width = manifest.input_hw
    found = (
        f'K={manifest.keypoint_count}, input {width}x{height}, {manifest.objective}, '
        f'{len(manifest.files)} files match the manifest'
    )
    return Finding('model', str(model), OK, found)


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False, pad_edge=False)
    for heading in ('part', 'name', 'state'):
        table.add_column(heading, no_wrap=True)
    table.add_column('found, remedy', overflow='fold')
    part = None
    for finding in findings:
        if part is not None and finding.part != part:
            table.add_section()
        state = f'[{STYLES[finding.state]}]{finding.state}[/]'
        first = finding.part if finding.part != part else ''
        text = Text(finding.found)
        if finding.remedy:
            text.append(f'\n-> {finding.remedy}', style='bold')
        table.add_row(first, finding.name, state, text)
        part = finding.part
    Console(highlight=False).print(table)
