"""What was measured, as JSON and as a table in the terminal."""

from __future__ import annotations

from datetime import datetime, timezone
import json
import math
import os
from pathlib import Path
import platform
from typing import TYPE_CHECKING

from keypoint_perception import __version__
from keypoint_perception.evaluation.detections import Track
from keypoint_perception.evaluation.episodes import find_episodes
from keypoint_perception.evaluation.regression import RegressionScore
from keypoint_perception.evaluation.tracking import TrackingScore
from keypoint_perception.manifest import Manifest, ONNX_NAME
import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

FORMAT_VERSION = 1


def describe_model(path: Path, manifest: Manifest) -> dict:
    """Return which model was measured; its digest tells apart models of one name."""
    return {
        'path': str(path),
        'sha256': manifest.files[ONNX_NAME],
        'objective': manifest.objective,
        'network': manifest.network,
        'keypoints': list(manifest.keypoint_names),
        'input_hw': list(manifest.input_hw),
        'package_version': manifest.package_version,
    }


def describe_recording(source: Path, track: Track) -> dict:
    """Return what was measured on."""
    sizes = np.unique(track.image_hw, axis=0)
    return {
        'source': str(source),
        'topics': sorted(set(track.topics)),
        'frames': len(track),
        'episodes': int(find_episodes(track.stamps_ns)[-1]) + 1,
        'image_sizes': [f'{width}x{height}' for height, width in sizes],
        'first_stamp_ns': int(track.stamps_ns.min()),
        'last_stamp_ns': int(track.stamps_ns.max()),
    }


def describe_machine() -> dict:
    """Return what a figure of time depends on."""
    return {
        'processor': _processor_name(),
        'cores': os.cpu_count(),
        'system': platform.platform(terse=True),
        'python': platform.python_version(),
        'package_version': __version__,
    }


def now() -> str:
    """Return the date and time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def describe_regression(score: RegressionScore) -> dict:
    """Return the figures of a recording with labels; see the names in ``regression``."""
    return {
        'regressed_error_percent': score.mean_error_percent,
        'trivial_error_percent': score.mean_trivial_percent,
        'explained': score.mean_explained,
        'labelled_frames': score.fitted_frames + score.scored_frames,
        'fitted_frames': score.fitted_frames,
        'scored_frames': score.scored_frames,
        'points': [
            {
                'name': point.name,
                'regressed_error_percent': point.error_percent,
                'trivial_error_percent': point.trivial_percent,
                'explained': point.explained,
                'moves': point.moves,
                'spread_percent': point.spread_percent,
                'fitted_frames': point.fitted_frames,
                'scored_frames': point.scored_frames,
            }
            for point in score.points
        ],
    }


def describe_tracking(scores: list[TrackingScore]) -> list[dict]:
    """Return precision and recall for every clip length and threshold."""
    return [score._asdict() for score in scores]


def write_json(path: Path, values: dict) -> None:
    """Write a report in one step; what is not a number becomes null, as JSON has no NaN."""
    text = json.dumps(_without_nan(values), indent=2, allow_nan=False) + '\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    part.write_text(text)
    part.replace(path)


def point_table(report: dict) -> Table:
    """Return the labelled points and their means; points that do not move stand apart."""
    from rich.table import Table

    table = Table(title='labelled points (errors in % of the image diagonal)')
    table.add_column('point')
    for title in ('regressed error', 'trivial error', 'explained', 'frames'):
        table.add_column(title, justify='right')
    points = sorted(report['points'], key=lambda point: not point['moves'])
    for index, point in enumerate(points):
        last_moving = point['moves'] and (
            index + 1 == len(points) or not points[index + 1]['moves']
        )
        table.add_row(
            point['name'] + ('' if point['moves'] else ' (does not move)'),
            *_figures(point),
            f'{point["fitted_frames"]} + {point["scored_frames"]}',
            end_section=last_moving,
        )
    table.add_section()
    frames = f'{report["fitted_frames"]} + {report["scored_frames"]}'
    table.add_row('mean of those that move', *_figures(report), frames, style='bold')
    return table


def tracking_table(scores: list[dict]) -> Table:
    """Return tracking precision and recall, a row a clip length, a column a threshold."""
    from rich.table import Table

    table = Table(title='tracking, precision / recall (% of the image diagonal)')
    table.add_column('clip, frames', justify='right')
    rows: dict[int, dict[float, str]] = {}
    for score in scores:
        shares = (_figure(score[name], '.2f') for name in ('precision', 'recall'))
        rows.setdefault(score['clip_frames'], {})[score['epsilon_percent']] = ' / '.join(shares)
    for epsilon in next(iter(rows.values()), {}):
        table.add_column(f'within {epsilon:g} %', justify='right')
    for frames, cells in rows.items():
        table.add_row(str(frames), *cells.values())
    return table


def label_free_table(measures: dict) -> Table:
    """Return the measures that need no labels."""
    from rich.table import Table

    table = Table(title='without labels')
    table.add_column('measure')
    table.add_column('value', justify='right')
    pairs = ', '.join(f'{i}={j}' for i, j in measures['duplicate_pairs'])
    jitter = _figure(measures['still_jitter_percent'], '.3f')
    table.add_row(
        'equivariance error, % of the diagonal',
        _figure(measures['equivariance_error_percent'], '.2f'),
    )
    table.add_row('duplicate points', pairs or 'none')
    table.add_row('dead points', ', '.join(measures['dead_keypoints']) or 'none')
    table.add_row('on parts that never move', _figure(measures['static_share'], '.0%'))
    table.add_row(f'jitter on {measures["still_pairs"]} still pairs, % of the diagonal', jitter)
    return table


def _figures(values: dict) -> tuple[str, str, str]:
    return (
        _figure(values['regressed_error_percent'], '.2f'),
        _figure(values['trivial_error_percent'], '.2f'),
        _figure(values['explained'], '.3f'),
    )


def _figure(value: float, style: str) -> str:
    return format(value, style) if math.isfinite(value) else '-'


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _processor_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.machine())
