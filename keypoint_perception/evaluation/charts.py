"""Charts as inline SVG, for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from keypoint_perception.evaluation.page import css_colour, dot
from keypoint_perception.sampling import evenly_spaced
import numpy as np

WIDTH, HEIGHT = 720, 220
_LEFT, _BOTTOM, _TOP, _RIGHT = 52, 26, 10, 12
# More points cannot be distinguished at this width.
MAX_POINTS = 360


class ChartArea:
    """
    The axes of a chart.

    :param x: range of the horizontal axis
    :param y: range of the vertical axis, which points up
    """

    def __init__(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        size: tuple[int, int] = (WIDTH, HEIGHT),
    ) -> None:
        self._x, self._y = (_widened(*span) for span in (x, y))
        self.width, self.height = size

    def at(
        self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return positions in the drawing."""
        right, up = (
            (np.asarray(value, float) - low) / (high - low)
            for value, (low, high) in ((x, self._x), (y, self._y))
        )
        inner = (self.width - _LEFT - _RIGHT, self.height - _TOP - _BOTTOM)
        return _LEFT + right * inner[0], _TOP + (1 - up) * inner[1]

    def path(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> str:
        """Return the path of a line, interrupted at NaN."""
        across, down = self.at(x, y)
        parts, pen = [], 'M'
        for u, v in zip(across, down, strict=True):
            if not np.isfinite(u + v):
                pen = 'M'
                continue
            parts.append(f'{pen}{u:.1f} {v:.1f}')
            pen = 'L'
        return ''.join(parts)

    def drawing(
        self, inside: str, label: str, *, x: Sequence[tuple[float, str]],
        y: Sequence[tuple[float, str]],
    ) -> str:  # fmt: skip
        """Return the chart with ticks, each a value and its text."""
        lines = []
        for value, text in y:
            (_,), (down,) = self.at([self._x[0]], [value])
            lines.append(
                f'<line class="axis" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{down:.1f}" '
                f'y2="{down:.1f}"/><text x="{_LEFT - 6}" y="{down + 4:.1f}" text-anchor="end">'
                f'{escape(text)}</text>'
            )
        for index, (value, text) in enumerate(x):
            (across,), _ = self.at([value], [self._y[0]])
            anchor = 'start' if index == 0 else 'end' if index == len(x) - 1 else 'middle'
            lines.append(
                f'<text x="{across:.1f}" y="{self.height - 6}" text-anchor="{anchor}">'
                f'{escape(text)}</text>'
            )
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(label)}">{"".join(lines)}{inside}</svg>'
        )


def loss_chart(steps: Sequence[float], losses: Sequence[float]) -> str:
    """Return the loss by step on a logarithmic axis; nothing with fewer than two points."""
    points = np.array([(step, loss) for step, loss in zip(steps, losses, strict=True) if loss > 0])
    if len(points) < 2:
        return ''
    shown, logs = thin(points[:, 0]), thin(np.log10(points[:, 1]))
    first, last, low, high = (float(v) for v in (shown[0], shown[-1], logs.min(), logs.max()))
    area = ChartArea((first, last), (low, high))
    curve = f'<path class="curve" d="{area.path(shown, logs)}"/>'
    x = [(first, f'step {first:.0f}'), (last, f'{last:.0f}')]
    y = [(v, f'{10**v:.2g}') for v in (low, (low + high) / 2, high)]
    return area.drawing(curve, 'loss by step', x=x, y=y)


def track_charts(
    seconds: np.ndarray, positions: np.ndarray, names: Sequence[str], episodes: np.ndarray
) -> str:
    """
    Return u and v of all keypoints over time, with a button to isolate each keypoint.

    :param seconds: (N,) s
    :param positions: (N, K, 2) % of the image's width and height
    :param episodes: number of each frame's episode, (N,); lines end with the episode
    """
    if len(seconds) < 2:
        return ''
    # The horizontal axis is the frame index, so that pauses take no space.
    every = thin(np.arange(len(seconds)))
    shown = np.array(positions, float)[every]
    shown[np.flatnonzero(np.diff(episodes[every])) + 1] = np.nan
    chips = ''.join(
        f'<button type="button" data-k="{k}" aria-pressed="false">{dot(k)}{escape(name)}</button>'
        for k, name in enumerate(names)
    )
    charts = []
    for axis, title in enumerate(('u, % of the width', 'v, % of the height, downwards')):
        sign = 1 if axis == 0 else -1
        values = sign * shown[..., axis]
        area = ChartArea((0, len(every) - 1), (0, 100) if axis == 0 else (-100, 0))
        lines = ''.join(
            f'<path class="track" data-k="{k}" stroke="{css_colour(k)}" '
            f'd="{area.path(np.arange(len(every)), values[:, k])}"/>'
            for k in range(values.shape[1])
        )
        y = [(sign * v, str(v)) for v in (0, 50, 100)]
        x = [(0, '0 s'), (len(every) - 1, f'{seconds[-1]:.0f} s')]
        chart = area.drawing(lines, title, x=x, y=y)
        charts.append(f'<figure>{chart}<figcaption>{title}</figcaption></figure>')
    return f'<div class="chips">{chips}</div>{"".join(charts)}'


def reliability_charts(bins: Sequence[Mapping[str, float]]) -> str:
    """Return the error and the share of hits by confidence."""
    if not bins:
        return ''
    size = (360, 260)
    confidence = [b['confidence'] for b in bins]
    max_count = max(b['count'] for b in bins)
    ticks = [(v, f'{v:g}') for v in (0.0, 0.5, 1.0)]
    charts = []
    errors = [b['error_percent'] for b in bins]
    hits = [b['within'] for b in bins]
    for title, values, high, ideal in (
        ('Mean error by confidence, % of the diagonal', errors, max(1.0, *errors), False),
        ('Share within 5 % of the diagonal; dashed: perfectly calibrated', hits, 1.0, True),
    ):
        area = ChartArea((0, 1), (0, high), size=size)
        across, down = area.at(confidence, values)
        line = f'<path class="curve" d="{area.path(confidence, values)}"/>'
        if ideal:
            line = f'<path class="ideal" d="{area.path([0, 1], [0, 1])}"/>{line}'
        points = ''.join(
            f'<circle cx="{u:.1f}" cy="{v:.1f}" fill="var(--accent)" '
            f'r="{3 + 6 * np.sqrt(b["count"] / max_count):.1f}"/>'
            for u, v, b in zip(across, down, bins, strict=True)
        )
        y = [(v * high, f'{v * high:.2g}') for v in (0.0, 0.5, 1.0)]
        chart = area.drawing(line + points, title, x=ticks, y=y)
        charts.append(f'<figure>{chart}<figcaption>{title}</figcaption></figure>')
    return f'<div class="pair">{"".join(charts)}</div>'


def thin(values: np.ndarray) -> np.ndarray:
    """Return at most :data:`MAX_POINTS` evenly spaced values."""
    return evenly_spaced(np.asarray(values), MAX_POINTS)


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, low + 0.5)
