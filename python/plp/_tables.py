"""A table as aligned text: the first row is the heading, numbers stand to the right."""

from __future__ import annotations

from collections.abc import Sequence


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Columns are as wide as their widest cell; a column of numbers is set to the right."""
    columns = list(zip(*rows))
    widths = [max(map(len, column)) for column in columns]
    right = [any(cell[:1].isdigit() or cell[:1] in {"+", "-"} for cell in column[1:]) for column in columns]

    def line(row: Sequence[str]) -> str:
        cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right))
        return "  ".join(cells).rstrip()

    heading, *body = map(line, rows)
    return "\n".join([heading, "  ".join("-" * w for w in widths).rstrip(), *body])


def printable(text: str) -> str:
    """Text as it may go to a terminal: what comes from files and servers must not steer it, nor hide itself."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
