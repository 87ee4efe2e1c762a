"""A table, stated once and rendered for the terminal, an HTML page or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
import math
from typing import NamedTuple, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

# Longer text is left-aligned and wraps.
_LONG_TEXT = 24


class ReportTable(NamedTuple):
    """
    Formatted cells and the text that explains them.

    :param summary: a last row that stands out, such as the mean
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    summary: tuple[str, ...] = ()
    explanation: str = ''

    def terminal(self) -> Table:
        """Return the table for a Rich console."""
        from rich import box
        from rich.markup import escape as escape_markup
        from rich.table import Table

        table = Table(
            title=self.title, title_justify='left', title_style='bold', box=box.SIMPLE,
            caption=self.explanation or None, caption_justify='left', show_edge=False,
            padding=(0, 0, 0, 1),
        )  # fmt: skip
        table.add_column(self.header[0], overflow='fold')
        for name in self.header[1:]:
            table.add_column(name, justify='right', no_wrap=True)
        for row in self.rows:
            table.add_row(*map(escape_markup, row))
        if self.summary:
            table.add_section()
            table.add_row(*map(escape_markup, self.summary), style='bold')
        return table

    def html(self) -> str:
        """Return the table as HTML, without title and explanation."""
        return html_table(self.header, self.rows, summary=self.summary)


def number(value: float | None, style: str = '.3g') -> str:
    """Return a formatted figure, or a dash for NaN, infinity and None."""
    return '-' if value is None or not math.isfinite(value) else format(value, style)


def html_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, summary: Sequence[str] = ()
) -> str:
    """Return a table that scrolls sideways on a narrow screen."""
    head = ''.join(f'<th>{escape(name)}</th>' for name in header)
    head = f'<thead><tr>{head}</tr></thead>' if any(header) else ''
    body = ''.join(_html_row(row) for row in rows)
    foot = f'<tfoot>{_html_row(summary)}</tfoot>' if summary else ''
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody>{foot}</table></div>'


def _html_row(row: Sequence[str]) -> str:
    cells = (
        f'<td{" class=text" if len(cell) > _LONG_TEXT else ""}>{escape(cell)}</td>' for cell in row
    )
    return f'<tr>{"".join(cells)}</tr>'


def markdown_table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, align: bool = True
) -> str:
    """
    Return a table in Markdown.

    :param rows: cells; floats get two decimals, None and NaN become a dash
    :param align: pad cells so that the columns line up in a terminal too
    """
    lines = [list(header), *([_markdown_cell(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) if align else 0 for column in zip(*lines, strict=True)]
    lines.insert(1, ['-' * max(3, width) for width in widths])
    padded = ([c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in lines)
    return '\n'.join(f'| {" | ".join(line)} |' for line in padded)


def _markdown_cell(value: object) -> str:
    if value is None or isinstance(value, float):
        return number(value, '.2f')
    return str(value).replace('|', '/')
