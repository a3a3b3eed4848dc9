"""DICOM image series with DICOM labels (SEG, RTSTRUCT) anywhere in the same folder, paired by what they refer to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from autoseg.core.errors import AutosegError
from autoseg.core.isolation import isolated
from autoseg.datasets.arrangement import Arrangement, ambiguous, shown, structure_labels
from autoseg.datasets.dataset import Case, Inference
from autoseg.datasets.dicom_tree import Series, images_of, read_tree
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Listing, is_series, matches
from autoseg.datasets.names import natural_key
from autoseg.datasets.options import Options
from autoseg.imaging.dicom_labels import LabelFile, structure_reference

Pairs = Mapping[str, tuple[LabelFile, ...]]
"""UID of a series -> its label files."""


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return a case per labelled series, or None if the folder holds other images or no DICOM label.

    Labelled series of several modalities, and several files with one structure of one series, are error findings: it is
    clear what the folder holds, and not which part of it is meant.

    Raises:
        AutosegError: no label holds a structure or refers to a series that is there, or a label fits several series.

    """
    if options.cases or not _only_dicom(listing, options):
        return None
    tree = isolated(listing.folder, read_tree, listing.folder)
    labels = _chosen_labels(listing.folder, tree.labels, options.labels)
    series = tuple(one for one in tree.series if options.images is None or matches(one.folder, options.images))
    if not labels or not series:
        return None
    labels = tuple(label for label in labels if any(one.drawn for one in label.structures))
    if not labels:
        what, mend = "no DICOM label holds a segment or closed contour", "draw the structures, or add their label maps"
        raise AutosegError.at(listing.folder, what, mend)
    pairs = _paired(listing.folder, labels, series)
    labelled = _one_a_folder([one for one in series if one.uid in pairs])
    if not labelled:
        what = f"no label refers to an image series that is there ({shown([_name(listing.folder, f) for f in labels])})"
        raise AutosegError.at(listing.folder, what, "add the series that the labels were drawn on")
    names = _structure_names(labels, pairs)
    cases = tuple(
        Case(
            name=name,
            images=(str(one.folder),),
            references=_references(listing.folder, pairs[one.uid], names),
            group=_group(one, labelled) or name,
        )
        for one, name in zip(labelled, _case_names(listing.folder, labelled), strict=True)
    )
    return Arrangement(
        layout="DICOM",
        cases=cases,
        labels=structure_labels(names),
        reference_kind="structures",
        inferences=_said(labelled, pairs, names),
        findings=(
            *tree.findings,
            *_mixture(labelled),
            *_doubled(listing.folder, labelled, pairs, names),
            *_scattered(labelled),
            *_left_aside(listing.folder, tree.series, labels, pairs),
        ),
    )


def _only_dicom(listing: Listing, options: Options) -> bool:
    """Tell whether everything that the user's patterns leave is DICOM, without opening a file."""
    patterns = [pattern for pattern in (options.images, options.labels) if pattern is not None]
    items = [item for item in listing.items if not patterns or any(matches(item.path, p) for p in patterns)]
    return all(is_series(listing.folder, item) for item in items)


def _chosen_labels(folder: Path, labels: Sequence[LabelFile], pattern: str | None) -> tuple[LabelFile, ...]:
    if pattern is None:
        return tuple(labels)
    paths = {label.path: PurePosixPath(_name(folder, label)) for label in labels}
    return tuple(
        label
        for label in labels
        if any(matches(path, pattern) for path in (paths[label.path], *paths[label.path].parents))
    )


def _name(folder: Path, label: LabelFile) -> str:
    return label.path.relative_to(folder).as_posix()


def _paired(folder: Path, labels: Sequence[LabelFile], series: Sequence[Series]) -> Pairs:
    pairs: dict[str, tuple[LabelFile, ...]] = {}
    for label in labels:
        found = images_of(label, series)
        if len(found) > 1:
            what = f"{_name(folder, label)} may belong to several series"
            raise ambiguous(folder, what, [str(one.folder) for one in found], "--images")
        for one in found:
            pairs[one.uid] = (*pairs.get(one.uid, ()), label)
    return pairs


def _one_a_folder(labelled: Sequence[Series]) -> tuple[Series, ...]:
    """Return the first series of each folder: that a folder holds several is told when it is read."""
    return tuple({one.folder: one for one in reversed(labelled)}.values())[::-1]


def _mixture(labelled: Sequence[Series]) -> list[Finding]:
    """Return an error for series of several modalities: one network is trained on one kind of image."""
    modalities = sorted({one.modality for one in labelled})
    if len(modalities) < 2:
        return []
    candidates = shown([f"{one.folder} ({one.modality})" for one in labelled], 8)
    what = f"labelled series of {len(modalities)} modalities, several data sets by their looks: {candidates}"
    mend = "say which with --images, or give the folder of one of them"
    return [Finding(severity="error", where=".", what=what, mend=mend)]


