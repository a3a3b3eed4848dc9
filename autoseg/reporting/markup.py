"""Small pieces of HTML, all text escaped, and the page around them: one file, no request to any network."""

import re
from collections.abc import Sequence
from html import escape

from autoseg.reporting.style import SCRIPT, STYLE

NOT_A_DIAGNOSIS = "Research use, not a diagnosis."
UNDEFINED = "–"
_PROSE_CHARACTERS = 30
"""Cells with more keep a width to be read at; on a phone the table scrolls."""
_LONG_TABLE_ROWS = 25
"""Longer tables scroll in a frame of their own on the screen."""


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text; `kind` is a class of the style sheet."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def sentence(subject: str, text: str) -> str:
    """Return a paragraph that opens with its subject in bold."""
    return f"<p><strong>{escape(subject)}</strong>: {escape(text)}</p>"


def section(name: str, title: str, *parts: str) -> str:
    """Return a section with a heading; nothing when all `parts` are empty."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{escape(name)}">\n<h2>{escape(title)}</h2>\n{body}\n</section>' if body else ""


def subsection(title: str, *parts: str) -> str:
    """Return a heading of the third level and what follows; nothing when all `parts` are empty."""
    body = "\n".join(part for part in parts if part)
    return f"<h3>{escape(title)}</h3>\n{body}" if body else ""


def figure(content: str, caption: str) -> str:
    """Return a figure: `content` is SVG or an image of ours, `caption` plain text."""
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def folded(summary: str, content: str) -> str:
    """Return content that is closed until somebody asks for it; it prints open."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>" if content else ""


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, sortable: bool = False) -> str:
    """Return a table of plain text, columns of numbers aligned right; `sortable`: by a click on a heading."""
    if not rows:
        return ""
    numeric = [column > 0 and all(_is_number(row[column]) for row in rows) for column in range(len(headings))]
    head = "".join(_heading(text, sortable, right) for text, right in zip(headings, numeric, strict=True))
    lines = ["<tr>" + "".join(map(_cell, row, numeric)) + "</tr>" for row in rows]
    kind = ' class="sortable"' if sortable else ""
    body = "\n".join(lines)
    wrapper = "wide long" if len(rows) > _LONG_TABLE_ROWS else "wide"
    return (
        f'<div class="{wrapper}"><table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def tiles(items: Sequence[tuple[str, str]]) -> str:
    """Return big numbers, each (number, what it is)."""
    cells = (f"<div><strong>{escape(number)}</strong><span>{escape(what)}</span></div>" for number, what in items)
    return f'<div class="tiles">{"".join(cells)}</div>'


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return the whole page; `sections` are (name, HTML), empty ones are left out of page and contents."""
    present = [(name, content) for name, content in sections if content]
    links = "".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name, _ in present)
    body = "\n".join(content for _, content in present)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{paragraph(NOT_A_DIAGNOSIS, 'caution')}{lead}</header>\n"
        f"<nav>{links}</nav>\n<main>\n{body}\n</main>\n"
        f"<footer>{paragraph(NOT_A_DIAGNOSIS)}</footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with `digits` decimals; a dash where it is undefined."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def significant(value: float | None) -> str:
    """Return a number of any size with three significant digits; a dash where it is undefined.

    >>> significant(1234567.0), significant(0.01234), significant(33.0)
    ('1,230,000', '0.0123', '33')

    """
    if value is None:
        return UNDEFINED
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


def duration(seconds: float) -> str:
    """Return a time for people.

    >>> duration(0.4), duration(75), duration(7300)
    ('0.4 s', '1 min 15 s', '2 h 1 min')

    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def mebibytes(size: float) -> str:
    """Return a size in MiB or GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _heading(text: str, sortable: bool, right: bool) -> str:
    inner = f'<button type="button">{escape(text)}</button>' if sortable else escape(text)
    return f'<th scope="col"{_class("number") if right else ""}>{inner}</th>'


def _cell(text: str, right: bool) -> str:
    return f"<td{_class('number' if right else 'prose' if len(text) > _PROSE_CHARACTERS else '')}>{escape(text)}</td>"


def _is_number(text: str) -> bool:
    return text == UNDEFINED or bool(re.fullmatch(r"[-+]?\d[\d,]*(\.\d+)?", text))


def _class(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""
