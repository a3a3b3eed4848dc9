"""What runs around a step: progress on stderr, worker processes, cores and memory, digests, the run log."""

import contextlib
import dataclasses
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import platform
import resource
import signal
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import msgspec

from autoseg.core.energy import energy_between, usage
from autoseg.core.errors import ResourceError
from autoseg.core.files import append_line
from autoseg.core.text import printable
from autoseg.core.traces import StepFiles, commit, digests, impersonal, outcome_of
from autoseg.core.version import VERSION

Item = TypeVar("Item")
Result = TypeVar("Result")

_BAR_AFTER_S = 2.0
"""A wait that people notice; shorter work shows nothing."""
_LINE_EVERY_S = 10.0
"""Between plain lines, so that a log file stays short."""
WORKER_MEMORY_SHARE = 0.75
"""Of the machine's memory, for a worker: beyond that the system kills processes, and not always the guilty one."""
_LOGGED_PACKAGES = ("autoseg", "torch", "numpy", "scipy", "scikit-image", "nibabel", "blosc2")


def say(line: str) -> None:
    """Write one line for people to stderr, above any progress bar; a log on a full disk loses it, and work goes on."""
    line = printable(line)  # names from files may hold what moves a terminal's cursor
    with contextlib.suppress(OSError):
        if "tqdm" in sys.modules:
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


def progress(items: Iterable[Item], *, what: str, total: int | None = None, unit: str = "case") -> Iterator[Item]:
    """Yield `items` and show how far they are, once they take longer than two seconds.

    On a terminal this is a bar; elsewhere a plain line about every ten seconds. `total` is taken from `items` if it
    has a length.
    """
    if total is None and isinstance(items, Sequence):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(
            items, desc=what, total=total, unit=unit, delay=_BAR_AFTER_S, file=sys.stderr, dynamic_ncols=True
        )
        return
    started = time.monotonic()
    last = started
    done = 0
    of = "" if total is None else f"/{total}"
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S and done != total:
            last = now
            say(f"{what}: {done}{of} {unit}s, {now - started:.0f} s")
    if time.monotonic() - started >= _BAR_AFTER_S:
        say(f"{what}: {done}{of} {unit}s in {time.monotonic() - started:.1f} s")


# ------------------------------------------------------------------------------------------------ the machine
def cores() -> int:
    """Return the processor cores this process may use: affinity mask and control-group quota, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _control_group("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        allowed = min(allowed, max(1, int(quota[0]) // max(1, int(quota[1]))))
    return max(1, allowed)


def memory_bytes() -> int:
    """Return the memory this process may use, in bytes: what is installed, or the control group's limit."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _control_group("memory.max").strip()
    return min(installed, int(limit)) if limit.isdigit() else installed


def free_memory_bytes() -> int:
    """Return the memory that this process may still take, in bytes: what is available, within the control group."""
    try:
        table = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return memory_bytes()
    free = next((int(line.split()[1]) << 10 for line in table.splitlines() if line.startswith("MemAvailable")), None)
    limit, used = _control_group("memory.max").strip(), _control_group("memory.current").strip()
    within = int(limit) - int(used) if limit.isdigit() and used.isdigit() else memory_bytes()
    return max(0, within if free is None else min(free, within))


def process_seconds() -> float:
    """Return how long this process exists, in seconds, Python's start included; 0 where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0.0
    start_field = 19  # "starttime", the 22nd of proc_pid_stat(5); the first two stand before the parenthesis
    return max(0.0, uptime_s - int(fields[start_field]) / os.sysconf("SC_CLK_TCK"))


def has_cuda_driver() -> bool:
    """Whether an NVIDIA driver with at least one GPU is loaded; asks the kernel, so torch stays unloaded."""
    return any(Path("/proc/driver/nvidia/gpus").glob("*")) or Path("/dev/nvidia0").exists()


def _control_group(name: str) -> str:
    try:
        return Path("/sys/fs/cgroup", name).read_text(encoding="ascii")
    except OSError:
        return ""


# ---------------------------------------------------------------------------------------------------- workers
def run_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], *, what: str, workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, computed by `workers` processes (default: one per core).

    `function` and the items must be picklable; in a worker, BLAS has one thread. At most two items per worker wait, so
    memory does not grow with their number. With one worker, or one item, everything runs in this process.

    Raises:
        ResourceError: a worker died twice on the same item (it was tried again alone); the message names the item.

    """
    todo = list(items)
    count = min(cores() if workers is None else workers, len(todo))
    if count <= 1:
        yield from (function(item) for item in todo)
        return
    executor = _executor(count)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        position = 0
        while position < len(todo) or waiting:
            try:
                while position < len(todo) and len(waiting) < 2 * count:
                    waiting.append((todo[position], submit_without_main(executor, function, todo[position])))
                    position += 1
                result = waiting[0][1].result()
            except BrokenProcessPool:
                executor.shutdown(cancel_futures=True)
                say(f"{what}: a worker process died; trying again one at a time")
                yield from (_run_alone(function, item, what) for item, _ in waiting)
                waiting.clear()
                executor = _executor(count)
            else:
                waiting.popleft()
                yield result
    finally:
        executor.shutdown(cancel_futures=True)