def _doubled(folder: Path, labelled: Sequence[Series], pairs: Pairs, names: Sequence[str]) -> Iterator[Finding]:
    """Yield an error for each series of which several files hold one structure: nothing says which of them counts."""
    for series in labelled:
        of_name = {name: _holding(pairs[series.uid], name) for name in names}
        twice = {name: files for name, files in of_name.items() if len(files) > 1}
        if twice:
            files = dict.fromkeys(_name(folder, file) for held in twice.values() for file in held)
            what = f"several label files hold its {shown(list(twice))}: {shown(list(files), 8)}"
            yield Finding(severity="error", where=str(series.folder), what=what, mend="say which with --labels")


def _holding(files: Sequence[LabelFile], name: str) -> list[LabelFile]:
    return [file for file in files if any(one.name == name and one.drawn for one in file.structures)]


def _structure_names(labels: Sequence[LabelFile], pairs: Pairs) -> tuple[str, ...]:
    used = {label.path for files in pairs.values() for label in files}
    names = {one.name for label in labels if label.path in used for one in label.structures if one.drawn}
    return tuple(sorted(names, key=natural_key))


def _references(folder: Path, files: Sequence[LabelFile], names: Sequence[str]) -> tuple[str, ...]:
    """Return for each structure the reference to it, "" where the case lacks it; equal names in a file are one."""
    references = []
    for name in names:
        holding = _holding(files, name)
        numbers = [one.number for f in holding[:1] for one in f.structures if one.name == name and one.drawn]
        references.append(structure_reference(_name(folder, holding[0]), numbers) if holding else "")
    return tuple(references)


def _case_names(folder: Path, series: Sequence[Series]) -> list[str]:
    """Return the parts of each folder's path that tell it from the others; the whole path of a single one."""
    parts = [one.folder.parts or (folder.resolve().name,) for one in series]
    if len({len(p) for p in parts}) == 1 and len(parts) > 1:
        kept = [i for i in range(len(parts[0])) if len({p[i] for p in parts}) > 1]
        short = ["_".join(p[i] for i in kept) for p in parts]
        if len(set(short)) == len(short):
            return short
    return ["_".join(p) for p in parts]


def _group(series: Series, labelled: Sequence[Series]) -> str | None:
    """Return a name for the patient of several series; the identifier itself is nobody's business here."""
    alike = sum(other.patient == series.patient for other in labelled)
    return f"patient_{series.patient}" if series.patient is not None and alike > 1 else None


def _said(labelled: Sequence[Series], pairs: Pairs, names: Sequence[str]) -> tuple[Inference, ...]:
    files = {label.path: label for one in labelled for label in pairs[one.uid]}.values()
    kinds = sorted({label.kind for label in files})
    because = "each names the series, the images or the frame of reference that it was drawn on"
    said = [
        Inference(what="layout", value=f"DICOM series with {' and '.join(kinds)}", because="the headers of the files"),
        Inference(what="pairing", value=f"{len(labelled)} series, {len(files)} label files", because=because),
        Inference(what="structures", value=", ".join(names), because="the labels of segments and regions"),
    ]
    if any(label.fractional for label in files):
        value = "at least one half is foreground"
        said.append(Inference(what="labels", value=value, because="a SEG is FRACTIONAL"))
    return tuple(said)


def _scattered(labelled: Sequence[Series]) -> list[Finding]:
    return [
        Finding(
            severity="error",
            where=str(one.folder),
            what=f"its series lies in {len(one.folders)} folders ({shown([str(f) for f in one.folders])})",
            mend="put all slices of a series into one folder",
        )
        for one in labelled
        if len(one.folders) > 1
    ]


def _left_aside(folder: Path, series: Sequence[Series], labels: Sequence[LabelFile], pairs: Pairs) -> list[Finding]:
    """Return notes on series that no label refers to, and on labels whose series is not there at all."""
    referred = {one.uid for label in labels for one in images_of(label, series)}
    finding = Finding(severity="note", where="", what="", mend="")
    alone = replace(finding, what="image series without label, left aside", mend="add a SEG or RTSTRUCT to train on it")
    lost = replace(finding, what="refers to no series here, left aside", mend="add the series that it was drawn on")
    held = {one.folder for one in series if one.uid in pairs}
    unlabelled = (one.folder for one in series if one.uid not in pairs and one.uid not in referred)
    return [
        *(replace(alone, where=str(place)) for place in dict.fromkeys(unlabelled) if place not in held),
        *(replace(lost, where=_name(folder, label)) for label in labels if not images_of(label, series)),
    ]
