"""
Style and building blocks of ``report.html``.

A page is a single file that opens offline: style, images and video are embedded. It fits a phone
and follows the reader's light or dark theme.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

import cv2
from keypoint_perception.drawing import keypoint_colour
from keypoint_perception.evaluation.tables import html_table, number
import numpy as np

STYLE = """
:root { color-scheme: light dark; --ink: #1b1d22; --soft: #5d6470; --line: #d9dde3;
  --page: #fbfbfa; --card: #ffffff; --accent: #0b63ce; --warn: #8a5300; --warn-page: #fff4dc }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e9ec; --soft: #9aa2ae; --line: #343941;
  --page: #15171a; --card: #1d2024; --accent: #6cb0ff; --warn: #ffcf7d; --warn-page: #3a2c10 } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0; font: 1rem/1.55 Charter, 'Bitstream Charter', Cambria, Georgia, serif;
  color: var(--ink); background: var(--page) }
main { max-width: 64rem; margin: 0 auto; padding: 1.2rem 1rem 4rem }
h1, h2, h3, table, figcaption, .tile, .chips, .facts, text { font-family: Inter, system-ui,
  -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif }
h1 { font-size: clamp(1.5rem, 5vw, 2.2rem); line-height: 1.15; letter-spacing: -.02em;
  margin: .6rem 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; letter-spacing: -.01em; margin: 2.6rem 0 .4rem }
p { margin: .3rem 0 .9rem; max-width: 42rem; overflow-wrap: anywhere }
.soft, figcaption, .facts { color: var(--soft) }
img, svg, video { display: block; max-width: 100%; height: auto }
figure { margin: 0 0 1rem } figcaption { font-size: .85rem; padding-top: .35rem }
video, figure > img { border-radius: 8px }
video { width: min(100%, 38rem); max-height: 80vh; background: #000 }
.tiles { display: grid; gap: .7rem; margin: 1.2rem 0;
  grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)) }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: .7rem .8rem; min-width: 0 }
.tile b { display: block; font-size: 1.55rem; font-weight: 650; line-height: 1.2;
  font-variant-numeric: tabular-nums; letter-spacing: -.02em }
.tile span { font-size: .82rem; color: var(--soft); line-height: 1.3; display: block }
.cards { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)) }
.card h3 { margin: 0 0 .45rem; font-size: .95rem; display: flex; gap: .45rem;
  align-items: center; flex-wrap: wrap }
.card img { width: 100%; border-radius: 5px }
.facts { font-size: .8rem; padding-top: .4rem; line-height: 1.4 }
.dot { width: .8em; height: .8em; border-radius: 50%; display: inline-block; flex: none;
  border: 1px solid #0006 }
.flag { font-size: .72rem; font-weight: 500; color: var(--warn); background: var(--warn-page);
  border-radius: 99px; padding: .05rem .5rem }
.warning { background: var(--warn-page); color: var(--warn); border-radius: 8px;
  padding: .6rem .9rem }
.chips { display: flex; flex-wrap: wrap; gap: .35rem; margin: .2rem 0 .6rem }
.chips button { font: inherit; font-size: .8rem; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: 99px; padding: .15rem .6rem; cursor: pointer;
  display: flex; align-items: center; gap: .35rem }
.chips button[aria-pressed=true] { border-color: var(--accent); box-shadow: 0 0 0 1px
  var(--accent) }
.scroll { overflow-x: auto; margin: 0 0 1rem }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top }
th { font-weight: 600; color: var(--soft) } th:first-child, td:first-child { text-align: left }
td.text { text-align: left; overflow-wrap: anywhere }
tfoot td { font-weight: 600 }
.pair { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem),
  1fr)) }
