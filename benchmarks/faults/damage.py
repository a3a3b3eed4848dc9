"""Images cut short, with flipped bytes, or with numbers that are none: never read in silence."""

import gzip
import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from autoseg.core.errors import EXIT_FINDINGS, AutosegError
from autoseg.imaging.read import read_image, read_label
from benchmarks.faults.datasets import arrays, autoseg, save, write
from benchmarks.faults.found import Found

GZIP_HEADER_BYTES = 10
NIFTI_HEADER_BYTES = 352


def damages(place: Path) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Yield a name and what injects it."""
    yield ".nii.gz cut at 50 places", partial(cut, place, ".nii.gz", 50)
    yield ".nii cut at 50 places", partial(cut, place, ".nii", 50)
    yield ".nii.gz with one of 200 bytes behind its header flipped", partial(flipped, place, 200)
    yield "NaN and infinite voxels, counted exactly", partial(counted, place, 20)
    yield "labels that are no whole numbers", partial(labels, place)
    yield "labels that are negative or beyond 65535, found by inspect", partial(beyond, place)


def cut(place: Path, ending: str, count: int) -> Found:
    """Read a file cut at places from its first byte to its last but one."""
    whole = _whole(place, ending)
    generator = random.Random(0)
    places = [int(len(whole) * (index + generator.random()) / count) for index in range(count)]
    return _refused(place / f"cut{ending}", [whole[:length] for length in places])


def flipped(place: Path, count: int) -> Found:
    """Read a file with one bit flipped somewhere behind the header of gzip."""
    whole = _whole(place, ".nii.gz")
    generator = random.Random(0)
    damaged = []
    for _ in range(count):
        data = bytearray(whole)
        data[generator.randrange(GZIP_HEADER_BYTES, len(data))] ^= 1 << generator.randrange(8)
        damaged.append(bytes(data))
    return _refused(place / "flipped.nii.gz", damaged)


def counted(place: Path, count: int) -> Found:
    """Read images with so many NaN or infinite voxels; the refusal says how many."""
    faults = []
    generator = np.random.default_rng(0)
    for index in range(count):
        image, _ = arrays(0)
        number = int(generator.integers(1, 50))
        where = generator.choice(image.size, number, replace=False)
        image.reshape(-1)[where] = (np.nan, np.inf, -np.inf)[index % 3]
        save(place / "nan.nii.gz", image)
        said = _error(lambda: read_image(place / "nan.nii.gz"))
        if f"{number} " not in f"{said} ":
            faults.append(f"{number} voxels: {said}")
    return Found(tries=count, faults=tuple(faults))


def labels(place: Path) -> Found:
    """Read label maps that are none."""
    _, label = arrays(0)
    cases = {
        "halves": label * np.float32(0.5),
        "NaN": np.where(label == 2, np.nan, label).astype(np.float32),
        "nearly whole": (label + 0.01).astype(np.float32),
        "beyond 32 bits": np.where(label == 2, 1e10, label).astype(np.float64),
    }
    faults = []
    for name, array in cases.items():
        save(place / "label.nii.gz", array)
        if _error(lambda: read_label(place / "label.nii.gz")) is None:
            faults.append(name)
    return Found(tries=len(cases), faults=tuple(faults))


def beyond(place: Path) -> Found:
    """Inspect a dataset one of whose label maps has such a value, as an integer and as a float."""
    faults = []
    kinds = [(-1, np.int16), (-1, np.float32), (65_536, np.int32), (70_000, np.int32), (70_000, np.float32)]
    for value, kind in kinds:
        folder = place / "beyond"
        shutil.rmtree(folder, ignore_errors=True)
        data = write(folder / "data")
        _, label = arrays(0)
        save(data / "labels" / "case_0.nii.gz", np.where(label == 2, value, label.astype(kind)))
        done = autoseg(["inspect", str(data), "--workspace", str(folder / "w")])
        if done.returncode != EXIT_FINDINGS or f"label value {value}" not in done.stdout:
            faults.append(f"{value} as {kind.__name__}: ended with {done.returncode}: {done.stdout[-300:]}")
    return Found(tries=len(kinds), faults=tuple(faults))


def _whole(place: Path, ending: str) -> bytes:
    image, _ = arrays(0)
    path = place / f"whole{ending}"
    save(path, image)
    data = path.read_bytes()
    return gzip.compress(gzip.decompress(data), mtime=0) if ending == ".nii.gz" else data


def _refused(path: Path, contents: list[bytes]) -> Found:
    faults = []
    for index, data in enumerate(contents):
        path.write_bytes(data)
        if _error(lambda: read_image(path)) is None:
            faults.append(f"variant {index} of {len(data)} bytes was read in silence")
    return Found(tries=len(contents), faults=tuple(faults))


def _error(read: Callable[[], object]) -> str | None:
    """Return the line that a reader refuses with, None if it does not."""
    try:
        read()
    except AutosegError as error:
        return str(error)
    return None
