"""What is said of intervals from few patients: of a whole table, and of the rows in which fewer have a score."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autoseg.core.statistics import CAUTION_PATIENTS, MINIMUM_PATIENTS

_SHOWN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedRow:
    """One row of a table: its label, its metric in words, and how many patients have a score there."""

    label: str
    metric: str
    patients: int


def caution(patients: int, rows: Sequence[CountedRow]) -> tuple[str, ...]:
    """Return what to say of a table of `patients`, and of those rows that have fewer; nothing where all have many.

    >>> caution(80, [CountedRow(label="liver", metric="Dice", patients=80)])
    ()
    >>> caution(80, [CountedRow(label="tumour", metric="Dice", patients=7)])
    ('no interval under 10 patients: tumour: 7 patients',)

    """
    if patients < MINIMUM_PATIENTS:
        return (f"{patients} patients are too few for an interval (at least {MINIMUM_PATIENTS})",)
    notes = []
    if patients < CAUTION_PATIENTS:
        notes.append(
            f"intervals from {patients} patients (fewer than {CAUTION_PATIENTS}) are narrower than they should be"
        )
    fewer = [row for row in rows if 0 < row.patients < patients]
    narrow = [row for row in fewer if MINIMUM_PATIENTS <= row.patients < CAUTION_PATIENTS]
    if narrow:
        what = f"intervals from fewer than {CAUTION_PATIENTS} patients are narrower than they should be"
        notes.append(f"{what}: {_named(narrow, rows)}")
    absent = [row for row in fewer if row.patients < MINIMUM_PATIENTS]
    if absent:
        notes.append(f"no interval under {MINIMUM_PATIENTS} patients: {_named(absent, rows)}")
    return tuple(notes)


def _named(some: Sequence[CountedRow], rows: Iterable[CountedRow]) -> str:
    """Return the rows in words, fewest patients first; without the metric where all of the label's count the same."""
    counts: dict[str, set[int]] = {}
    for row in rows:
        counts.setdefault(row.label, set()).add(row.patients)
    words = dict.fromkeys(
        f"{row.label if len(counts[row.label]) == 1 else f'{row.label}, {row.metric}'}: {row.patients} patients"
        for row in sorted(some, key=lambda row: row.patients)
    )
    more = f"; and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return "; ".join(list(words)[:_SHOWN]) + more
