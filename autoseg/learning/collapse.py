"""Labels that a network loses while it trains: found by validation, brought back by more samples of them.

A label whose Dice is exactly 0 on cases that hold it gets no useful gradient from batches in which it is rare. The
training then goes back to the weights that validated best and draws patches around that label more often.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int16, Int32

from autoseg.learning.sampling import CaseSource

COLLAPSED_FROM = 0.1
"""Progress from which on a label at Dice 0 counts as lost; before, many are not learned yet (issue: "first tenth")."""
COLLAPSED_UNTIL = 0.8
"""Progress after which it is left as it is: the rate is too low by then to learn a label anew."""
PATIENCE = 0.1
"""Progress between two restarts, so that the first shows what it does; not tuned."""
RESTARTS_MAX = 3
EMPHASIS = 4
"""Times as often that a patch is centred on the label, once more so with each restart; not tuned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """From step `step` on, `label` (index among the foreground labels) is sampled `weight` times as often.

    `back_to` is the step whose weights were taken up again, None where the current ones were the best. `progress` is
    how far the training was.
    """

    step: int
    progress: float
    label: int
    weight: int
    back_to: int | None


def lost_label(
    dice: Sequence[float | None], present: Sequence[bool], progress: float, restarts: Sequence[Restart]
) -> int | None:
    """Return the first label at Dice 0 that the references hold, if it is time to do something about it.

    >>> lost_label([0.8, 0.0, None], [], 0.2, [])
    1
    >>> lost_label([0.8, 0.0, None], [], 0.05, []) is None  # too early
    True
    >>> lost_label([0.8, 0.0, 0.5], [True, False, True], 0.2, []) is None  # no reference has it
    True

    """
    if not COLLAPSED_FROM <= progress <= COLLAPSED_UNTIL or len(restarts) >= RESTARTS_MAX:
        return None
    if restarts and progress < restarts[-1].progress + PATIENCE:
        return None
    for label, value in enumerate(dice):
        if value == 0 and (present[label] if present else True):
            return label
    return None


def next_weight(restarts: Sequence[Restart], label: int) -> int:
    """Return the weight of a label that is lost (once more)."""
    return EMPHASIS * (1 + sum(restart.label == label for restart in restarts))


class Emphasised:
    """A source that offers some labels more often: the draw is even among what it offers, so it offers them twice.

    `weights` are whole numbers per foreground label.
    """

    def __init__(self, source: CaseSource, weights: Sequence[int]) -> None:
        """Wrap `source`."""
        self._source = source
        self._weights = tuple(weights)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stored cases."""
        return self._source.names

    def drawn(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return `names`, each as often as the heaviest label it holds asks for."""
        return tuple(name for name in names for _ in range(self._weight(name)))

    def shape(self, name: str) -> tuple[int, int, int]:
        """Shape (z, y, x) of a case."""
        return self._source.shape(name)

    def read_image(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> Float32[np.ndarray, "c z y x"]:
        """Image (c, z, y, x) between two corners."""
        return self._source.read_image(name, lower, upper)

    def read_label(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> Int16[np.ndarray, "l z y x"]:
        """Label (l, z, y, x) between two corners."""
        return self._source.read_label(name, lower, upper)

    def locations(self, name: str) -> tuple[Int32[np.ndarray, "_places 3"], ...]:
        """Voxels (n, 3) of each foreground label, as often as its weight says."""
        places = self._source.locations(name)
        return tuple(voxels for voxels, weight in zip(places, self._all(places), strict=True) for _ in range(weight))

    def _weight(self, name: str) -> int:
        places = self._source.locations(name)
        return max((w for voxels, w in zip(places, self._all(places), strict=True) if len(voxels)), default=1)

    def _all(self, places: Sequence[object]) -> tuple[int, ...]:
        return (*self._weights, *(1 for _ in places))[: len(places)]


def emphasised(source: CaseSource, restarts: Sequence[Restart]) -> Emphasised:
    """Return `source` with the labels of `restarts` offered as often as these say."""
    latest = {restart.label: restart.weight for restart in restarts}
    return Emphasised(source, [latest.get(label, 1) for label in range(max(latest, default=-1) + 1)])
