"""What injecting a fault found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How often a fault was injected, what was not as promised (sentences), the slowest answer in seconds."""

    tries: int
    faults: tuple[str, ...]
    slowest_s: float | None = None
    detail: str = ""
