"""
``report.html`` of a training run: pictures, curve, figures and settings.

The parts are read from what the run left in the model directory, so that ``evaluate`` can show
them again beside what it measured.
"""

from __future__ import annotations

from html import escape
import json
from pathlib import Path

import cv2
from keypoint_perception.atomic_files import replace_file
from keypoint_perception.evaluation.charts import loss_chart
from keypoint_perception.evaluation.page import (
    figure,
    page,
    picture,
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


def write_training_page(model_dir: Path) -> Path:
    """
    Write the page of a run.

    :param model_dir: directory with ``checkpoint/training.json`` and ``history.csv``
    """
    path = model_dir / REPORT_NAME
    state = read_run(model_dir)
    title = f'Keypoints learned in {model_dir.resolve().name}'
    parts = [f'<h1>{escape(title)}</h1>', *run_head(state), last_overlay(model_dir)]
    replace_file(path, page(title, [*parts, *run_parts(model_dir, state)]))
    return path


def read_run(model_dir: Path) -> dict | None:
    """Return what a run says of itself; None where there was none."""
    path = model_dir / CHECKPOINT_NAME / STATE_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def run_head(state: dict) -> list[str]:
    """Return the first words and figures on a run."""
    metrics = state.get('metrics', {})
    frames = sum(source.get('frames', 0) for source in state.get('sources', []))
    learned = state.get('config', {}).get('keypoints', '–')
    figures = {
        # of those that were learned some may have been left out
        'keypoints': str(metrics.get('health', {}).get('keypoints', learned)),
        'frames learned from': str(frames),
        'steps': str(metrics.get('steps', '–')),
        'minutes of learning': number(metrics.get('minutes'), '.1f'),
    }
    objective = f'<p class="soft">Objective: {_objective(state)}</p>'
    complaint = metrics.get('complaint')
    warning = f'<p class="warning">{escape(complaint)}</p>' if complaint else ''
    return [objective, warning, tiles(figures)]


def last_overlay(model_dir: Path) -> str:
    """Return the run's last picture of keypoints on frames of the recording."""
    pictures = step_files(model_dir / OVERLAYS_NAME, '.png')
    body = _file(pictures[-1], 'keypoints on frames of the recording') if pictures else ''
    return section('On frames of the recording', body)


def run_parts(model_dir: Path, state: dict) -> list[str]:
    """Return the sections on how a run learned, without its head."""
    history = read_history(model_dir)
    curve = loss_chart([float(r['step']) for r in history], [float(r['loss']) for r in history])
    reconstruction = model_dir / RECONSTRUCTION_NAME
    rebuilt = ''
    if reconstruction.is_file():
        rebuilt = _file(
            reconstruction,
            'source frames, target frames and the targets rebuilt',
            'From above: source, target, and the target rebuilt from the source and what the '
            'keypoints carry over.',
        )
    sources = [
        (source['name'], ', '.join(source.get('topics', [])), str(source['frames']))
        for source in state.get('sources', [])
    ]
    learned = figure(curve, 'Loss over the steps, logarithmic.') if curve else ''
    return [
        section('Reconstruction', rebuilt),
        section('Learning curve', learned),
        section('Recordings learned from', html_table(('recording', 'topics', 'frames'), sources)),
        section(
            'The run',
            settings_table(state.get('metrics', {}), summary='What was measured while learning')
            + settings_table(state.get('config', {}), summary='Settings'),
        ),
    ]


def _objective(state: dict) -> str:
    return escape(str(state.get('objective', 'not known')))


def _file(path: Path, alt: str, caption: str = '') -> str:
    """Return a picture of the run as it lies there, made smaller for the page."""
    image = cv2.imread(str(path))
    if image is None:
        return ''
    return figure(picture(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), alt), caption)
