"""The record of a comparison, part by part."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from benchmarks.record import Hardware


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What must hold: times faster, at most this share of the memory, at least this share of equal voxels."""

    faster: float | None = None
    memory: float | None = None
    equal: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One part: what was done, how memory was counted, and both sides.

    `equal` is the share of voxels with the same label; `worst` the largest difference of images, as a share of the
    range. Of a command the seconds are those from its start to its exit, the bytes those of its largest process: what
    forked processes share is not counted again.
    """

    part: str
    what: str
    memory_counted: str
    our_s: float
    their_s: float
    our_peak_bytes: int
    their_peak_bytes: int
    equal: float | None
    worst: float | None
    target: Target
    note: str
    date: str
    commit: str
    load: float

    @property
    def faster(self) -> float:
        """How many times faster we are."""
        return self.their_s / self.our_s

    @property
    def memory(self) -> float:
        """Our peak memory as a share of theirs."""
        return self.our_peak_bytes / self.their_peak_bytes

    @property
    def missed(self) -> tuple[str, ...]:
        """Which targets are missed."""
        target = self.target
        checks = {
            "speed": target.faster is None or self.faster >= target.faster,
            "memory": target.memory is None or self.memory <= target.memory,
            "labels": target.equal is None or self.equal is None or self.equal >= target.equal,
        }
        return tuple(name for name, met in checks.items() if not met)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRecord:
    """All parts so far."""

    schema: ClassVar[str] = "autoseg.inference-comparison/1"

    hardware: Hardware
    versions: tuple[tuple[str, str], ...]
    nnunet_versions: tuple[tuple[str, str], ...]
    parts: tuple[Comparison, ...]


def table(record: InferenceRecord) -> str:
    """Return a Markdown table with a line per part."""
    return "\n".join(_lines(record))


def _lines(record: InferenceRecord) -> Iterator[str]:
    yield "| part | ours | nnU-Net | faster | our peak | its peak | share | agreement | missed |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for part in record.parts:
        agreement = f"{part.equal:.4%} equal" if part.equal is not None else f"worst {part.worst:.1e} of the range"
        cells = [
            part.what,
            _seconds(part.our_s),
            _seconds(part.their_s),
            f"{part.faster:.1f} x",
            f"{part.our_peak_bytes / 2**20:.0f} MiB",
            f"{part.their_peak_bytes / 2**20:.0f} MiB",
            f"{part.memory:.2f}",
            agreement,
            ", ".join(part.missed) or "-",
        ]
        yield f"| {' | '.join(cells)} |"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
