"""A source of cases one of which kills its reader; without torch, so that a child process can import it soon."""

import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.builders import ArraySource


class Deadly(ArraySource):
    """Whoever reads the label of case 1 dies, as of a fault in a decoder; `diary` then says when."""

    def __init__(self, diary: Path) -> None:
        super().__init__()
        self._diary = diary

    def read_label(self, name: str, lower: tuple[int, ...], upper: tuple[int, ...]) -> NDArray[np.int16]:
        if name == "case_1":
            self._diary.write_text(str(time.time()), encoding="utf-8")
            os._exit(139)
        return super().read_label(name, lower, upper)
