"""What a user may say about a folder when it does not speak for itself."""

import re
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.imaging.reading import ReadOptions

_LONGEST_MM = 1e4  # ten metres


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """How to read files that would be refused otherwise.

    Attributes:
        allow_resample: put a DICOM series with missing slices, uneven distances or gantry tilt on a regular grid.
        allow_missing_chunks: take absent chunks of an OME-Zarr for empty space; they may be lost ones.
        spacing_mm: voxel size of NPY and NPZ files in mm, slowest axis first: Z,Y,X or Y,X.

    """

    allow_resample: bool = False
    allow_missing_chunks: bool = False
    spacing_mm: str | None = None

    @property
    def reading(self) -> ReadOptions:
        """The same for the readers.

        Raises:
            AutosegError: the spacing is none.

        """
        return ReadOptions(
            resample=self.allow_resample,
            missing_chunks=self.allow_missing_chunks,
            spacing_mm=() if self.spacing_mm is None else parse_spacing(self.spacing_mm),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Allowed):
    """How to read a dataset folder. Paths and patterns are relative to it, with `/`.

    Attributes:
        images: folder or glob pattern of the images, e.g. `scans` or `*/T1.nii.gz`.
        labels: folder or pattern of the label maps; NAME=PATTERN,NAME=PATTERN for one file per structure.
        pattern: how image files are called, with {case} and, if wanted, {channel} and {group}: `{case}/{channel}.nii`.
        cases: a CSV (columns image, label, optionally case and group) or JSON list of the cases.
        merge_instances: label values are single objects (nuclei, lesions): take all of them as one label.
        clean_labels: move stray label values (antialiasing, JPEG) to the nearest regular one.
        groups: a CSV (columns case, group): cases of one group, such as scans of one patient, stay in one fold.
        channel_names: names of the channels in their order, e.g. CT,PET.
        label_names: values of the labels, e.g. liver=1,tumour=2; whole=1+2 is a region, ignore=9 is not learned.
        declaration: an autoseg.json to follow; by default the one in the dataset folder.
        allow_resample: put a DICOM series with missing slices, uneven distances or gantry tilt on a regular grid.
        allow_missing_chunks: take absent chunks of an OME-Zarr for empty space; they may be lost ones.
        spacing_mm: voxel size of NPY and NPZ files in mm, slowest axis first: Z,Y,X or Y,X.

    """

    images: str | None = None
    labels: str | None = None
    cases: str | None = None
    merge_instances: bool = False
    clean_labels: bool = False
    pattern: str | None = None
    groups: str | None = None
    channel_names: str | None = None
    label_names: str | None = None
    declaration: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectCommand:
    """What `autoseg inspect` may be told beside how to read the folder.

    Attributes:
        workspace: Where everything made goes; by default ./NAME.autoseg.
        write_json: Propose an autoseg.json in the workspace; put beside the data, or named, it is followed.
        fix: Folder for a mended copy of the dataset, with a log; the dataset itself is never touched.

    """

    workspace: Path | None = None
    write_json: bool = False
    fix: Path | None = None


def named_patterns(text: str) -> dict[str, str]:
    """Return the structures of `NAME=PATTERN,NAME=PATTERN`; empty for a single pattern without a name.

    >>> named_patterns("heart=masks/heart,lung=masks/lung")
    {'heart': 'masks/heart', 'lung': 'masks/lung'}
    >>> named_patterns("masks/*.png")
    {}

    Raises:
        AutosegError: some have a name and others not, or a name comes twice.

    """
    if "=" not in text:
        return {}
    pairs = [part.strip().partition("=") for part in text.split(",")]
    named = {name.strip(): pattern.strip() for name, _, pattern in pairs}
    if len(named) < len(pairs) or not all(name and pattern for name, pattern in named.items()):
        raise AutosegError.at(f"--labels {text}", "not NAME=PATTERN,NAME=PATTERN", "give each structure one pattern")
    return named


def parse_spacing(text: str) -> tuple[float, ...]:
    """Return the spacing (z, y, x) or (y, x) in millimetres that `text` means.

    >>> parse_spacing("3,0.8,0.8")
    (3.0, 0.8, 0.8)

    Raises:
        AutosegError: it is none.

    """
    parts = text.split(",")
    numbers = all(re.fullmatch(r"\s*\d+(\.\d+)?([eE]-?\d+)?\s*", part) for part in parts)
    if len(parts) not in (2, 3) or not numbers or not all(0 < float(part) <= _LONGEST_MM for part in parts):
        what = "not a voxel size"
        raise AutosegError.at(f"--spacing-mm {text}", what, "write it in mm, slowest axis first, like 3,0.8,0.8")
    return tuple(float(part) for part in parts)
