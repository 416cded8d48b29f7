"""Tables and lines as HTML, for notebooks and reports."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the heading; numbers stand to the right."""
    columns = [list(filter(None, cells)) for _, *cells in zip(*rows)]
    numbers = [bool(cells) and all(cell[0] in "+-<0123456789" for cell in cells) for cells in columns]
    sides = [' style="text-align: right"' if is_number else "" for is_number in numbers]

    def line(row: Sequence[str], opening: str, closing: str) -> str:
        cells = (f"<{opening}{side}>{escape(cell)}</{closing}>" for cell, side in zip(row, sides))
        return f"<tr>{''.join(cells)}</tr>"

    head, *body = rows
    heading = line(head, 'th scope="col"', "th")
    return f"<table><thead>{heading}</thead><tbody>{''.join(line(row, 'td', 'td') for row in body)}</tbody></table>"


def html_lines(lines: Sequence[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)
