"""Names from files as text that is safe where it is shown: on a terminal, and in a table that a spreadsheet opens."""

import re

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""C0 and C1 but for newline and tab, and marks that reverse the direction of writing: a name with them could move the
cursor, recolour or rename the window, or show itself as another name."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet compute a cell: https://owasp.org/www-community/attacks/CSV_Injection."""


def printable(text: str) -> str:
    r"""Return the text with control characters written out.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'

    """
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def cell(name: str) -> str:
    """Return a name as it is written into a CSV file: text for spreadsheets, too, also if it looks like a formula.

    >>> cell("=1+1"), cell("liver")
    ("'=1+1", 'liver')

    """
    shown = printable(name)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
