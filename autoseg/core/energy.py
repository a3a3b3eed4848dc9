"""What a computation took of the processor and, where the machine can tell, of energy.

Linux shows the counters of Intel's and AMD's processors (RAPL) in /sys/class/powercap, to root alone since
CVE-2020-8694, and not inside most virtual machines. Elsewhere energy can only be estimated from processor time.
"""

import resource
from dataclasses import dataclass
from pathlib import Path

_COUNTERS = Path("/sys/class/powercap")
_JOULES = 1e-6
WATTS_PER_CORE = 10.0
"""Of a busy core, for estimates: thermal design power divided by cores is about 4 W in large servers, 15 W in desktop
computers. Memory, disks, cooling and the GPU come on top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One processor package: joules so far, and where the counter starts again."""

    joules: float
    wraps_at_joules: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Processor seconds of this process and of the children that have ended, and the counters of the machine."""

    processor_s: float
    counters: tuple[Counter, ...]


def usage(counters: Path = _COUNTERS) -> Usage:
    """Return the usage up to now."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return Usage(
        processor_s=own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
        counters=_read(counters),
    )


def energy_between(first: Usage, last: Usage) -> float | None:
    """Return the joules that the machine's processors took between two readings; None where it does not tell.

    What else ran at that time is included. A counter that started again in between is put right, once.
    """
    if not first.counters or len(first.counters) != len(last.counters):
        return None
    pairs = zip(first.counters, last.counters, strict=True)
    return sum(
        (b.joules - a.joules) % b.wraps_at_joules if b.joules < a.joules else b.joules - a.joules for a, b in pairs
    )


def estimated_joules(processor_s: float) -> float:
    """Return WATTS_PER_CORE for each second of a core.

    >>> estimated_joules(3600.0) / 3600  # watt hours
    10.0

    """
    return processor_s * WATTS_PER_CORE


def _read(folder: Path) -> tuple[Counter, ...]:
    """Return the counters of the processor packages; their parts (cores, memory) are included in them."""
    found = []
    try:
        for zone in sorted(folder.glob("*-rapl:*")):
            if zone.name.count(":") == 1 and (zone / "name").read_text(encoding="ascii").startswith("package"):
                texts = [(zone / name).read_text(encoding="ascii") for name in ("energy_uj", "max_energy_range_uj")]
                joules, wraps_at = (int(text) * _JOULES for text in texts)
                found.append(Counter(joules=joules, wraps_at_joules=wraps_at))
    except (OSError, ValueError):
        return ()
    return tuple(found)
