"""Tables as text, and text that a terminal may show."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_LINE = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)  # below the heading
_GAP = 2  # between columns


def text_table(rows: Sequence[Sequence[str]], keys: int = 1) -> str:
    """The first row is the heading; columns are as wide as their widest cell, and numbers stand to the right.

    Where standard output is a terminal that is narrower, the columns that are too many follow in tables below, beside
    the first ``keys``.
    """
    console = Console()
    width = console.width if console.is_terminal else None
    columns = list(zip(*rows))
    tables = [columns[:keys]]
    for column in columns[keys:]:
        if width is not None and len(tables[-1]) > keys and _width([*tables[-1], column]) > width:
            tables.append(columns[:keys])
        tables[-1].append(column)
    return "\n\n".join(map(_drawn, tables))


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(cell_len, column)) + _GAP for column in columns) - _GAP


def _drawn(columns: Sequence[Sequence[str]]) -> str:
    table = Table(box=_LINE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, *cells in columns:
        is_number = any(cell[:1].isdigit() or cell[:1] in {"+", "-"} for cell in cells)
        table.add_column(Text(name), justify="right" if is_number else "left", no_wrap=True)
    for row in list(zip(*columns))[1:]:
        table.add_row(*map(Text, row))
    text = StringIO()
    Console(file=text, width=10_000, color_system=None, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def printable(text: str) -> str:
    """Text as it may go to a terminal: what comes from files and servers must not steer it, nor hide itself."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
