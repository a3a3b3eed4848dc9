"""The part of the logits that windows still touch: a ring of planes along the slowest axis."""

import torch
from jaxtyping import Float32
from torch import Tensor

from autoseg.learning.turns import Reach, Turn, Window, make_turns, ring_depth

__all__ = ["Reach", "Slab", "Turn", "Window", "make_turns", "ring_depth"]


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
