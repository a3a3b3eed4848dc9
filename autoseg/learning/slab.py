"""The part of the logits that windows still touch: a ring of planes along the slowest axis."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

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


class Slab:
    """Sums of weighted logits (plane, k, rows, x) in float32; a plane is zeroed when it is released."""

    def __init__(self, depth: int, outputs: int, rows: tuple[int, int], width: int, device: torch.device) -> None:
        """Make room for `depth` planes of rows `rows[0]` to `rows[1]`, starting at plane 0."""
        self._ring = torch.zeros((depth, outputs, rows[1] - rows[0], width), dtype=torch.float32, device=device)
        self._rows = rows
        self._base = 0

    def add(self, logits: Float32[Tensor, "k z y x"], window: Window) -> None:
        """Add the logits (k, z, y, x) of one window times its weights; `logits` is overwritten."""
        z, y, x = window
        lower_y, upper_y = max(y.lower, self._rows[0]), min(y.upper, self._rows[1])
        part = logits[
            :,
            z.lower - z.start : z.upper - z.start,
            lower_y - y.start : upper_y - y.start,
            x.lower - x.start : x.upper - x.start,
        ]
        inside_y = slice(lower_y - y.lower, upper_y - y.lower)
        for axis, weights in ((1, z.weights), (2, None if y.weights is None else y.weights[inside_y]), (3, x.weights)):
            if weights is not None:
                shape = [-1 if a == axis else 1 for a in range(4)]
                part.mul_(torch.from_numpy(weights).to(part.device).view(shape))
        part = part.transpose(0, 1)
        rows, columns = slice(lower_y - self._rows[0], upper_y - self._rows[0]), slice(x.lower, x.upper)
        for first, last in self._pieces(z.lower, z.upper):
            ring = self._ring[first % len(self._ring) :][: last - first]
            ring[:, :, rows, columns].add_(part[first - z.lower : last - z.lower])

    def planes(self, lower: int, upper: int) -> Float32[Tensor, "plane k rows x"]:
        """Return planes `lower` to `upper` (plane, k, rows, x); a view where they do not wrap around."""
        pieces = [self._ring[first % len(self._ring) :][: last - first] for first, last in self._pieces(lower, upper)]
        return pieces[0] if len(pieces) == 1 else torch.cat([self._ring[:0], *pieces])

    def release(self, base: int) -> None:
        """Give up all planes below `base`."""
        for first, last in self._pieces(self._base, base):
            self._ring[first % len(self._ring) :][: last - first].zero_()
        self._base = base

    def _pieces(self, lower: int, upper: int) -> list[tuple[int, int]]:
        """Split a range of planes where the ring wraps around."""
        depth = len(self._ring)
        pieces = []
        while lower < upper:
            last = min(upper, lower - lower % depth + depth)
            pieces.append((lower, last))
            lower = last
        return pieces
