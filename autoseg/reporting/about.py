"""The report's sections on time and energy, and on what made all this: machine, versions, digests."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.core.energy import WATTS_PER_CORE, estimated_joules
from autoseg.core.runtime import RunEntry
from autoseg.reporting.charts import Row, bars
from autoseg.reporting.markup import (
    UNDEFINED,
    duration,
    figure,
    folded,
    mebibytes,
    number,
    paragraph,
    section,
    subsection,
    table,
)
from autoseg.reporting.material import Digest, Material

_JOULES_PER_WH = 3600.0
_SECONDS_PER_MINUTE = 60.0
_MOST_SECONDS_DRAWN = 180.0
"""Longer jobs are drawn in minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """What all calls of one step took together; `energy_j` is None where the machine's counters were not read."""

    step: str
    calls: int
    seconds: float
    processor_s: float | None
    energy_j: float | None


def step_costs(runs: Sequence[RunEntry]) -> tuple[StepCost, ...]:
    """Add up the calls of each step, in the order of their first."""
    names = dict.fromkeys(run.step for run in runs)
    return tuple(_cost(name, [run for run in runs if run.step == name]) for name in names)


def energy_sentence(costs: Sequence[StepCost], cores: int, device: str) -> str:
    """Say how much energy the steps took, and how that is known; empty when nothing ran."""
    if not costs:
        return ""
    measured = [cost.energy_j for cost in costs if cost.energy_j is not None]
    if len(measured) == len(costs):
        wh = sum(measured) / _JOULES_PER_WH
        return f"{wh:.1f} Wh, by the counters of the processors (RAPL); what else ran at that time is included."
    seconds = sum(cost.seconds * cores if cost.processor_s is None else cost.processor_s for cost in costs)
    told = (
        f"About {estimated_joules(seconds) / _JOULES_PER_WH:.1f} Wh: an estimate, {WATTS_PER_CORE:g} W for each of"
        f" {duration(seconds)} of a core, because the processors' counters cannot be read here."
    )
    return told + ("" if device == "cpu" else " The GPU is not included.")


def time_section(material: Material) -> str:
    """Say where the time went, step by step, and what energy that took."""
    costs = step_costs(material.runs)
    rows = [
        (
            cost.step,
            str(cost.calls),
            number(cost.seconds, 1),
            number(cost.processor_s, 1),
            UNDEFINED if cost.energy_j is None else number(cost.energy_j / _JOULES_PER_WH, 2),
        )
        for cost in costs
    ]
    headings = ("step", "calls", "seconds", "processor seconds", "Wh measured")
    long = sum(cost.seconds for cost in costs) > _MOST_SECONDS_DRAWN
    unit_s, unit = (_SECONDS_PER_MINUTE, "minutes") if long else (1.0, "seconds")
    shown = [Row(name=cost.step, values=(cost.seconds / unit_s,)) for cost in costs]
    calls = [(run.step, run.started, duration(run.seconds), run.outcome) for run in material.runs]
    machine = material.machine
    energy = energy_sentence(costs, machine.cores if machine else 1, machine.device if machine else "cpu")
    return section(
        "time",
        "Time and energy",
        figure(bars(shown, "time of each step", unit), "Wall clock of each step.") if shown else "",
        table(headings, rows, sortable=True),
        subsection("Energy", paragraph(energy)) if energy else "",
        folded("Every call", table(("step", "started (UTC)", "took", "outcome"), calls)),
    )


def versions_section(material: Material) -> str:
    """Say which machine and versions made this, and the digests of what was made."""
    parts = []
    machine = material.machine
    if machine:
        speed = "" if machine.flops_per_s is None else f", {machine.flops_per_s / 1e9:.0f} GFLOP/s measured"
        text = f"{machine.device}, {machine.cores} cores, {mebibytes(machine.memory_bytes)} memory"
        parts.append(subsection("Machine", paragraph(text + (", bf16" if machine.bf16 else "") + speed)))
    if material.runs:
        latest = material.runs[-1]
        parts.append(subsection("Versions", paragraph(latest.platform), table(("package", "version"), latest.versions)))
    parts.append(subsection("Digests", folded("SHA-256 of what was made", _digests(material.digests))))
    return section("versions", "Machine, versions, digests", *parts)


def _cost(name: str, runs: Sequence[RunEntry]) -> StepCost:
    processor = [run.processor_s for run in runs if run.processor_s is not None]
    energy = [run.energy_j for run in runs if run.energy_j is not None]
    return StepCost(
        step=name,
        calls=len(runs),
        seconds=sum(run.seconds for run in runs),
        processor_s=sum(processor) if len(processor) == len(runs) else None,
        energy_j=sum(energy) if len(energy) == len(runs) else None,
    )


def _digests(digests: Sequence[Digest]) -> str:
    return table(("file", "SHA-256"), [(digest.file, digest.sha256) for digest in digests])
