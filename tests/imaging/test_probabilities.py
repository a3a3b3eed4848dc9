"""Stored probabilities come back on the native grid as they were made, whatever was cropped and transposed."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from autoseg.core.errors import AutosegError
from autoseg.core.records import write_record
from autoseg.imaging.preparation import GridMapping
from autoseg.imaging.probabilities import ProbabilitiesRecord, ProbabilityWriter, read_probabilities

CROP = (21, 13, 10)


def crop_of(transpose, lower):
    native = [0, 0, 0]
    for axis, source in enumerate(transpose):
        native[source] = lower[axis] + CROP[axis] + axis
    return GridMapping(
        native_shape=tuple(native),
        native_spacing_mm=(1.0, 1.0, 1.0),
        transpose=transpose,
        crop_lower=lower,
        crop_upper=tuple(low + n for low, n in zip(lower, CROP, strict=True)),
        network_shape=CROP,
        network_spacing_mm=(1.0, 1.0, 1.0),
    )


def write(folder: Path, mapping: GridMapping, values: np.ndarray, *, target: str, rows: int) -> Path:
    """Write values (k, *CROP) block by block, as they would be made: aligned to 8 planes and to `rows`."""
    writer = ProbabilityWriter(folder / "a.b2nd", mapping, len(values), target)
    writer.begin(rows)
    z0, y0, _ = mapping.crop_lower
    planes = [n for n in range(CROP[0] + 1) if n in (0, CROP[0]) or (n + z0) % 8 == 0]
    bands = [n for n in range(CROP[1] + 1) if n in (0, CROP[1]) or (n + y0) % rows == 0]
    for top, bottom in pairwise(bands):
        for first, last in pairwise(planes):
            writer.take(values[:, first:last, top:bottom], first, top)
    writer.finish()
    record = ProbabilitiesRecord(
        file="a.b2nd",
        sha256="",
        channels=tuple("abc"[: len(values)]),
        target=target,
        shape=(len(values), *mapping.native_shape),
        model_digest="",
    )
    write_record(folder / "a.json", record)
    return folder / "a.json"


@pytest.mark.parametrize("target", ["labels", "regions"])
@pytest.mark.parametrize("rows", [5, 100])
@pytest.mark.parametrize(
    ("transpose", "lower"), [((0, 1, 2), (0, 0, 0)), ((2, 0, 1), (11, 6, 3)), ((1, 2, 0), (8, 20, 0))]
)
def test_what_is_written_by_blocks_is_read_on_the_native_grid(tmp_path, target, rows, transpose, lower):
    values = np.random.default_rng(0).integers(0, 1025, (3, *CROP)).astype(np.float16) / 1024
    mapping = crop_of(transpose, lower)
    path = write(tmp_path, mapping, values, target=target, rows=rows)
    expected = np.zeros((3, *mapping.native_shape), np.float16)
    expected[0] = target == "labels"
    mapping.crop(expected)[...] = values
    found = read_probabilities(path)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(read_probabilities(path, (1, 2, 3), (4, 8, 9)), expected[:, 1:4, 2:8, 3:9])


def test_a_missing_array_is_named(tmp_path):
    path = write(tmp_path, crop_of((0, 1, 2), (0, 0, 0)), np.zeros((1, *CROP), np.float16), target="regions", rows=13)
    (tmp_path / "a.b2nd").unlink()
    with pytest.raises(AutosegError, match=r"a\.b2nd: damaged or missing"):
        read_probabilities(path)
