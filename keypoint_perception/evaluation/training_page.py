"""
``report.html`` of a training run: one page that opens offline.

Pictures are inside the file and the curve is drawn as SVG, so that a model directory can be
copied to anywhere and still be looked at.
"""

from __future__ import annotations

import base64
import csv
from html import escape
import json
import math
from pathlib import Path

PAGE_NAME = 'report.html'
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 1rem auto; padding: 0 1rem;
       color: #222; background: #fff }
img, svg { max-width: 100%; height: auto }
table { border-collapse: collapse; display: block; overflow-x: auto }
td { border-bottom: 1px solid #ddd; padding: .2rem .8rem .2rem 0; vertical-align: top }
.warning { background: #fff3cd; padding: .5rem 1rem }
"""


def write_training_page(model_dir: Path) -> Path:
    """
    Write the page of a run from what the run left: settings, history, last picture.

    :param model_dir: directory with ``checkpoint/training.json`` and ``history.csv``
    """
    state = json.loads((model_dir / 'checkpoint' / 'training.json').read_text())
    with (model_dir / 'history.csv').open(newline='') as stream:
        history = list(csv.DictReader(stream))
    pictures = sorted((model_dir / 'overlays').glob('step_*.png'))
    path = model_dir / PAGE_NAME
    path.write_text(_page(model_dir.name, state, history, pictures[-1] if pictures else None))
    return path


def _page(name: str, state: dict, history: list[dict], picture: Path | None) -> str:
    metrics = state['metrics']
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<title>{escape(name)}: keypoints</title><style>{STYLE}</style></head><body>',
        f'<h1>Keypoints learned in {escape(name)}</h1>',
    ]
    if metrics.get('complaint'):
        parts.append(f'<p class="warning">{escape(metrics["complaint"])}</p>')
    if picture is not None:
        data = base64.b64encode(picture.read_bytes()).decode()
        parts.append('<h2>On frames of the recording</h2>')
        parts.append(f'<img alt="keypoints on frames" src="data:image/png;base64,{data}">')
    parts += ['<h2>Learning</h2>', _curve(history)]
    parts += ['<h2>Measured</h2>', _table(_flat(metrics))]
    recordings = {s['name']: f'{s["frames"]} frames' for s in state['sources']}
    parts += ['<h2>Recordings</h2>', _table(recordings)]
    parts += ['<h2>Settings</h2>', _table(_flat(state['config'])), '</body></html>']
    return '\n'.join(parts) + '\n'


def _curve(history: list[dict]) -> str:
    """Return the loss over the steps as SVG, its vertical axis logarithmic."""
    points = [(float(row['step']), float(row['loss'])) for row in history]
    points = [(step, math.log10(loss)) for step, loss in points if loss > 0]
    if len(points) < 2:
        return '<p>Too few steps for a curve.</p>'
    points = points[:: max(1, len(points) // 600)]
    left, right = points[0][0], points[-1][0]
    low, high = min(y for _, y in points), max(y for _, y in points)
    width, height = 720, 240
    drawn = ' '.join(
        f'{(x - left) / (right - left) * width:.1f},'
        f'{(high - y) / max(high - low, 1e-9) * height:.1f}'
        for x, y in points
    )
    return (
        f'<svg viewBox="-60 -10 {width + 80} {height + 40}" role="img" aria-label="loss">'
        f'<polyline points="{drawn}" fill="none" stroke="#06c" stroke-width="1.5"/>'
        f'<text x="-55" y="12" font-size="13">{10**high:.3g}</text>'
        f'<text x="-55" y="{height}" font-size="13">{10**low:.3g}</text>'
        f'<text x="0" y="{height + 22}" font-size="13">step {left:.0f}</text>'
        f'<text x="{width}" y="{height + 22}" font-size="13" text-anchor="end">{right:.0f}</text>'
        '</svg><p>Loss over the steps, logarithmic; 1 is no better than answering with the '
        'source frame.</p>'
    )


def _table(values: dict) -> str:
    rows = ''.join(
        f'<tr><td>{escape(str(name))}</td><td>{escape(_text(value))}</td></tr>'
        for name, value in values.items()
    )
    return f'<table>{rows}</table>'


def _text(value: object) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def _flat(values: dict, prefix: str = '') -> dict:
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f'{prefix}{name}.')
        else:
            flat[prefix + name] = value
    return flat
