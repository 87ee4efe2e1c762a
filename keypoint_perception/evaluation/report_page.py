"""
``report.html`` of an evaluation: what the keypoints do, to be looked at first and read second.

Holds the run's own parts too, where the model directory has them, so that one page says all.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import cv2
from keypoint_perception.drawing import tile_pictures
from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.charts import reliability_charts, thin, track_charts
from keypoint_perception.evaluation.page import (
    data_uri,
    dot,
    figure,
    number,
    page,
    picture,
    section,
    settings_table,
    table,
    tiles,
)
from keypoint_perception.evaluation.recording_measurements import RecordingMeasurements
from keypoint_perception.evaluation.training_page import read_run, run_parts
import numpy as np


def report_page(values: dict, recording: RecordingMeasurements, model_dir: Path) -> str:
    """
    Return the page of an evaluation.

    :param values: the report, as its JSON has it
    :param recording: what was kept of the recording
    :param model_dir: whose run is shown too, if it has one
    """
    source = Path(values['recording']['source']).resolve()
    name = f'{source.parent.name}/{source.name}'  # many a bag is called bag
    model = Path(values['model']['path']).resolve().name
    names = tuple(values['model']['keypoints'])
    title = f'{model} on {name}'
    state = read_run(model_dir)
    parts = [
        f'<h1>{escape(title)}</h1>',
        _introduction(values),
        tiles(_headline(values)),
        section('Overlay', _overlay(recording), 'Each keypoint keeps its colour everywhere.'),
        section(
            'What each keypoint follows',
            _cards(values, recording, names),
            'The picture around every keypoint, in frames spread over the recording: a good '
            'keypoint shows the same thing in all of them.',
        ),
        section(
            'Trajectories',
            _tracks(recording, names),
            'Press a name to see it alone. Pauses between episodes are left out.',
        ),
        section(
            'Confidence over time',
            _confidence(recording, names),
            'A row for each keypoint, time to the right; bright is confident.',
        ),
        *_labelled(values),
        section('Measures without labels', _label_free(values['label_free'])),
        *(run_parts(model_dir, state) if state else []),
        section('How this was measured', settings_table(_context(values), summary='Details')),
    ]
    return page(title, parts)


def _introduction(values: dict) -> str:
    recording, model = values['recording'], values['model']
    labels = '' if 'points' not in values else f', {values["labelled_frames"]} of them labelled'
    return (
        f'<p class="soft">{len(model["keypoints"])} keypoints, learned by '
        f'{escape(str(model["objective"]))}, on {recording["frames"]} frames{labels} · '
        f'{escape(values["date"].replace("T", " ")[:16])} UTC</p>'
    )


def _headline(values: dict) -> dict[str, str]:
    """Return the figures in large type, by what each one is."""
    free = values['label_free']
    shown = {}
    if 'points' in values:
        recall = next(
            (
                s
                for s in values['tracking']
                if (s['clip_frames'], s['epsilon_percent']) == (100, 5)
            ),
            {},
        )
        shown = {
            'of the labelled motion explained': number(values['explained'], '.0%'),
            'regressed error, % of the diagonal': number(values['regressed_error_percent'], '.1f'),
            'tracking recall, 100 frames within 5 %': number(recall.get('recall'), '.0%'),
        }
    return shown | {
        'of the keypoints static, dead or duplicate': number(free['wasted_share'], '.0%'),
        'equivariance error, % of the diagonal': number(free['equivariance_error_percent'], '.1f'),
    }


def _overlay(recording: RecordingMeasurements) -> str:
    film = recording.film.encode()
    if film is not None:
        source = data_uri(*film)
        video = (
            '<video controls loop muted autoplay playsinline aria-label="keypoints over the '
            f'recording" src="{source}"></video>'
        )
        return figure(video, 'Scenes from the recording; lines are where points came from.')
    stills = recording.film.stills()
    if not stills:
        return ''
    caption = 'Stills: this OpenCV cannot write a video that browsers play (VP9 or VP8).'
    return figure(picture(tile_pictures(stills, 2), 'keypoints on frames'), caption)


def _cards(values: dict, recording: RecordingMeasurements, names: tuple[str, ...]) -> str:
    """Return a card for each keypoint: its crops, its figures, and what is wrong with it."""
    free = {entry['name']: entry for entry in values['label_free']['keypoints']}
    duplicates = {later for _, later in values['label_free']['duplicate_pairs']}
    back = values.get('backward') or {'keypoints': []}
    told = {entry['name']: entry for entry in back['keypoints']}
    cards = []
    for k, name in enumerate(names):
        entry = free[name]
        flags = [flag for flag in ('dead', 'static') if entry[flag]]
        flags += ['duplicate'] if name in duplicates else []
        marks = ''.join(f'<span class="flag">{flag}</span>' for flag in flags)
        facts = [
            f'confidence {number(entry["mean_confidence"], ".2f")}',
            f'equivariance {number(entry["equivariance_error_percent"], ".1f")} %',
        ]
        if name in told:
            facts.append(f'told by labels {number(told[name]["explained"], ".2f")}')
        strip = picture(recording.gallery.strip(k), f'what {name} follows')
        cards.append(
            f'<div class="card"><h3>{dot(k)}{escape(name)}{marks}</h3>{strip}'
            f'<div class="facts">{" · ".join(facts)}</div></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _tracks(recording: RecordingMeasurements, names: tuple[str, ...]) -> str:
    track = recording.track.in_stamp_order()
    share = 100 * (track.keypoints[..., :2] + 0.5) / track.image_hw[:, None, ::-1]
    seconds = (track.stamps_ns - track.stamps_ns[0]) / 1e9
    return track_charts(seconds, share, names, find_episodes(track.stamps_ns))


def _confidence(recording: RecordingMeasurements, names: tuple[str, ...]) -> str:
    track = recording.track.in_stamp_order()
    values = thin(track.keypoints[..., 2]).T  # (K, T)
    grey = np.clip(255 * values, 0, 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    rows = np.repeat(colours, 14, axis=0)
    heat = picture(rows, 'confidence of each keypoint over time', lossless=True, css='heat')
    # the names' rows are as high as the picture's, so it must not shrink in that direction
    heat = heat.replace('<img ', f'<img style="height:{14 * len(names)}px" ', 1)
    listed = ''.join(f'<li>{dot(k)} {escape(name)}</li>' for k, name in enumerate(names))
    return f'<div class="heatmap"><ol>{listed}</ol>{heat}</div>'


def _labelled(values: dict) -> list[str]:
    if 'points' not in values:
        return []
    reliability = values['reliability']
    charts = reliability_charts(reliability['bins']) if reliability else ''
    return [
        section(
            'Labelled points',
            _points(values),
            'Told from the keypoints by a regression, on the last 30 % of the labelled frames. '
            'Errors in % of the image diagonal; 1 is fully explained, 0 worth nothing.',
        ),
        section(
            'Tracking',
            _tracking(values['tracking']) + _identity(values['identity']),
            'Precision / recall of clips in which a keypoint stays with a labelled point in '
            'every frame.',
        ),
        section(
            'Is the confidence to be trusted?',
            charts,
            'True error is the distance from where the labels put a keypoint, on frames that '
            'were not fitted.',
        ),
        section('From labels back to keypoints', _backward(values['backward'])),
        section('Named landmarks', _landmarks(values.get('landmarks'))),
    ]


def _points(values: dict) -> str:
    switches = {p['name']: p['switches'] for p in values['identity']['points']}
    rows = [
        _point_row(p['name'] + ('' if p['moves'] else ' (still)'), p, switches[p['name']])
        for p in sorted(values['points'], key=lambda p: not p['moves'])
    ]
    rows.append(_point_row('mean of those that move', values, values['identity']['switches']))
    header = ('point', 'error', 'trivial', 'explained', 'in 2 %', 'in 5 %', 'in 10 %', 'switches')
    return table(header, rows)


def _point_row(name: str, point: dict, switches: int) -> list[str]:
    error, trivial, explained = (
        number(point[key], style)
        for key, style in (
            ('regressed_error_percent', '.2f'),
            ('trivial_error_percent', '.2f'),
            ('explained', '.3f'),
        )
    )
    shares = [number(share, '.0%') for share in point['pck'].values()]
    return [name, error, trivial, explained, *shares, str(switches)]


def _tracking(scores: list[dict]) -> str:
    limits = sorted({score['epsilon_percent'] for score in scores})
    rows: dict[int, list[str]] = {}
    for score in scores:
        cell = f'{number(score["precision"], ".2f")} / {number(score["recall"], ".2f")}'
        rows.setdefault(score['clip_frames'], []).append(cell)
    header = ('clip, frames', *(f'within {limit:g} %' for limit in limits))
    return table(header, [[str(frames), *cells] for frames, cells in rows.items()])


def _identity(identity: dict) -> str:
    return (
        f'<p>{identity["switches"]} identity switches, '
        f'{number(identity["switches_per_1000"], ".1f")} for 1000 labels that had a partner; '
        f'{number(identity["matched_share"], ".0%")} of the labels had one.</p>'
    )


def _backward(score: dict | None) -> str:
    if not score:
        return ''
    rows = [
        (
            p['name'] + ('' if p['moves'] else ' (still)'),
            number(p['error_percent'], '.2f'),
            number(p['explained'], '.3f'),
        )
        for p in score['keypoints']
    ]
    mean = ('mean', number(score['error_percent'], '.2f'), number(score['explained'], '.3f'))
    return table(('keypoint', 'backward error', 'explained'), [mean, *rows])


def _landmarks(score: dict | None) -> str:
    if not score:
        return ''
    rows = [
        (p['name'], number(p['error_percent'], '.2f'), number(p['within'], '.0%'), p['frames'])
        for p in score['points']
    ]
    return table(('landmark', 'error', 'in 5 %', 'frames'), rows)


def _label_free(measures: dict) -> str:
    pairs = ', '.join(' = '.join(pair) for pair in measures['duplicate_pairs'])
    rows = [
        ('equivariance error, %', number(measures['equivariance_error_percent'], '.2f')),
        (
            "on another episode's background, %",
            number(measures['background_error_percent'], '.2f'),
        ),
        ('in another light, %', number(measures['light_error_percent'], '.2f')),
        ('duplicate points', pairs or 'none'),
        ('dead points', ', '.join(measures['dead_keypoints']) or 'none'),
        ('static points', ', '.join(measures['static_keypoints']) or 'none'),
        ('static, dead or duplicate', number(measures['wasted_share'], '.0%')),
        ('on parts that never move', number(measures['static_share'], '.0%')),
        ('jitter on still frames, %', number(measures['still_jitter_percent'], '.3f')),
    ]
    return table((), rows)


def _context(values: dict) -> dict:
    names = ('recording', 'model', 'engine', 'annotations', 'machine', 'durations_s', 'date')
    return {name: values[name] for name in names if name in values}
