"""A child process of limited memory, for work on files that nobody has checked yet.

Decoders of images are large C libraries, and a header may ask them for any amount of memory. In the child a crash or a
demand for too much ends one file and not the job. It is started at the first use and kept: later calls cost a copy.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from autoseg.core.errors import AutosegError, ResourceError
from autoseg.core.runtime import start_worker, submit_without_main, worker_memory_bytes

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

_lock = threading.Lock()
_children: list[ProcessPoolExecutor] = []


def isolated(where: Path | str, function: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
    """Return `function(*args)`, computed in the child; in a worker process it is simply called.

    Function, arguments and result must be picklable; what the function raises is raised here.

    Raises:
        AutosegError: the child died, or asked for more memory than it may have; `where` names the file.

    """
    if multiprocessing.parent_process() is not None:
        return function(*args)
    with _lock:
        if not _children:
            _children.append(_child())
        child = _children[0]
    try:
        return submit_without_main(child, _call, (str(Path.cwd()), function, args)).result()
    except BrokenProcessPool as error:
        with _lock:
            if child in _children:
                _children.remove(child)
        child.shutdown(wait=False)
        what = "the process that read it died: the file is damaged, or too large for this machine"
        raise AutosegError.at(where, what, "check where it comes from, or leave it out") from error
    except MemoryError as error:
        what = f"reading it takes more than {worker_memory_bytes() / 2**30:.1f} GiB of memory"
        raise ResourceError.at(where, what, "check where it comes from, or use a machine with more memory") from error


def _child() -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")  # not fork: threads of BLAS and torch do not survive it
    return ProcessPoolExecutor(1, mp_context=spawn, initializer=start_worker)


def _call(task: "tuple[str, Callable[..., Result], tuple[object, ...]]") -> Result:
    folder, function, args = task
    os.chdir(folder)  # relative paths mean the same as in the parent
    return function(*args)
