"""What a user declares of a folder that it does not say itself: `autoseg.json` beside the data, or options."""

import csv
import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record
from autoseg.datasets.arrangement import Arrangement, shown
from autoseg.datasets.dataset import Dataset, Inference
from autoseg.datasets.description import Description, declared_labels
from autoseg.datasets.options import Options
from planners.fingerprint import Label

DECLARATION = "autoseg.json"
_GROUPS_MEND = "write the columns case and group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What `autoseg.json` may declare; what it leaves out is inferred from the folder.

    `images` and `labels` are folders, glob patterns, or patterns with {case}, {channel}, {label} and {group}; `labels`
    may also be one pattern per structure, which may then overlap. `label_values` gives each label its value, or several
    values, which make a region (the order is that in which regions are written); a label called ignore is left out of
    training. `groups` holds the patient of each case that shares one with others. `spacing_mm` (z, y, x) is of files
    that do not say theirs.
    """

    schema: ClassVar[str] = "autoseg.declaration/1"

    images: str | None = None
    labels: str | dict[str, str] | None = None
    channels: tuple[str, ...] = ()
    label_values: dict[str, int | tuple[int, ...]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    spacing_mm: tuple[float, ...] = ()
    merge_instances: bool = False
    clean_labels: bool = False


def read_declaration(folder: Path, options: Options) -> Declaration:
    """Return what `--declaration FILE`, or else `autoseg.json` in the folder, declares; an empty one without either.

    Raises:
        AutosegError: the file is not such a record; the message names the field.

    """
    if options.declaration is not None:
        return read_record(Path(options.declaration), Declaration)
    beside = folder / DECLARATION
    return read_record(beside, Declaration) if beside.is_file() else Declaration()


def with_declared(options: Options, declared: Declaration) -> Options:
    """Return the options with what is declared where nothing is said on the command line."""
    labels = declared.labels
    if isinstance(labels, dict):
        labels = ",".join(f"{name}={pattern}" for name, pattern in labels.items())
    files = options.images or options.labels or options.pattern or options.cases
    spacing = ",".join(map(str, declared.spacing_mm)) or None
    return replace(
        options,
        images=options.images if files else declared.images,
        labels=options.labels if files else labels,
        spacing_mm=options.spacing_mm or spacing,
        merge_instances=options.merge_instances or declared.merge_instances,
        clean_labels=options.clean_labels or declared.clean_labels,
    )


def declare(arrangement: Arrangement, folder: Path, options: Options, declared: Declaration) -> Arrangement:
    """Return the arrangement with the names of channels and labels and the groups that options or the file declare.

    Raises:
        AutosegError: labels are declared for structures in files of their own, a value makes no sense, the number of
            channels is another, or a group is given for a case that is not there.

    """
    where = options.declaration or str(folder / DECLARATION)
    if options.channel_names is not None:
        channels, because = tuple(part.strip() for part in options.channel_names.split(",")), "--channel-names"
    else:
        channels, because = declared.channels, f"declared in {where}"
    if channels:
        arrangement = _with_channels(arrangement, channels, because)
    if options.label_names is not None:
        values, where = _parse_labels(options.label_names), f"--label-names {options.label_names}"
    else:
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in declared.label_values.items()}
    if values:
        arrangement = _with_labels(arrangement, values, where)
    groups = declared.groups if options.groups is None else read_groups(folder, options.groups)
    return _with_groups(arrangement, groups, options.groups or where) if groups else arrangement


def _with_channels(arrangement: Arrangement, channels: tuple[str, ...], because: str) -> Arrangement:
    counts = {len(case.images) for case in arrangement.cases} - {1}
    if counts - {len(channels)}:
        what = f"names {len(channels)} channels, the cases have {max(counts)} files"
        raise AutosegError.at(because, what, "name one channel per file, in their order")
    said = Inference(what="channels", value=", ".join(channels), because=because)
    return replace(arrangement, channels=channels, inferences=(*arrangement.inferences, said))


def _with_labels(arrangement: Arrangement, values: dict[str, int | str | list[int]], where: str) -> Arrangement:
    if arrangement.reference_kind != "map":
        what = "label values declared for structures that lie in files of their own"
        raise AutosegError.at(where, what, "leave them out; the names of the files name the structures")
    labels: tuple[Label, ...] = declared_labels(Description(labels=values), where)
    said = Inference(what="labels", value=", ".join(label.name for label in labels), because=f"declared in {where}")
    return replace(arrangement, labels=labels, inferences=(*arrangement.inferences, said))


def _with_groups(arrangement: Arrangement, groups: dict[str, str], where: str) -> Arrangement:
    names = {case.name for case in (*arrangement.cases, *arrangement.test_cases)}
    unknown = [name for name in groups if name not in names]
    if unknown:
        what = f"a group for {unknown[0]}, which is no case"
        raise AutosegError.at(where, what, f"write the names of the cases: {shown(sorted(names))}")
    return replace(
        arrangement,
        cases=tuple(replace(case, group=groups.get(case.name, case.group)) for case in arrangement.cases),
        test_cases=tuple(replace(case, group=groups.get(case.name, case.group)) for case in arrangement.test_cases),
    )


def _parse_labels(text: str) -> dict[str, int | str | list[int]]:
    """Return the values of `liver=1,tumour=2,whole=1+2`."""
    values: dict[str, int | str | list[int]] = {}
    for part in text.split(","):
        name, _, numbers = part.strip().partition("=")
        if not name or not all(number.strip().isdecimal() for number in numbers.split("+")):
            mend = "write liver=1,tumour=2; several values (whole=1+2) make a region"
            raise AutosegError.at("--label-names", f"{part.strip()!r} is not NAME=VALUE", mend)
        found = [int(number) for number in numbers.split("+")]
        values[name] = found if len(found) > 1 else found[0]
    return values


def read_groups(folder: Path, name: str) -> dict[str, str]:
    """Return case -> group of a CSV file, relative to the dataset or to where the user is.

    Raises:
        AutosegError: there is no such file, a column is missing, or a case has two groups.

    """
    file = next((path for path in (folder / name, Path(name)) if path.is_file()), None)
    if file is None:
        raise AutosegError.at(f"--groups {name}", "no such file", "give a CSV file with the columns case and group")
    try:
        rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise AutosegError.at(file, f"not a list of groups ({error})", _GROUPS_MEND) from error
    groups: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        case, group = (row.get("case") or "").strip(), (row.get("group") or "").strip()
        if not case or not group:
            raise AutosegError.at(file, f"line {number} has no case or no group", _GROUPS_MEND)
        if groups.setdefault(case, group) != group:
            what = f"case {case} is in two groups, {groups[case]} and {group}"
            raise AutosegError.at(file, what, "write each case once")
    return groups


def propose(dataset: Dataset) -> Declaration:
    """Return a declaration that has the folder read as it is understood now, to be corrected by hand.

    Files are named by patterns where the names of all cases follow one; else they are inferred as before.
    """
    images = _images_pattern(dataset)
    labels = _labels_pattern(dataset) if images is not None else None
    values = {one.name: one.values if len(one.values) > 1 else one.values[0] for one in dataset.labels}
    return Declaration(
        images=images if labels is not None else None,
        labels=labels,
        channels=dataset.channels,
        label_values=values if dataset.reference_kind == "map" and not dataset.merge_instances else {},
        groups={case.name: case.group for case in dataset.cases if case.group != case.name},
        spacing_mm=dataset.reading.spacing_mm,
        merge_instances=dataset.merge_instances,
        clean_labels=any(said.what == "stray label values" for said in dataset.inferences),
    )


def _images_pattern(dataset: Dataset) -> str | None:
    found = set()
    for case in dataset.cases:
        named = dataset.channels if len(case.images) == len(dataset.channels) > 1 else ("",) * len(case.images)
        for path, channel in zip(case.images, named, strict=True):
            text = path.replace(case.name, "{case}")
            found.add(text.replace(channel, "{channel}") if channel else text)
    return _only(found)


def _labels_pattern(dataset: Dataset) -> str | dict[str, str] | None:
    if dataset.reference_kind == "instances":
        return None
    if dataset.reference_kind == "map":
        return _only({case.references[0].replace(case.name, "{case}") for case in dataset.cases})
    patterns = {}
    for number, label in enumerate(dataset.labels):
        paths = {case.references[number].replace(case.name, "{case}") for case in dataset.cases}
        pattern = _only(paths - {""})
        if pattern is None:
            return None
        patterns[label.name] = pattern
    return patterns


def _only(patterns: set[str]) -> str | None:
    """Return the one pattern that all files follow, if it can be read back."""
    pattern = next(iter(patterns), "")
    unfit = any(letter in pattern.replace("{case}", "").replace("{channel}", "") for letter in "{}*=,#")
    return pattern if len(patterns) == 1 and "{case}" in pattern and not unfit else None
