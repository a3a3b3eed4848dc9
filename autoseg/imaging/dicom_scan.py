"""Which images lie in a folder of DICOM files: headers only, and every file is accounted for.

Files that are evidently something else (texts, DICOMDIR, structure sets, reports) are passed over; a file that should
be an image and is not is an error, because a slice left out in silence makes a wrong volume.
"""

import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.core.errors import AutosegError
from autoseg.imaging.dicom_deflate import deflated_from, read_deflated

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Vector = tuple[float, ...]

_READING_ERRORS = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError),
    *(OverflowError, MemoryError, struct.error, zlib.error),
)
"""What pydicom and its decoders raise for damaged files beside their own classes; seen by feeding them mutants."""

_OTHER_ENDINGS = {".txt", ".md", ".json", ".xml", ".csv", ".tsv", ".pdf", ".html", ".htm", ".log", ".nii", ".gz"}
_OTHER_ENDINGS |= {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".nrrd", ".mha", ".zip", ".db", ".ini"}
_OTHER_NAMES = {"license", "readme", "thumbs.db", "lockfile", "version"}
_NOT_IMAGES = {
    "RTSTRUCT",
    "RTPLAN",
    "RTRECORD",
    "RTDOSE",
    "SEG",
    "SR",
    "PR",
    "KO",
    "REG",
    "DOC",
    "RWV",
    "PLAN",
    "FID",
    "ANN",
}
_TOLD_APART_BY = (
    *("TemporalPositionIdentifier", "EchoTime", "EchoNumbers", "DiffusionBValue", "TriggerTime", "AcquisitionNumber"),
    *("ContentTime", "ImageType"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One image plane: a file, or a frame of one. Positions in LPS millimetres; None is what the file does not say.

    `channels` and `dtype` are of the values that one sees: a palette makes one (gray) or three of the stored one.
    """

    path: Path
    frame: int | None
    series: str
    modality: str
    instance: str
    rows: int
    columns: int
    samples: int
    channels: int
    photometric: str
    dtype: str
    slope: float
    intercept: float
    rescaled: bool
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    traits: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """File name, with the frame if it has several."""
        return self.path.name if self.frame is None else f"{self.path.name} frame {self.frame + 1}"


def scan(path: Path) -> tuple[Slice, ...]:
    """Read the header of every DICOM image in a folder and the folders below it, or of one file.

    Raises:
        AutosegError: a file is damaged or is not what its name says, or there is no image at all.

    """
    files = [path] if path.is_file() else list(_candidates(path))
    slices: list[Slice] = []
    others: set[str] = set()
    for file in files:
        dataset = load(file, pixels=False)
        with damage_named(file, "its header is damaged"):
            if (modality := str(dataset.get("Modality", ""))) in _NOT_IMAGES:
                others.add(modality)
            else:
                slices.extend(_planes(file, dataset))
    if not slices:
        what = "holds no DICOM image" + (f", only {' and '.join(sorted(others))}" if others else "")
        raise AutosegError.at(path, what, "give the folder of one DICOM series")
    return tuple(slices)


def dicom_files(folder: Path) -> Iterator[Path]:
    """Yield the DICOM files of a folder and the folders below it, in order of their paths."""
    yield from (file for file in _candidates(folder) if is_dicom(file))


def is_image(dataset: "Dataset") -> bool:
    """Tell whether a header is that of an image: neither a label nor a report or plan."""
    return "Rows" in dataset and str(dataset.get("Modality", "")) not in _NOT_IMAGES


def is_dicom(path: Path) -> bool:
    """Tell by its 132nd byte whether a file is DICOM."""
    with path.open("rb") as handle:
        return handle.read(132)[128:] == b"DICM"


def series_folders(folder: Path) -> tuple[Path, ...]:
    """Return the folders that hold DICOM images, `folder` itself or below it, sorted.

    One file of each is looked at, the next ones only where that is a label or report.
    """
    found = []
    for place in sorted({file.parent for file in _candidates(folder)}):
        files = [file for file in sorted(place.iterdir()) if file.is_file() and _is_candidate(file)]
        if is_dicom(files[0]) and any(_may_be_image(file) for file in files):
            found.append(place)
    return tuple(found)


def _may_be_image(path: Path) -> bool:
    """Tell whether a file is an image or damaged: what is damaged is refused by name when it is read."""
    try:
        return str(load(path, pixels=False).get("Modality", "")) not in _NOT_IMAGES
    except AutosegError:
        return True


def load(path: Path, *, pixels: bool) -> "Dataset":
    """Read a DICOM file with pydicom; oddities of values that are not used pass without a warning.

    Raises:
        AutosegError: the file is damaged or no DICOM.

    """
    import pydicom

    if path.stat().st_size == 0:
        raise AutosegError.at(path, "is empty", "copy or export the file again")
    force = path.suffix.lower() == ".dcm"
    with damage_named(path, "cannot be read"):
        start = deflated_from(path, force=force)
        if start is not None:
            return read_deflated(path, start, pixels=pixels)
        return pydicom.dcmread(path, stop_before_pixels=not pixels, force=force)


@contextmanager
def damage_named(path: Path, what: str) -> Iterator[None]:
    """Turn what pydicom raises for a damaged file into one line that names it, and keep its warnings quiet."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InvalidDicomError as error:
        mend = "move it out of the folder, or copy it again if it is a slice"
        raise AutosegError.at(path, "is not a DICOM file", mend) from error
    except (BytesLengthException, *_READING_ERRORS) as error:
        # Not "from error": a traceback would quote the header, too.
        raise AutosegError.at(path, f"{what} ({first_line(error)})", "copy or export the file again") from None


def first_line(error: Exception) -> str:
    """Return what an exception says, in one line, without what it quotes: text of the header, a name perhaps."""
    said = (str(error) or type(error).__name__).strip().splitlines()[0].strip()
    return re.sub(r"b?'[^']*('|$)|b?\"[^\"]*(\"|$)", "...", said)


def _candidates(folder: Path) -> Iterator[Path]:
    for place, _, names in sorted(os.walk(folder)):  # follows no links
        if ".zarr/" in f"{Path(place).relative_to(folder).as_posix()}/":
            continue  # chunks of an array
        yield from (Path(place, name) for name in sorted(names) if _is_candidate(Path(place, name)))


def _is_candidate(file: Path) -> bool:
    name = file.name.lower()
    return not (
        name.startswith((".", "dicomdir"))
        or name in _OTHER_NAMES
        or file.suffix.lower() in _OTHER_ENDINGS
        or file.is_symlink()
        or not file.is_file()
    )


def _planes(path: Path, dataset: "Dataset") -> Iterator[Slice]:
    if "Rows" not in dataset or "Columns" not in dataset or "SOPInstanceUID" not in dataset:
        mend = "move it out of the folder, or copy it again if it is a slice"
        raise AutosegError.at(path, "is no DICOM image or its header is cut off", mend)
    frames = int(dataset.get("NumberOfFrames", None) or 1)
    _refuse_short(path, dataset, frames)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups is None:
        if frames > 1:
            raise AutosegError.at(path, f"is a film of {frames} frames without positions", "export it as a series")
        yield _plane(path, dataset, [dataset], None)
        return
    if len(groups) != frames:
        what = f"has {frames} frames and positions for {len(groups)}"
        raise AutosegError.at(path, what, "copy or export the file again")
    shared = dataset.get("SharedFunctionalGroupsSequence") or [None]
    for frame, group in enumerate(groups):
        sources = [item for outer in (group, shared[0]) if outer is not None for item in _items(outer)]
        yield _plane(path, dataset, [*sources, dataset], frame if frames > 1 else None)


def _items(group: "Dataset") -> Iterator["Dataset"]:
    for name in ("PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation", "MREcho"):
        sequence = group.get(f"{name}Sequence")
        if sequence:
            yield sequence[0]


def _refuse_short(path: Path, dataset: "Dataset", frames: int) -> None:
    """Refuse an uncompressed file smaller than its pixels."""
    refuse_truncated(path, dataset, frames, path.stat().st_size)


def refuse_truncated(path: Path, dataset: "Dataset", frames: int, present_bytes: int) -> None:
    """Refuse uncompressed pixels of which fewer bytes are present than the header promises."""
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None or syntax.is_compressed or syntax.is_deflated:
        return
    bits = int(dataset.get("BitsAllocated", 0)) * int(dataset.get("SamplesPerPixel", 1))
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        return  # stores two samples for three
    promised = int(dataset.Rows) * int(dataset.Columns) * frames * bits // 8
    if present_bytes < promised:
        what = f"truncated file: {present_bytes} bytes where its pixels take {promised}"
        raise AutosegError.at(path, what, "copy or export the file again")


def _plane(path: Path, dataset: "Dataset", sources: "list[Dataset]", frame: int | None) -> Slice:
    def first(name: str) -> Any:
        return next((source.get(name) for source in sources if source.get(name) not in (None, "")), None)

    slope, intercept = first("RescaleSlope"), first("RescaleIntercept")
    bits, signed = int(dataset.get("BitsAllocated", 0)), int(dataset.get("PixelRepresentation", 0) or 0)
    if bits not in (8, 16, 32):
        raise AutosegError.at(path, f"has {bits} bits a pixel", "export it with 8 or 16 bits")
    channels, dtype = int(dataset.get("SamplesPerPixel", 1)), f"{'int' if signed else 'uint'}{bits}"
    if str(dataset.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        channels, dtype = _palette(dataset)
    return Slice(
        path=path,
        frame=frame,
        series=str(dataset.get("SeriesInstanceUID", "")),
        modality=str(dataset.get("Modality", "")),
        instance=str(dataset.SOPInstanceUID),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.get("SamplesPerPixel", 1)),
        channels=channels,
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        dtype=dtype,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        rescaled=intercept is not None,
        position=_vector(first("ImagePositionPatient"), 3),
        orientation=_vector(first("ImageOrientationPatient"), 6),
        spacing=_vector(first("PixelSpacing") or dataset.get("ImagerPixelSpacing"), 2),
        traits=tuple((name, str(first(name))) for name in _TOLD_APART_BY if first(name) is not None),
    )


def _palette(dataset: "Dataset") -> tuple[int, str]:
    """Return channels and type of what a palette makes of the pixels: one channel when all three tables are equal."""
    tables = [
        dataset.get(f"{kind}{colour}PaletteColorLookupTableData")
        for kind in ("", "Segmented")
        for colour in ("Red", "Green", "Blue")
    ]
    gray = all(len(set(tables[start : start + 3])) == 1 for start in (0, 3))
    return 1 if gray else 3, "uint8" if int(dataset.RedPaletteColorLookupTableDescriptor[2]) <= 8 else "uint16"


def _vector(value: Any, count: int) -> Vector | None:
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != count:
        return None
    return tuple(float(v) for v in value)
