"""Where records of this checkout lie; what they are made of is in the package."""

from pathlib import Path

from autoseg.suites.record import (
    BenchmarkRecord,
    CaseResult,
    Hardware,
    Peer,
    these_versions,
    this_commit,
    this_hardware,
)

RESULTS = Path(__file__).parent / "results"

__all__ = [
    "RESULTS",
    "BenchmarkRecord",
    "CaseResult",
    "Hardware",
    "Peer",
    "these_versions",
    "this_commit",
    "this_hardware",
]