svg text { fill: var(--soft); font-size: 12px } svg .axis { stroke: var(--line) }
svg .ideal { stroke: var(--soft); stroke-dasharray: 4 4 }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 1.8 }
svg .track { fill: none; stroke-width: 1.4; stroke-linejoin: round }
svg .track.off { opacity: .08 } .heat { image-rendering: pixelated; width: 100% }
.heatmap { display: grid; grid-template-columns: max-content 1fr; gap: .5rem }
.heatmap ol { list-style: none; margin: 0; padding: 0; font: 11px/14px system-ui, sans-serif;
  color: var(--soft) }
details { margin-top: 1rem } summary { cursor: pointer; color: var(--accent) }
"""

# Pressing a keypoint's name isolates its tracks.
SCRIPT = """
for (const chip of document.querySelectorAll('.chips button')) chip.onclick = () => {
  chip.setAttribute('aria-pressed', chip.getAttribute('aria-pressed') !== 'true');
  const on = new Set([...document.querySelectorAll('.chips button[aria-pressed=true]')]
    .map(b => b.dataset.k));
  for (const track of document.querySelectorAll('svg .track'))
    track.classList.toggle('off', on.size > 0 && !on.has(track.dataset.k));
};
"""


def page(title: str, parts: Sequence[str]) -> str:
    """Return a page of HTML parts."""
    body = '\n'.join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Prevents the browser from requesting a favicon.
        '<link rel="icon" href="data:,">\n'
        f'<title>{escape(title)}</title>\n<style>{STYLE}</style></head>\n'
        f'<body><main>\n{body}\n</main><script>{SCRIPT}</script></body></html>\n'
    )


def section(title: str, body: str, lead: str = '') -> str:
    """Return a section with an introduction; nothing without a body."""
    if not body:
        return ''
    lead = f'<p class="soft">{escape(lead)}</p>' if lead else ''
    return f'<section><h2>{escape(title)}</h2>{lead}\n{body}</section>'


def tiles(values: Mapping[str, str]) -> str:
    """Return figures in large type, keyed by their captions."""
    cells = (
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in values.items()
    )
    return f'<div class="tiles">{"".join(cells)}</div>' if values else ''


def figure(media: str, caption: str = '') -> str:
    """Return an image or video with a caption."""
    caption = f'<figcaption>{escape(caption)}</figcaption>' if caption else ''
    return f'<figure>{media}{caption}</figure>'


def image(rgb: np.ndarray, alt: str, *, lossless: bool = False, css: str = '') -> str:
    """Return an embedded image, (H, W, 3) uint8, as JPEG or losslessly as PNG."""
    kind = 'png' if lossless else 'jpeg'
    quality = [] if lossless else [cv2.IMWRITE_JPEG_QUALITY, 82]
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.png' if lossless else '.jpg', bgr, quality)
    height, width = rgb.shape[:2]
    style = f' class="{css}"' if css else ''
    return (
        f'<img{style} alt="{escape(alt)}" width="{width}" height="{height}" '
        f'src="{data_uri(data.tobytes(), f"image/{kind}")}">'
    )


def data_uri(data: bytes, kind: str) -> str:
    """Return content as a data URI."""
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def dot(index: int) -> str:
    """Return a keypoint's colour as a dot."""
    return f'<i class="dot" style="background:{css_colour(index)}"></i>'


def css_colour(index: int) -> str:
    """Return a keypoint's colour, the same in every image."""
    return '#{:02x}{:02x}{:02x}'.format(*keypoint_colour(index))


def settings_table(values: Mapping[str, object], *, summary: str = '') -> str:
    """Return nested settings as a table of two columns, collapsed under a summary if given."""
    rows = [
        (name, number(value, '.4g') if isinstance(value, float) else str(value))
        for name, value in flat(values)
    ]
    body = html_table((), rows)
    return f'<details><summary>{escape(summary)}</summary>{body}</details>' if summary else body


def flat(values: Mapping[str, object], prefix: str = '') -> list[tuple[str, object]]:
    """Return nested values as pairs, the names joined by dots."""
    pairs: list[tuple[str, object]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += flat(value, f'{prefix}{name}.')
        else:
            pairs.append((prefix + str(name), value))
    return pairs
