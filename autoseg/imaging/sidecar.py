"""The size of a picture's pixels, from the JSON file beside it: BIDS writes it there, PNG and JPEG know no millimetres.

`PixelSize` is [x, y] or [x, y, z] in `PixelSizeUnits` (mm, um, nm). By BIDS's principle of inheritance a file that
names fewer entities holds for all images that have these entities, up to the folder with `dataset_description.json`:
https://bids-specification.readthedocs.io/en/stable/common-principles.html#the-inheritance-principle.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from autoseg.core.errors import AutosegError

_MM_PER_UNIT = {"mm": 1.0, "um": 1e-3, "nm": 1e-6}
_LARGEST_BYTES = 1 << 16
"""A sidecar is a page of text; a larger file beside a picture holds annotations, and is not parsed for each of them."""
_LEVELS = 4
"""Folders from the image up to the dataset: modality, session, subject, dataset."""
_SUBJECT = "sub-"
_ROOT = "dataset_description.json"


def spacing_beside(image: Path) -> tuple[float, float, float] | None:
    """Return the voxel size (x, y, z) in mm that a JSON file beside an image states, None if none does.

    Raises:
        AutosegError: what it states is no size.

    """
    for file in _sidecars(image):
        try:
            document = json.loads(file.read_bytes()) if file.stat().st_size <= _LARGEST_BYTES else None
        except (ValueError, OSError, RecursionError):
            document = None  # of some other program; what it says is not known
        if isinstance(document, dict) and "PixelSize" in document:
            return _size(file, document["PixelSize"], document.get("PixelSizeUnits"))
    return None


def _sidecars(image: Path) -> Iterator[Path]:
    """Yield the JSON files that speak of an image, the nearest first."""
    stem = image.name.partition(".")[0]
    own = image.with_name(f"{stem}.json")
    if own.is_file():
        yield own
    if not stem.startswith(_SUBJECT):
        return
    *entities, kind = stem.split("_")
    for folder in list(image.absolute().parents)[:_LEVELS]:
        names = [file for file in folder.glob(f"*{kind}.json") if file.name != own.name or file.parent != own.parent]
        parts = {file: file.stem.split("_") for file in names}
        fitting = [file for file, (*some, last) in parts.items() if last == kind and set(some) <= set(entities)]
        yield from sorted(fitting, key=lambda file: (-len(parts[file]), file.name))
        if (folder / _ROOT).is_file():
            return


def _size(file: Path, size: object, unit: object) -> tuple[float, float, float]:
    numbers = size if isinstance(size, list) else []
    plain = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and v > 0 for v in numbers)
    if len(numbers) not in (2, 3) or not plain or unit not in _MM_PER_UNIT:
        what = f"PixelSize {json.dumps(size)[:60]} in {json.dumps(unit)[:20]} is no size of pixels"
        raise AutosegError.at(file, what, "write two or three positive numbers (x, y, z), PixelSizeUnits mm, um or nm")
    mm = [float(v) * _MM_PER_UNIT[str(unit)] for v in numbers]
    return (mm[0], mm[1], mm[2] if len(mm) == 3 else 1.0)
