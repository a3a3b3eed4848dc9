"""Images and labels where the user says they are: `--images PATTERN --labels PATTERN`."""

from functools import partial
from pathlib import PurePosixPath

from autoseg.core.errors import AutosegError
from autoseg.datasets.arrangement import Arrangement, case_of, numbered_channels, structure_labels
from autoseg.datasets.dataset import Inference
from autoseg.datasets.listing import Item, Listing
from autoseg.datasets.options import Options, named_patterns
from autoseg.datasets.pairing import by_folder, lone_findings, pair
from autoseg.datasets.pairing_in_space import pair_in_space
from autoseg.datasets.structure_folders import read_structures


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return the cases of the two patterns, or None when neither is given.

    Raises:
        AutosegError: only one is given, or a pattern matches nothing.

    """
    if options.images is None and options.labels is None:
        return None
    if options.images is None or options.labels is None:
        given, missing = ("--labels", "--images") if options.images is None else ("--images", "--labels")
        raise AutosegError.at(listing.folder, f"{given} without {missing}", "give both, or neither")
    named = named_patterns(options.labels)
    if named:
        return _structures(listing, options.images, named)
    labels = by_folder(_matching(listing, options.labels, "--labels"))
    taken = {item.path for item in labels}
    images = by_folder([item for item in _matching(listing, options.images, "--images") if item.path not in taken])
    in_space = partial(pair_in_space, listing.folder, images, labels, options=options.reading)
    pairing = pair(images, labels, str(listing.folder), in_space=in_space)
    cases = tuple(case_of(p.name, tuple(i.path for i in p.images), (p.labels[0].path,)) for p in pairing.pairs)
    said = Inference(what="layout", value=f"{options.images} with {options.labels}", because="--images and --labels")
    rule = Inference(what="pairing", value=f"{len(cases)} cases", because=pairing.because)
    return Arrangement(
        layout="given",
        cases=cases,
        channels=numbered_channels(cases),
        inferences=(said, rule),
        findings=tuple(lone_findings(pairing, options.labels)),
    )


def _structures(listing: Listing, images: str, named: dict[str, str]) -> Arrangement:
    """Return the cases of images and one pattern per structure."""
    labels = {name: by_folder(_matching(listing, pattern, "--labels")) for name, pattern in named.items()}
    taken = {item.path for items in labels.values() for item in items}
    items = by_folder([item for item in _matching(listing, images, "--images") if item.path not in taken])
    found = read_structures(items, PurePosixPath(), labels)
    said = Inference(what="layout", value=f"{images} with {len(named)} structures", because="--images and --labels")
    return Arrangement(
        layout="given",
        cases=found.cases,
        channels=numbered_channels(found.cases),
        labels=structure_labels(found.names),
        reference_kind="structures",
        inferences=(said, *found.inferences),
        findings=found.findings,
    )


def _matching(listing: Listing, pattern: str, option: str) -> list[Item]:
    folder = PurePosixPath(pattern)
    found = [item for item in listing.items if folder in (item.path, *item.path.parents)]
    if not found:
        found = [item for item in listing.items if _matches(item.path, pattern)]
    if not found:
        what = f"{option} {pattern} matches no image"
        raise AutosegError.at(listing.folder, what, "give a folder or pattern relative to the dataset")
    return found


def _matches(path: PurePosixPath, pattern: str) -> bool:
    return len(path.parts) == len(PurePosixPath(pattern).parts) and path.match(pattern)
