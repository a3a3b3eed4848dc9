"""In which order windows are predicted, and which planes are alive meanwhile; NumPy alone, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from autoseg.learning.windows import Span

Window = tuple[Span, Span, Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Which planes (lower to upper, both rising) each plane of the result is made from."""

    lower: Int64[np.ndarray, " outputs"]
    upper: Int64[np.ndarray, " outputs"]

    def ready(self, final: int) -> int:
        """Return how many planes of the result can be made once all planes below `final` are final."""
        return int(np.searchsorted(self.upper, final, side="right"))

    def base(self, final: int) -> int:
        """Return the lowest plane that is still needed once all planes below `final` are final and used."""
        ready = self.ready(final)
        return final if ready == len(self.lower) else min(final, int(self.lower[ready]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One batch of windows; afterwards all planes below `final` are final."""

    windows: tuple[Window, ...]
    final: int


def make_turns(windows: Sequence[Window], batch: int, planes: int) -> tuple[Turn, ...]:
    """Split windows, ordered along the slowest axis, into batches over an image of `planes` planes."""
    batches = [tuple(windows[first : first + batch]) for first in range(0, len(windows), batch)]
    following = [later[0][0].lower for later in batches[1:]]
    return tuple(Turn(windows=w, final=final) for w, final in zip(batches, [*following, planes], strict=True))


def ring_depth(turns: Sequence[Turn], reach: Reach) -> int:
    """Return how many planes are alive at most."""
    base, depth = 0, 0
    for turn in turns:
        depth = max(depth, max(z.upper for z, _, _ in turn.windows) - base)
        base = reach.base(turn.final)
    return depth
