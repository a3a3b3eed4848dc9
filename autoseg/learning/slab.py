"""The part of the logits that windows still touch: a ring of planes along the slowest axis."""

import numpy as np
import torch
from jaxtyping import Float, Float32
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

    def add(self, logits: Float[Tensor, "k z y x"], window: Window) -> None:
        """Add the logits (k, z, y, x) of one window, of any floating type, times its weights, in float32."""
        z, y, x = window
        lower_y, upper_y = max(y.lower, self._rows[0]), min(y.upper, self._rows[1])
        part = logits[
            :,
            z.lower - z.start : z.upper - z.start,
            lower_y - y.start : upper_y - y.start,
            x.lower - x.start : x.upper - x.start,
        ]
        inside_y = slice(lower_y - y.lower, upper_y - y.lower)
        weights = _weights((z.weights, None if y.weights is None else y.weights[inside_y], x.weights), part)
        rows, columns = slice(lower_y - self._rows[0], upper_y - self._rows[0]), slice(x.lower, x.upper)
        # Plane by plane: what is converted and weighted stays within a core's cache.
        for index, plane in enumerate(range(z.lower, z.upper)):
            ring = self._ring[plane % len(self._ring), :, rows, columns]
            values = part[:, index].float()
            if weights is None:
                ring.add_(values)
            else:
                ring.addcmul_(values, weights[index if len(weights) > 1 else 0])

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


def _weights(
    axes: tuple[Float32[np.ndarray, " _"] | None, ...], part: Float[Tensor, "k z y x"]
) -> Float32[Tensor, "planes rows columns"] | None:
    """Return the product of the weights of the three axes, of length 1 where an axis has none; None where none has."""
    product: Tensor | None = None
    for axis, weights in enumerate(axes):
        if weights is not None:
            given = torch.from_numpy(weights).to(part.device).view([-1 if a == axis else 1 for a in range(3)])
            product = given if product is None else product * given
    return product
