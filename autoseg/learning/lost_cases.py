"""Cases that can no longer be read while a network trains: named, left out, and stood in for by others.

`autoseg.core.isolation` reads in a child process, which may die without the training. It is not used unless it is asked
for: a thread reads faster (docs/log.md). This module leaves torch out, so that the child starts soon.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from jaxtyping import Float32, Int16, Int32

from autoseg.core.errors import AutosegError
from autoseg.core.isolation import isolated

Corner = tuple[int, ...]
Source = Any
"""An autoseg.learning.sampling.CaseSource; to import it would load torch."""


class LostCaseError(Exception):
    """A case that cannot be read, and why."""

    def __init__(self, name: str, reason: str) -> None:
        """Name the case."""
        super().__init__(f"case {name} cannot be read: {reason}")
        self.name = name
        self.reason = reason


class WatchedSource:
    """A case source whose failures to read name the case (`LostCaseError`)."""

    def __init__(self, source: Source) -> None:
        """Wrap `source`."""
        self._source = source

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stored cases."""
        names: tuple[str, ...] = self._source.names
        return names

    def shape(self, name: str) -> tuple[int, int, int]:
        """Shape (z, y, x) of a case."""
        shape: tuple[int, int, int] = self._watched("shape", name)
        return shape

    def read_image(self, name: str, lower: Corner, upper: Corner) -> Float32[np.ndarray, "c z y x"]:
        """Image (c, z, y, x) between two corners."""
        image: Float32[np.ndarray, "c z y x"] = self._watched("read_image", name, lower, upper)
        return image

    def read_label(self, name: str, lower: Corner, upper: Corner) -> Int16[np.ndarray, "l z y x"]:
        """Label (l, z, y, x) between two corners."""
        label: Int16[np.ndarray, "l z y x"] = self._watched("read_label", name, lower, upper)
        return label

    def locations(self, name: str) -> tuple[Int32[np.ndarray, "_places 3"], ...]:
        """Voxels (n, 3) of each foreground label, capped."""
        found: tuple[Int32[np.ndarray, "_places 3"], ...] = self._watched("locations", name)
        return found

    def _watched(self, method: str, name: str, *args: object) -> Any:
        try:
            return self._read(method, name, *args)
        except (AutosegError, OSError) as error:
            raise LostCaseError(name, str(error)) from error

    def _read(self, method: str, name: str, *args: object) -> Any:
        return getattr(self._source, method)(name, *args)


class IsolatedSource(WatchedSource):
    """A case source read in a child process: when that dies, the case it died of is named, and a new one begins.

    The wrapped source must be picklable.
    """

    def _read(self, method: str, name: str, *args: object) -> Any:
        return isolated(name, _call, self._source, method, (name, *args))


def _call(source: Source, method: str, args: tuple[object, ...]) -> Any:
    return getattr(source, method)(*args)


def standing_in(names: tuple[str, ...], lost: Collection[str]) -> tuple[str, ...]:
    """Return `names` with the next one that is not lost in the place of each lost one.

    Whatever else is drawn by position stays as it was, so that a resumed training sees the same samples.

    Raises:
        AutosegError: all are lost.

    >>> standing_in(("a", "b", "c", "d"), {"b", "c"})
    ('a', 'd', 'd', 'd')

    """
    left = [name not in lost for name in names]
    if not any(left):
        raise AutosegError.at("training", "none of its cases can be read any more", "preprocess again")
    following = []
    for index in range(len(names)):
        while not left[index % len(names)]:
            index += 1  # noqa: PLW2901 (walks on to the next case that is left)
        following.append(names[index % len(names)])
    return tuple(following)
