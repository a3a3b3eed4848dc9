"""What does looking at a dataset cost?

python -m benchmarks.inspect_speed --datasets FOLDER

Two numbers on msd-hippocampus, whose 200 small cases make overheads show: the wall clock and processor time of a whole
`autoseg inspect`, from the start of the process to its exit, and the processor time to read all its NIfTI files
verified, over that of nibabel's bare read. Each is the best of several runs, the two readers in turn. The wall clock is
judged only if nothing else kept the machine busy; the record says how busy it was.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import nibabel as nib
import numpy as np

from autoseg.core.records import write_record
from autoseg.imaging.read import read_image
from benchmarks.measure import measure
from benchmarks.record import RESULTS, Hardware, this_commit, this_hardware

OUTPUT = RESULTS / "data" / "inspect_speed.json"
MOST_S = 4.0
MOST_RATIO = 1.3
REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectSpeed:
    """How long an inspection and bare reading take; `read_ratio` is our reader's processor time over nibabel's.

    `load_before` is the mean number of processes that wanted to run in the minute before.
    """

    schema: ClassVar[str] = "autoseg.inspect-speed/1"

    dataset: str
    cases: int
    inspect_s: float
    inspect_cpu_s: float
    load_before: float
    page_bytes: int
    files: int
    read_cpu_s: float
    nibabel_cpu_s: float
    read_ratio: float
    commit: str
    hardware: Hardware


def inspect_once(folder: Path) -> tuple[float, float, int]:
    """Return wall clock and processor seconds of one inspection in a throw-away workspace, and its page's size."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory(prefix="inspect-speed-") as place:
        workspace = Path(place) / f"{folder.name}.autoseg"
        measured = measure([sys.executable, "-m", "autoseg.cli", "inspect", str(folder), "--workspace", str(workspace)])
        if measured.exit_code not in (0, 1):
            sys.exit(f"{folder.name}: exit code {measured.exit_code}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return measured.seconds, cpu_s, (workspace / "inspect.html").stat().st_size


def bare_read(path: Path) -> None:
    """Read as nibabel does by itself: the voxels scaled as the header says, nothing checked."""
    np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]


def best_seconds(readers: Sequence[Callable[[Path], object]], files: Sequence[Path], repeats: int) -> list[float]:
    """Return for each reader its least processor time for all files; the readers take turns, so that load hits both."""
    best = [float("inf")] * len(readers)
    for _ in range(repeats):
        for index, reader in enumerate(readers):
            started = time.process_time()
            for path in files:
                reader(path)
            best[index] = min(best[index], time.process_time() - started)
    return best


def main() -> int:
    """Measure, write the record and print it; 1 when a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True, help="folder with msd-hippocampus")
    folder = (parser.parse_args().datasets / "msd-hippocampus").resolve()
    files = sorted(folder.rglob("*.nii.gz"))
    load = os.getloadavg()[0]
    runs = [inspect_once(folder) for _ in range(REPEATS)]
    read_cpu_s, nibabel_cpu_s = best_seconds([read_image, bare_read], files, REPEATS)
    record = InspectSpeed(
        dataset=folder.name,
        cases=len(files) // 2,
        inspect_s=round(min(seconds for seconds, _, _ in runs), 2),
        inspect_cpu_s=round(min(cpu_s for _, cpu_s, _ in runs), 2),
        load_before=round(load, 1),
        page_bytes=max(size for _, _, size in runs),
        files=len(files),
        read_cpu_s=round(read_cpu_s, 3),
        nibabel_cpu_s=round(nibabel_cpu_s, 3),
        read_ratio=round(read_cpu_s / nibabel_cpu_s, 3),
        commit=this_commit(),
        hardware=this_hardware("cpu"),
    )
    write_record(OUTPUT, record)
    sys.stdout.write(
        f"{record.cases} cases in {record.inspect_s} s (at most {MOST_S}) at a load of {record.load_before},"
        f" {record.inspect_cpu_s} s of processor time, page of {record.page_bytes / 1e6:.1f} MB;"
        f" reading {record.read_ratio} times nibabel's time (at most {MOST_RATIO})\n"
    )
    busy = record.load_before > record.hardware.cores / 2
    return int(
        (record.inspect_s > MOST_S and not busy) or record.inspect_cpu_s > MOST_S or record.read_ratio > MOST_RATIO
    )


if __name__ == "__main__":
    sys.exit(main())
