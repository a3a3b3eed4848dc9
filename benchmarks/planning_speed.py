"""How long does planning take? Every golden fingerprint, every recipe; the slowest must stay under 50 ms.

python -m benchmarks.planning_speed

Processor time of one core, best of several plans. The `auto` recipe plans for 30 minutes on a machine like a laptop.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.records import read_record, write_record
from benchmarks.nnunet_figures import GoldenPlans
from benchmarks.record import RESULTS, Hardware, this_commit, this_hardware
from planners.fingerprint import Fingerprint
from planners.planner import make_plan
from planners.recipe import RECIPES, Budget, Machine

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "nnunet_plans"
OUTPUT = RESULTS / "planners" / "planning_speed.json"
LIMIT_S = 0.05
REPEATS = 5
LAPTOP = Machine(device="cpu", cores=2, memory_bytes=16 << 30, bf16=True, flops_per_s=2e11, bytes_per_s=1e10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The slowest fingerprint of a recipe, and the median over all."""

    recipe: str
    slowest_case: str
    slowest_s: float
    median_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningSpeed:
    """All recipes; seconds are processor time of one plan."""

    schema: ClassVar[str] = "autoseg.planning-speed/1"

    commit: str
    hardware: Hardware
    fingerprints: int
    rows: tuple[Planned, ...]


def plan_seconds(data: Fingerprint, recipe: str) -> float:
    """Return the processor time of one plan, the best of REPEATS."""
    budget, machine = (Budget(seconds=1800), LAPTOP) if recipe == "auto" else (Budget(), None)
    taken = []
    for _ in range(REPEATS):
        started = time.process_time()
        make_plan(data, RECIPES[recipe], budget, machine)
        taken.append(time.process_time() - started)
    return min(taken)


def main() -> int:
    """Plan everything; 0 when the slowest plan is fast enough, else 1."""
    data = {path.stem: read_record(path, GoldenPlans).fingerprint for path in sorted(GOLDEN.glob("*.json"))}
    rows = []
    for recipe in RECIPES:
        seconds = sorted((plan_seconds(fingerprint, recipe), name) for name, fingerprint in data.items())
        slowest_s, case = seconds[-1]
        median_s = seconds[len(seconds) // 2][0]
        rows.append(
            Planned(recipe=recipe, slowest_case=case, slowest_s=round(slowest_s, 5), median_s=round(median_s, 5))
        )
        sys.stdout.write(f"{recipe}: {1000 * slowest_s:.1f} ms ({case}), median {1000 * median_s:.1f} ms\n")
    record = PlanningSpeed(
        commit=this_commit(), hardware=this_hardware("cpu"), fingerprints=len(data), rows=tuple(rows)
    )
    write_record(OUTPUT, record)
    return int(any(row.slowest_s > LIMIT_S for row in rows))


if __name__ == "__main__":
    sys.exit(main())
