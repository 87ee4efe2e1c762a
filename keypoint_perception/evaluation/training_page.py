"""
``report.html`` of a training run: images, learning curve, figures and settings.

The sections are built from the files of the model directory, so that ``evaluate`` can include them
in its page.
"""

from __future__ import annotations

from html import escape
import json
from pathlib import Path
from typing import Any

from keypoint_perception.atomic_files import replace_file
from keypoint_perception.compressed import open_compressed
from keypoint_perception.errors import EncodingError
from keypoint_perception.evaluation.charts import loss_chart
from keypoint_perception.evaluation.page import (
    figure,
    image,
    page,
    section,
    settings_table,
    tiles,
)
from keypoint_perception.evaluation.tables import html_table, number
from keypoint_perception.model_directory import (
    CHECKPOINT_NAME,
    OVERLAYS_NAME,
    read_history,
    RECONSTRUCTION_NAME,
    REPORT_NAME,
    STATE_FILE,
    step_files,
)

State = dict[str, Any]


def write_training_page(model_dir: Path) -> Path:
    """
    Write the page of a run.

    :param model_dir: directory with ``checkpoint/training.json`` and ``history.csv``
    """
    path = model_dir / REPORT_NAME
    state = read_run(model_dir) or {}
    title = f'Keypoints learned in {model_dir.resolve().name}'
    overlays = step_files(model_dir / OVERLAYS_NAME, '.png')
    overlay = _image_file(overlays[-1], 'keypoints on frames of the recording') if overlays else ''
    parts = [
        f'<h1>{escape(title)}</h1>',
        *_introduction(state),
        section('Overlay on training frames', overlay),
        *run_parts(model_dir, state),
    ]
    replace_file(path, page(title, parts))
    return path


def read_run(model_dir: Path) -> State | None:
    """Return the saved state of a run, None without one."""
    path = model_dir / CHECKPOINT_NAME / STATE_FILE
    state: State | None = json.loads(path.read_text()) if path.is_file() else None
    return state


def _introduction(state: State) -> list[str]:
    metrics = state.get('metrics', {})
    frames = sum(source.get('frames', 0) for source in state.get('sources', []))
    configured = state.get('config', {}).get('keypoints', '-')
    figures = {
        # after pruning
        'keypoints': str(metrics.get('health', {}).get('keypoints', configured)),
        'training frames': str(frames),
        'steps': str(metrics.get('steps', '-')),
        'training minutes': number(metrics.get('minutes'), '.1f'),
    }
    objective = escape(str(state.get('objective', 'unknown')))
    complaint = metrics.get('complaint')
    warning = f'<p class="warning">{escape(complaint)}</p>' if complaint else ''
    camera = ' '.join(escape(sentence) for sentence in metrics.get('camera', []))
    notes = [camera, escape(metrics.get('settling') or '')]
    return [
        f'<p class="soft">Objective: {objective}</p>',
        *(f'<p class="soft">{note}</p>' for note in notes if note),
        warning,
        tiles(figures),
    ]


def run_parts(model_dir: Path, state: State) -> list[str]:
    """Return the sections of a run, without the introduction."""
    history = read_history(model_dir)
    curve = loss_chart([float(r['step']) for r in history], [float(r['loss']) for r in history])
    reconstruction = model_dir / RECONSTRUCTION_NAME
    reconstructed = ''
    if reconstruction.is_file():
        reconstructed = _image_file(
            reconstruction,
            'source, target and reconstructed frames',
            'Rows: source; target; target reconstructed from the source and the keypoints.',
        )
    sources = [
        (source['name'], ', '.join(source.get('topics', [])), str(source['frames']))
        for source in state.get('sources', [])
    ]
    loss = figure(curve, 'Loss by step, logarithmic.') if curve else ''
    return [
        section('Reconstruction', reconstructed),
        section('Learning curve', loss),
        section('Training recordings', html_table(('recording', 'topics', 'frames'), sources)),
        section(
            'Training run',
            settings_table(state.get('metrics', {}), summary='Metrics')
            + settings_table(state.get('config', {}), summary='Settings'),
        ),
    ]


def _image_file(path: Path, alt: str, caption: str = '') -> str:
    """Return an image of the run, recompressed for the page."""
    try:
        rgb = open_compressed(path.read_bytes(), path.suffix[1:]).to_rgb()
    except (OSError, EncodingError):
        return ''
    return figure(image(rgb, alt), caption)
