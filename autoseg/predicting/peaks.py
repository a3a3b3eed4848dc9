"""The most memory of this process while a case is at work, where the kernel lets its high-water mark be reset (Linux).

Memory belongs to the process and not to a case, so what the cases at work at the same time hold is counted for all of
them. What is read while another case is at work counts for that one alone: else each would have the peak of the one
before it.

Resetting the mark has a price: whoever asks the kernel for this process's peak (GNU time, `wait4`) is told the one
since the last reset. The mark is therefore left alone where it is close to what the process holds, and
`peak_memory_bytes` is what the process ever held.
"""

import resource
import sys
import threading
from pathlib import Path
from weakref import WeakSet

from autoseg.core.files import tell_kernel
from autoseg.predicting.records import Extent

_STATUS = Path("/proc/self/status")
_RESETTING = Path("/proc/self/clear_refs")
_RESET_MARK = "5"
"""What sets the high-water mark to what is held now: proc_pid_clear_refs(5)."""
_CLOSE_BYTES = 16 << 20
"""A mark that is not further than this above what the process holds is not worth a reset."""


class PeakMemory:
    """Watches the memory of one case from when it is created until it is read for the last time; threads may do so."""

    def __init__(self) -> None:
        """Begin with reading a case."""
        with _MARKS.lock:
            self._shared = bool(_MARKS.watching)
            self._seen = 0
            self._whole = True
            _MARKS.watching.add(self)
            _MARKS.part(self)

    def begin_predicting(self) -> None:
        """Begin with predicting it: forget what was read beside other cases."""
        with _MARKS.lock:
            if self._shared:
                _MARKS.part(self)

    def read(self) -> tuple[int, Extent]:
        """Return the most bytes that the process held so far, and whether that is since the case began."""
        with _MARKS.lock:
            _MARKS.settle()
            return (self._seen, "case") if self._whole else (_MARKS.largest, "process")

    def begin_anew(self, *, whole: bool) -> None:
        """Forget what was seen; `whole`: nothing from before now can be seen from now on."""
        self._seen, self._whole = 0, whole

    def see(self, held: int) -> None:
        """Take what the process held at most since the last call for any case."""
        self._seen = max(self._seen, held)


class _Marks:
    """The kernel's mark of this process, and who watches it. `lock` is held by whoever calls a method."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.watching: WeakSet[PeakMemory] = WeakSet()
        self.largest = 0

    def settle(self) -> None:
        """Tell all who watch what was held at most since the last reset."""
        mark = _kernels_mark()
        self.largest = max(self.largest, mark)
        for each in self.watching:
            each.see(mark)

    def part(self, one: PeakMemory) -> None:
        """Let the watch of one case begin now."""
        self.settle()
        one.begin_anew(whole=_reset_mark())


_MARKS = _Marks()


def peak_memory_bytes() -> int:
    """Return the most memory that this process ever held, whatever was reset."""
    with _MARKS.lock:
        _MARKS.settle()
        return _MARKS.largest


def _kernels_mark() -> int:
    """Return the most bytes that this process held since the last reset."""
    found = _of_status("VmHWM")
    if found is not None:
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _reset_mark() -> bool:
    """Set the mark to what is held now, unless it is close to it; tell whether it is."""
    mark, held = _of_status("VmHWM"), _of_status("VmRSS")
    if mark is None or held is None:
        return False
    if mark - held <= _CLOSE_BYTES:
        return True
    try:
        tell_kernel(_RESETTING, _RESET_MARK)
    except OSError:  # a system that mounts /proc to be read alone
        return False
    return True


def _of_status(key: str) -> int | None:
    """Return a size that Linux tells of this process, in bytes; None where it does not."""
    try:
        lines = _STATUS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(f"{key}:")), None)
    return None if found is None else int(found.split()[1]) * 1024
