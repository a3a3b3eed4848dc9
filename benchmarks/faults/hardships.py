"""Plan, train and predict where things are scarce or strange: the label maps are those of a machine at ease."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK

from autoseg.imaging.read import read_label
from benchmarks.faults.datasets import arrays, predict, train, write
from benchmarks.faults.found import Found

NAMES = ("0 of a friend", "1 Jörg Ünal", "2 肝臓", "3 a'b\"c$(x)", "4 -dash")
"""In the order of the reference's names: folds and draws depend on it."""
LONG = tuple(f"{'x' * 242}{index}" for index in range(5))
"""With their ending, names of 250 characters."""


def hardships(place: Path) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Yield a name and what injects it, in a place outside /dev/shm, which one of them hides."""
    if os.geteuid() == 0:
        yield "shared memory of 8 MB", partial(run, place, before=_mounted("mount -t tmpfs -o size=8m tmpfs /dev/shm"))
        yield "no network", partial(run, place, before=("unshare", "-n"))
        yield "read-only input", partial(_read_only, place)
    yield "64 open files", partial(run, place, before=("prlimit", "--nofile=64:64"))
    yield "no home, no place for caches", partial(_homeless, place)
    yield "spaces, quotes and other scripts in names", partial(run, place, names=NAMES, folder="daten für Jörg (1) 肝")
    yield "names of 250 characters", partial(run, place, names=LONG)
    yield "symbolic links in a circle", partial(run, place, change=_links)
    if shutil.which("localedef"):
        yield "a German locale, images in NRRD", partial(_german, place)


def run(
    place: Path,
    *,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
    folder: str = "data",
    change: Callable[[Path], None] | None = None,
) -> Found:
    """Do everything under a hardship and compare with what comes out without."""
    expected = reference(place)
    work = place / "hardship"
    shutil.rmtree(work, ignore_errors=True)
    data = write(work / folder, names) if names else write(work / folder)
    if change is not None:
        change(data)
    how = {"before": before, "environment": environment}
    for done in (train(data, work / "w", **how), predict(data / "images", work / "w", work / "out", **how)):
        if done.returncode:
            return Found(tries=1, faults=(f"ended with {done.returncode}: {done.stderr[-600:]}",))
    found = label_maps(work / "out")
    order = sorted(names or [name.partition(".")[0] for name in expected])
    given = list(names) or order
    wanted = dict(zip(given, expected.values(), strict=True))
    got = {name.removesuffix(".nii.gz").removesuffix(".nrrd"): array for name, array in found.items()}
    if got.keys() != wanted.keys():
        return Found(tries=1, faults=(f"label maps of other cases: {list(found)}",))
    other = [name for name, array in got.items() if not np.array_equal(array, wanted[name])]
    return Found(tries=1, faults=(f"other label maps: {other}",) if other else ())


def reference(place: Path) -> dict[str, np.ndarray]:
    """Return the label maps without any hardship, made once."""
    work = place / "reference"
    if not (work / "out").exists():
        data = write(work / "data")
        for done in (train(data, work / "w"), predict(data / "images", work / "w", work / "out")):
            if done.returncode:
                raise RuntimeError(done.stderr)
    return label_maps(work / "out")


def label_maps(folder: Path) -> dict[str, np.ndarray]:
    """Return the label maps (z, y, x) of a folder by the names of their files."""
    paths = sorted([*folder.glob("*.nii.gz"), *folder.glob("*.nrrd")])
    return {path.name: read_label(path).array[0] for path in paths}


def _mounted(how: str) -> tuple[str, ...]:
    return ("unshare", "-m", "sh", "-c", f'{how} && exec "$@"', "sh")


def _homeless(place: Path) -> Found:
    home = place / "no-home"
    home.write_text("a file, in which not even root can make a folder")
    inside = {name: str(home / "x") for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    return run(place, environment={"HOME": str(home), "LANG": "C", **inside})


def _read_only(place: Path) -> Found:
    data = place / "hardship" / "data"
    where = f"mount --bind '{data}' '{data}' && mount -o remount,ro,bind '{data}'"
    return run(place, before=_mounted(where))


def _links(data: Path) -> None:
    (data / "images" / "round").symlink_to(data)
    (data / "labels" / "self").symlink_to("self")
    (data / "again").symlink_to(data.parent)


def _german(place: Path) -> Found:
    locales = place / "locales"
    locales.mkdir(exist_ok=True)
    made = ["localedef", "-i", "de_DE", "-f", "UTF-8", str(locales / "de_DE.UTF-8")]
    if subprocess.run(made, capture_output=True, check=False).returncode:
        return Found(tries=1, faults=("the locale could not be made",))
    return run(place, environment={"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(locales)}, change=_to_nrrd)


def _to_nrrd(data: Path) -> None:
    for seed, path in enumerate(sorted((data / "images").glob("*.nii.gz"))):
        image, _ = arrays(seed)
        made = SimpleITK.GetImageFromArray(image)
        made.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # where NIfTI with a unit matrix lies
        SimpleITK.WriteImage(made, path.with_name(path.name.replace(".nii.gz", ".nrrd")))
        path.unlink()
