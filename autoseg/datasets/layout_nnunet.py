"""nnU-Net's raw layout: dataset.json, `imagesTr/CASE_0000.ending` per channel, `labelsTr/CASE.ending`."""

from pathlib import PurePosixPath

from autoseg.core.errors import AutosegError
from autoseg.datasets.arrangement import Arrangement, case_of, image_alone, label_alone
from autoseg.datasets.dataset import Case, Inference
from autoseg.datasets.description import (
    Description,
    channel_names,
    declared_labels,
    find_description,
    read_description,
)
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Item, Listing
from autoseg.datasets.names import channel_number, without_channel
from autoseg.datasets.options import Options
from autoseg.datasets.pairing import unlabelled_cases

_IMAGES, _LABELS, _TESTS = "imagesTr", "labelsTr", "imagesTs"


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return the cases of an nnU-Net folder, or None if the folder is not laid out so.

    Raises:
        AutosegError: its dataset.json contradicts itself.

    """
    path = find_description(listing)
    if path is None or options.images or options.labels:
        return None
    description = read_description(listing, path)
    if description is None or description.training is not None:
        return None
    root = path.parent
    named = channel_names(description)
    findings: tuple[Finding, ...] = ()
    if description.dataset is not None:
        cases = _listed_cases(root, description.dataset)
    elif any(item.folder == root / _IMAGES for item in listing.items):
        cases, findings = _cases(listing, root, description, len(named or ()))
    else:
        return None
    tests = listing.where(lambda item: item.folder == root / _TESTS)
    because = f"{path} names channels and labels"
    return Arrangement(
        layout="nnU-Net",
        cases=cases,
        test_cases=unlabelled_cases(tests),
        channels=named,
        labels=declared_labels(description, listing.folder / path),
        inferences=(Inference(what="layout", value="nnU-Net raw", because=because),),
        findings=findings,
    )


def _cases(
    listing: Listing, root: PurePosixPath, description: Description, n_channels: int
) -> tuple[tuple[Case, ...], tuple[Finding, ...]]:
    ending = description.file_ending or ""
    images = listing.where(lambda item: item.folder == root / _IMAGES and item.path.name.endswith(ending))
    labels = {item.stem: item for item in listing.where(lambda item: item.folder == root / _LABELS)}
    of_case: dict[str, dict[int, Item]] = {}
    findings: list[Finding] = []
    for item in images:
        number = channel_number(item.stem)
        if number is None:
            mend = f"rename it to {item.stem}_0000"
            findings.append(Finding(severity="error", where=str(item.path), what="no channel number", mend=mend))
        else:
            of_case.setdefault(without_channel(item.stem), {})[number] = item
    cases = []
    for name, channels in of_case.items():
        expected = n_channels or max(map(len, of_case.values()))
        missing = [number for number in range(expected) if number not in channels]
        label = labels.pop(name, None)
        first = channels[min(channels)]
        if missing:
            what = f"channel {missing[0]:04d} of {name} is missing"
            findings.append(Finding(severity="error", where=str(first.folder), what=what, mend="add its file"))
        elif label is None:
            findings.append(image_alone(first, f"{root / _LABELS / name}{ending}"))
        else:
            paths = tuple(channels[number].path for number in sorted(channels))
            cases.append(case_of(name, paths, (label.path,)))
    findings += [label_alone(item) for item in labels.values()]
    return tuple(cases), tuple(findings)


def _listed_cases(root: PurePosixPath, listed: dict[str, dict[str, str | list[str]]]) -> tuple[Case, ...]:
    """Return the cases of dataset.json's own list: `{case: {"images": [...], "label": ...}}`."""
    cases = []
    for name, files in listed.items():
        images, label = files.get("images"), files.get("label")
        if not isinstance(images, list) or not isinstance(label, str):
            where = str(root / "dataset.json")
            raise AutosegError.at(where, f"case {name} lacks images or label", 'give "images": [...], "label": "..."')
        cases.append(case_of(name, tuple(root / image for image in images), (root / label,)))
    return tuple(cases)
