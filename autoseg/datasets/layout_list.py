"""Cases listed one by one in a CSV or JSON file: `--cases FILE`."""

import csv
import io
from pathlib import Path, PurePosixPath

import msgspec

from autoseg.core.errors import AutosegError
from autoseg.datasets.arrangement import Arrangement
from autoseg.datasets.dataset import Case, Inference
from autoseg.datasets.listing import Listing
from autoseg.datasets.names import group_of
from autoseg.datasets.options import Options
from autoseg.imaging.read import ending_of


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case of a list. Several images (channels) are separated by `;`; no label means a case to predict."""

    image: str
    label: str = ""
    case: str = ""
    group: str = ""


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return the cases of the list that `--cases` names, or None without that option.

    Raises:
        AutosegError: the list cannot be read, lacks the column `image`, or names a file that does not exist.

    """
    if options.cases is None:
        return None
    file = next((p for p in (listing.folder / options.cases, Path(options.cases)) if p.is_file()), None)
    if file is None:
        raise AutosegError.at(options.cases, "no such list of cases", "give a CSV or JSON file to --cases")
    cases = [_case(row, listing.folder, file) for row in _rows(file)]
    labelled = tuple(case for case in cases if case.references)
    if not labelled:
        raise AutosegError.at(file, "lists no case with a label", "fill the column label, or predict them")
    because = f"listed in {file.name}"
    return Arrangement(
        layout="list",
        cases=labelled,
        test_cases=tuple(case for case in cases if not case.references),
        channels=_channels(labelled),
        inferences=(Inference(what="layout", value=f"{len(cases)} listed cases", because=because),),
    )


def _rows(file: Path) -> list[Row]:
    try:
        if file.suffix.lower() == ".json":
            return msgspec.json.decode(file.read_bytes(), type=list[Row])
        text = file.read_text(encoding="utf-8-sig")
        delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
        return msgspec.convert(rows, list[Row])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, csv.Error, OSError) as error:
        mend = "write the columns image, label and, if wanted, case and group"
        raise AutosegError.at(file, f"not a list of cases ({error})", mend) from error


def _case(row: Row, folder: Path, file: Path) -> Case:
    images = tuple(_relative(part.strip(), folder) for part in row.image.split(";") if part.strip())
    label = _relative(row.label, folder)
    for name in (*images, label):
        if name and not (folder / name).exists():
            raise AutosegError.at(file, f"{name} does not exist in {folder}", "write paths relative to the dataset")
    if not images:
        raise AutosegError.at(file, f"a row without image (label {row.label!r})", "fill the column image")
    first = PurePosixPath(images[0]).name
    name = row.case or first[: len(first) - len(ending_of(Path(first)))]
    group = row.group or group_of(name) or name
    return Case(name=name, images=images, references=(label,) if label else (), group=group)


def _relative(name: str, folder: Path) -> str:
    """Return a whole path into the dataset as the path from there; any other as it is."""
    path = Path(name)
    inside = path.is_absolute() and ".." not in path.parts and path.is_relative_to(folder.absolute())
    return path.relative_to(folder.absolute()).as_posix() if inside else name


def _channels(cases: tuple[Case, ...]) -> tuple[str, ...] | None:
    count = max((len(case.images) for case in cases), default=1)
    return tuple(f"channel_{n}" for n in range(1, count + 1)) if count > 1 else None
