"""Write the table of benchmarks/README.md anew from the committed records.

python -m benchmarks.table
"""

from collections.abc import Sequence
from pathlib import Path

from autoseg.core.files import write_text
from autoseg.core.records import read_record
from autoseg.core.statistics import Interval
from benchmarks.record import RESULTS, BenchmarkRecord

README = Path(__file__).parent / "README.md"
BEGIN = "<!-- made by `python -m benchmarks.table`: do not edit -->"
END = "<!-- end -->"
_HEADING = (
    "record",
    "budget",
    "trained in",
    "predicted in",
    "largest process",
    "mean Dice (95 %)",
    "compared with",
    "theirs",
    "ours - theirs (95 %)",
    "machine",
    "commit",
)


def records(folder: Path = RESULTS) -> tuple[tuple[str, BenchmarkRecord], ...]:
    """Return (name of the file, record) of every result, sorted by name."""
    return tuple((path.stem, read_record(path, BenchmarkRecord)) for path in sorted(folder.glob("*.json")))


def table(results: Sequence[tuple[str, BenchmarkRecord]]) -> str:
    """Return the Markdown table: one line per record and peer."""
    lines = [_row(_HEADING), _row(["---"] * len(_HEADING))]
    for name, record in results:
        for peer in record.peers:
            d = peer.difference
            ours, theirs = _with_interval(d.mean, d.mean_interval, "+.4f"), f"{d.mean_b:.4f}"
            lines.append(_row([*_about(name, record), peer.name, theirs, ours, *_where(record)]))
    if not results:
        return "No record has been committed yet.\n"
    return "\n".join(lines) + "\n"


def page(text: str, results: Sequence[tuple[str, BenchmarkRecord]]) -> str:
    """Return the README `text` with its table made anew; ValueError when the marks are missing."""
    before, found, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found or not found_end:
        msg = f"README.md needs the lines {BEGIN} and {END}"
        raise ValueError(msg)
    return f"{before}{BEGIN}\n\n{table(results)}\n{END}{after}"


def _about(name: str, record: BenchmarkRecord) -> list[str]:
    return [
        f"[{name}](results/{name}.json)",
        "none" if record.budget_s is None else f"{record.budget_s / 60:g} min",
        f"{record.train_s / 60:.1f} min",
        f"{record.predict_s:.0f} s",
        f"{record.peak_process_bytes / 2**30:.2f} GiB",
        _with_interval(record.mean_dice, record.mean_interval, ".4f"),
    ]


def _where(record: BenchmarkRecord) -> list[str]:
    hardware = record.hardware
    machine = f"{hardware.cores} cores, {hardware.cpu}, {hardware.memory_bytes / 2**30:.0f} GiB"
    return [hardware.gpu or machine + (", bf16" if hardware.bf16 else ""), record.commit[:10]]


def _with_interval(value: float, interval: Interval | None, form: str) -> str:
    if interval is None:
        return f"{value:{form}}"
    return f"{value:{form}} ({interval.lower:{form}} to {interval.upper:{form}})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    write_text(README, page(README.read_text(encoding="utf-8"), records()))
    print(table(records()), end="")
