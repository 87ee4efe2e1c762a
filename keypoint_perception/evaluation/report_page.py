"""
``report.html`` of an evaluation: overlay, crops, charts and tables.

Includes the sections of the training run if the model directory has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

import cv2
from keypoint_perception.drawing import tile_images
from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.charts import reliability_charts, thin, track_charts
from keypoint_perception.evaluation.page import (
    data_uri,
    dot,
    figure,
    image,
    page,
    section,
    settings_table,
    tiles,
)
from keypoint_perception.evaluation.recording_measurements import RecordingMeasurements
from keypoint_perception.evaluation.report_tables import evaluation_tables, LABEL_TITLE, Report
from keypoint_perception.evaluation.tables import number
from keypoint_perception.evaluation.training_page import read_run, run_parts
import numpy as np


def report_page(values: Report, recording: RecordingMeasurements, model_dir: Path) -> str:
    """
    Return the page of an evaluation.

    :param values: the report, as written to JSON
    :param model_dir: directory whose training run is included
    """
    source = Path(values['recording']['source']).resolve()
    name = f'{source.parent.name}/{source.name}'  # many bags are named "bag"
    model = Path(values['model']['path']).resolve().name
    names = tuple(values['model']['keypoints'])
    title = f'{model} on {name}'
    state = read_run(model_dir)
    about = ('recording', 'model', 'engine', 'annotations', 'machine', 'durations_s', 'date')
    context = {name: values[name] for name in about if name in values}
    parts = [
        f'<h1>{escape(title)}</h1>',
        _introduction(values),
        tiles(_headline(values)),
        section('Overlay', _overlay(recording), 'Each keypoint has the same colour everywhere.'),
        section(
            'What each keypoint follows',
            _cards(values, recording, names),
            'Crops around every keypoint, from frames over the whole recording. A good keypoint '
            'shows the same part of the scene in all of them.',
        ),
        section(
            'Trajectories',
            _trajectories(recording, names),
            'Press a name to isolate it. Pauses between episodes are omitted.',
        ),
        section(
            'Confidence over time',
            _confidence(recording, names),
            'One row per keypoint, time to the right; brighter is more confident.',
        ),
        *_tables(values),
        *(run_parts(model_dir, state) if state else []),
        section('Evaluation details', settings_table(context, summary='Details')),
    ]
    return page(title, parts)


def _introduction(values: Report) -> str:
    recording, model = values['recording'], values['model']
    labels = f', {values["labelled_frames"]} of them labelled' if 'points' in values else ''
    return (
        f'<p class="soft">{len(model["keypoints"])} keypoints, learned with objective '
        f'{escape(str(model["objective"]))}, on {recording["frames"]} frames{labels} · '
        f'{escape(values["date"].replace("T", " ")[:16])} UTC</p>'
        f'<p>{escape(values["holdout"]["sentence"])}</p>'
    )


def _headline(values: Report) -> dict[str, str]:
    """Return the most important figures by caption."""
    free = values['label_free']
    shown = {}
    if 'points' in values:
        tracking: Report = next(
            (
                score
                for score in values['tracking']
                if (score['clip_frames'], score['epsilon_percent']) == (100, 5)
            ),
            {},
        )
        shown = {
            'of the labelled motion explained': number(values['explained'], '.0%'),
            'regressed error, % of the diagonal': number(values['regressed_error_percent'], '.1f'),
            'tracking recall, 100 frames within 5 %': number(tracking.get('recall'), '.0%'),
            'of the bound of tracking precision': number(tracking.get('share_of_bound'), '.0%'),
        }
    return shown | {
        'of the keypoints static, dead or duplicate': number(free['wasted_share'], '.0%'),
        'of the keypoints on the background': number(free['background_share'], '.0%'),
        'equivariance error, % of the diagonal': number(free['equivariance_error_percent'], '.1f'),
    }


def _overlay(recording: RecordingMeasurements) -> str:
    preview = recording.preview.encode()
    if preview is not None:
        video = (
            '<video controls loop muted autoplay playsinline aria-label="keypoints over the '
            f'recording" src="{data_uri(*preview)}"></video>'
        )
        return figure(video, 'Excerpts from the recording, with the trails of the keypoints.')
    stills = recording.preview.stills()
    if not stills:
        return ''
    caption = 'Still frames, because this OpenCV cannot encode VP9 or VP8 video.'
    return figure(image(tile_images(stills, 2), 'keypoints on frames'), caption)


def _cards(values: Report, recording: RecordingMeasurements, names: tuple[str, ...]) -> str:
    """Return a card for each keypoint: its crops, its figures and its flaws."""
    free = {entry['name']: entry for entry in values['label_free']['keypoints']}
    duplicates = {later for _, later in values['label_free']['duplicate_pairs']}
    backward = values.get('backward') or {'keypoints': []}
    explained = {entry['name']: entry['explained'] for entry in backward['keypoints']}
    cards = []
    for k, name in enumerate(names):
        entry = free[name]
        flags = [flag for flag in ('dead', 'static', 'background') if entry[flag]]
        flags += ['duplicate'] if name in duplicates else []
        marks = ''.join(f'<span class="flag">{flag}</span>' for flag in flags)
        facts = [
            f'confidence {number(entry["mean_confidence"], ".2f")}',
            f'equivariance error {number(entry["equivariance_error_percent"], ".1f")} %',
        ]
        if name in explained:
            facts.append(f'explained by labels {number(explained[name], ".2f")}')
        strip = image(recording.crops.strip(k), f'crops around {name}')
        cards.append(
            f'<div class="card"><h3>{dot(k)}{escape(name)}{marks}</h3>{strip}'
            f'<div class="facts">{" · ".join(facts)}</div></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _trajectories(recording: RecordingMeasurements, names: tuple[str, ...]) -> str:
    sequence = recording.sequence.in_stamp_order()
    percent = 100 * (sequence.keypoints[..., :2] + 0.5) / sequence.image_hw[:, None, ::-1]
    seconds = (sequence.stamps_ns - sequence.stamps_ns[0]) / 1e9
    return track_charts(seconds, percent, names, find_episodes(sequence.stamps_ns))


def _confidence(recording: RecordingMeasurements, names: tuple[str, ...]) -> str:
    values = thin(recording.sequence.in_stamp_order().keypoints[..., 2]).T  # (K, T)
    grey = np.clip(255 * values, 0, 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    rows = np.repeat(colours, 14, axis=0)
    heat = image(rows, 'confidence of each keypoint over time', lossless=True, css='heat')
    # Fixed height, so that the rows stay aligned with the names.
    heat = heat.replace('<img ', f'<img style="height:{14 * len(names)}px" ', 1)
    listed = ''.join(f'<li>{dot(k)} {escape(name)}</li>' for k, name in enumerate(names))
    return f'<div class="heatmap"><ol>{listed}</ol>{heat}</div>'


def _tables(report: Report) -> Iterator[str]:
    for table in evaluation_tables(report):
        yield section(table.title, table.html(), table.explanation)
        if table.title == LABEL_TITLE and report['reliability']:
            yield section(
                'Confidence reliability',
                reliability_charts(report['reliability']['bins']),
                'The true error is the distance from the position predicted from the labels, on '
                'frames that were not used for the fit.',
            )