def _executor(count: int) -> ProcessPoolExecutor:
    # Not fork: threads of BLAS and torch do not survive it.
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=start_worker)


def submit_without_main(
    executor: ProcessPoolExecutor, function: Callable[[Item], Result], item: Item
) -> "Future[Result]":
    """Submit, hiding the caller's main module: else each worker would run a user's script that has no main guard."""
    if function.__module__ == "__main__":
        return executor.submit(function, item)
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        return executor.submit(function, item)
    finally:
        sys.modules["__main__"] = main


def _run_alone(function: Callable[[Item], Result], item: Item, what: str) -> Result:
    with _executor(1) as executor:
        try:
            return submit_without_main(executor, function, item).result()
        except BrokenProcessPool as error:
            raise ResourceError.at(
                what, f"the worker process died on {item}", "most likely too little memory: close other programs"
            ) from error


def start_worker() -> None:
    """Leave interrupts to the parent, end with it, use one BLAS thread and no more memory than a worker may have."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threadpool_limits(limits=1)
    _ = np.ones((2, 2)) @ np.ones((2, 2))
    limit_memory(worker_memory_bytes())


def worker_memory_bytes() -> int:
    """Return how much memory a worker process may have, in bytes."""
    return int(WORKER_MEMORY_SHARE * memory_bytes())


def limit_memory(limit_bytes: int) -> None:
    """Let this process have no more than so many bytes of memory of its own; further demands raise MemoryError."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


# -------------------------------------------------------------------------------------------- digests and log
def digest_bytes(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal; OSError if it cannot be read."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """One step that ran: with which arguments (names and values as text), when, for how long, and how it ended.

    Paths are from the folder of the log, or file names: nothing says whose machine it was. `version` and `commit` are
    this program's, the commit where it was run from a checkout; `device` is the one that computed; `seed` is what
    random draws came from. `inputs` and `outputs` are files with their SHA-256; a folder's is that of the lines that
    `sha256sum` prints for its files. Older versions wrote none of these. `processor_s` counts all cores; `energy_j` is
    what the processors' counters say, None where they cannot be read.
    """

    step: str
    arguments: tuple[tuple[str, str], ...]
    started: str
    seconds: float
    outcome: str
    platform: str
    versions: tuple[tuple[str, str], ...]
    processor_s: float | None = None
    energy_j: float | None = None
    version: str = ""
    commit: str | None = None
    device: str | None = None
    seed: int | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()


def append_run_log(path: Path, entry: RunEntry) -> None:
    """Append `entry` as one JSON line to the run log at `path` (Workspace.run_log)."""
    append_line(path, msgspec.json.encode(dataclasses.asdict(entry)).decode())


@contextlib.contextmanager
def logged_step(path: Path, step: str, files: StepFiles = StepFiles(), **arguments: object) -> Iterator[None]:  # noqa: B008 (frozen)
    """Time the block and append it to the run log at `path`, also when it fails.

    A folder that is not there, or still empty, after a failure stays so. `device` and `seed` among the arguments are
    entries of their own, too.
    """
    root = path.parent
    started = time.time()
    clock = time.monotonic()
    before, inputs = usage(), digests(files.reads, root)
    outcome = "failed"
    try:
        yield
        outcome = "done"
    except BaseException as error:
        outcome = outcome_of(error, root)
        raise
    finally:
        after = usage()
        entry = RunEntry(
            step=step,
            arguments=tuple((name, impersonal(value, root)) for name, value in arguments.items()),
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            seconds=round(time.monotonic() - clock, 3),
            outcome=outcome,
            platform=f"{platform.platform()} python {platform.python_version()}",
            versions=tuple((name, _version(name)) for name in _LOGGED_PACKAGES),
            processor_s=round(after.processor_s - before.processor_s, 3),
            energy_j=energy_between(before, after),
            version=VERSION,
            commit=commit(),
            device=device if isinstance(device := arguments.get("device"), str) else None,
            seed=seed if isinstance(seed := arguments.get("seed"), int) else None,
            inputs=inputs,
            outputs=digests(files.writes, root),
        )
        if outcome == "done" or (root.is_dir() and any(root.iterdir())):
            append_run_log(path, entry)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
