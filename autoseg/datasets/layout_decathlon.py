"""The Medical Segmentation Decathlon's layout: dataset.json lists pairs of files; channels are the fourth axis."""

from pathlib import Path, PurePosixPath

from autoseg.core.errors import AutosegError
from autoseg.datasets.arrangement import Arrangement, case_of
from autoseg.datasets.dataset import Case, Inference
from autoseg.datasets.description import channel_names, declared_labels, find_description, read_description
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Listing
from autoseg.datasets.options import Options
from autoseg.imaging.read import ending_of


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return the cases that a Decathlon dataset.json lists, or None if the folder has none.

    Raises:
        AutosegError: the list is not one of images and labels.

    """
    path = find_description(listing)
    if path is None or options.images or options.labels:
        return None
    description = read_description(listing, path)
    if description is None or description.training is None:
        return None
    file = str(listing.folder / path)
    cases: list[Case] = []
    findings: list[Finding] = []
    for entry in description.training:
        if not isinstance(entry, dict) or "image" not in entry or "label" not in entry:
            raise AutosegError.at(file, f"training entry {entry}", 'write {"image": "...", "label": "..."}')
        image, label = (path.parent / entry[key] for key in ("image", "label"))
        absent = [p for p in (image, label) if not (listing.folder / p).exists()]
        if absent:
            what = f"listed in {path} but missing"
            mend = "add the file or take its entry out of the list"
            findings.append(Finding(severity="error", where=str(absent[0]), what=what, mend=mend))
        else:
            cases.append(case_of(_stem(image), (image,), (label,)))
    tests = [path.parent / (e if isinstance(e, str) else e.get("image", "")) for e in description.test or ()]
    return Arrangement(
        layout="Decathlon",
        cases=tuple(cases),
        test_cases=tuple(case_of(_stem(p), (p,)) for p in tests if (listing.folder / p).is_file()),
        channels=channel_names(description),
        labels=declared_labels(description, listing.folder / path),
        inferences=(Inference(what="layout", value="Medical Segmentation Decathlon", because=f"the list in {path}"),),
        findings=tuple(findings),
    )


def _stem(path: PurePosixPath) -> str:
    return path.name[: len(path.name) - len(ending_of(Path(path)))]
