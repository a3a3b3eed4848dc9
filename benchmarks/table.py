"""Write the leaderboard of benchmarks/README.md anew from the committed records.

python -m benchmarks.table
"""

from collections.abc import Sequence
from pathlib import Path

from autoseg.core.energy import estimated_joules
from autoseg.core.files import write_text
from autoseg.core.records import read_record
from autoseg.core.statistics import Interval, paired_difference
from benchmarks.record import RESULTS, BenchmarkRecord

README = Path(__file__).parent / "README.md"
BEGIN = "<!-- made by `python -m benchmarks.table`: do not edit -->"
END = "<!-- end -->"
_JOULES_PER_WH = 3600
_HEADING = (
    "suite",
    "what",
    "mean Dice (95 %)",
    "unseen cases",
    "trained in",
    "predicted in",
    "largest process",
    "energy",
    "machine",
    "commit",
    "record",
)
_PAIRED_HEADING = ("suite", "what", "compared with, same cases", "ours", "theirs", "ours - theirs (95 %)")
_OTHER_HEADING = ("suite", "published", "mean Dice", "of each label", "how")
_ENERGY = (
    "Energy in Wh: `~` is an estimate of 10 W for each second of a core (autoseg/core/energy.py), else the processors'"
    " counters; older records have neither."
)


def records(folder: Path = RESULTS) -> tuple[tuple[str, BenchmarkRecord], ...]:
    """Return (name of the file, record) of every result, sorted by name."""
    return tuple((path.stem, read_record(path, BenchmarkRecord)) for path in sorted(folder.glob("*.json")))


def table(results: Sequence[tuple[str, BenchmarkRecord]]) -> str:
    """Return Markdown: a line per record, best first in each suite, then what published results say of it."""
    if not results:
        return "No record has been committed yet.\n"
    ranked = sorted(results, key=lambda pair: (pair[1].benchmark, -pair[1].mean_dice))
    board = _table(_HEADING, [_line(name, record) for name, record in ranked])
    paired = [row for _, record in ranked for row in _compared(record)]
    paired += _beside_classical([record for _, record in ranked])
    other = dict.fromkeys(row for _, record in ranked for row in _published(record))
    parts = [board, _ENERGY]
    if paired:
        parts.append(_table(_PAIRED_HEADING, paired))
    if other:
        parts += ["Published means over other cases of the same task, which no difference can be taken from:"]
        parts.append(_table(_OTHER_HEADING, list(other)))
    return "\n\n".join(parts) + "\n"


def page(text: str, results: Sequence[tuple[str, BenchmarkRecord]]) -> str:
    """Return the README `text` with its table made anew; ValueError when the marks are missing."""
    before, found, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found or not found_end:
        msg = f"README.md needs the lines {BEGIN} and {END}"
        raise ValueError(msg)
    return f"{before}{BEGIN}\n\n{table(results)}\n{END}{after}"


def _line(name: str, record: BenchmarkRecord) -> tuple[str, ...]:
    hardware = record.hardware
    machine = f"{hardware.cores} cores, {hardware.cpu}, {hardware.memory_bytes / 2**30:.0f} GiB"
    return (
        record.benchmark,
        _what(record),
        _with_interval(record.mean_dice, record.mean_interval, ".4f"),
        str(len(record.cases)),
        f"{record.train_s / 60:.1f} min",
        f"{record.predict_s:.0f} s",
        f"{record.peak_process_bytes / 2**30:.2f} GiB",
        _energy(record),
        hardware.gpu or machine + (", bf16" if hardware.bf16 else ""),
        record.commit[:10],
        f"[{name}](results/{name}.json)",
    )


def _what(record: BenchmarkRecord) -> str:
    if record.method == "classical":
        return "; ".join(("classical", *(note.rpartition(": ")[2] for note in record.notes)))
    return "autoseg, no budget" if record.budget_s is None else f"autoseg, {record.budget_s / 60:g} min"


def _energy(record: BenchmarkRecord) -> str:
    if record.energy_j is not None:
        return f"{record.energy_j / _JOULES_PER_WH:.1f}"
    if record.processor_s is not None and record.hardware.gpu is None:
        return f"~{estimated_joules(record.processor_s) / _JOULES_PER_WH:.1f}"
    return "-"


def _compared(record: BenchmarkRecord) -> list[tuple[str, ...]]:
    rows = []
    for peer in record.peers:
        d = peer.difference
        ours = _with_interval(d.mean, d.mean_interval, "+.4f")
        rows.append((record.benchmark, _what(record), peer.name, f"{d.mean_a:.4f}", f"{d.mean_b:.4f}", ours))
    return rows


def _beside_classical(ranked: Sequence[BenchmarkRecord]) -> list[tuple[str, ...]]:
    """Return what the network adds to the classical baseline of the same suite, on the same cases."""
    rows = []
    for record in ranked:
        for other in ranked:
            cases = [case.case for case in record.cases]
            if (record.method, other.method) == ("network", "classical") and cases == [c.case for c in other.cases]:
                ours, theirs = ([case.dice or 0.0 for case in one.cases] for one in (record, other))
                d = paired_difference(ours, theirs)
                told = _with_interval(d.mean, d.mean_interval, "+.4f")
                what = ("the classical baseline", f"{d.mean_a:.4f}", f"{d.mean_b:.4f}", told)
                rows.append((record.benchmark, _what(record), *what))
    return rows


def _published(record: BenchmarkRecord) -> list[tuple[str, ...]]:
    return [
        (
            record.benchmark,
            one.name,
            f"{one.dice:.4f}",
            ", ".join(f"{dice:.4f}" for dice in one.per_label) or "-",
            f"{one.protocol} ({one.source})",
        )
        for one in record.published
    ]


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _with_interval(value: float, interval: Interval | None, form: str) -> str:
    if interval is None:
        return f"{value:{form}}"
    return f"{value:{form}} ({interval.lower:{form}} to {interval.upper:{form}})"


if __name__ == "__main__":
    write_text(README, page(README.read_text(encoding="utf-8"), records()))
    print(table(records()), end="")
