"""Images and labels side by side, told apart by a word in their names: `brain1_image` and `brain1_label`."""

from functools import partial

from autoseg.core.errors import AutosegError
from autoseg.datasets.arrangement import Arrangement, case_of, numbered_channels
from autoseg.datasets.dataset import Inference
from autoseg.datasets.inspection import Finding
from autoseg.datasets.listing import Item, Listing
from autoseg.datasets.names import IMAGE_WORDS, LABEL_WORDS, has_word
from autoseg.datasets.options import Options
from autoseg.datasets.pairing import Pairing, lone_findings, pair
from autoseg.datasets.pairing_in_space import pair_in_space


def read(listing: Listing, options: Options) -> Arrangement | None:
    """Return the pairs of a folder whose label files say so in their names, or None if none does."""
    if options.images or options.labels:
        return None
    folders: dict[str, list[Item]] = {}
    for item in listing.items:
        folders.setdefault(str(item.folder), []).append(item)
    cases, findings, rules = [], [], set()
    for folder, items in folders.items():
        labels = [item for item in items if has_word(item.stem, LABEL_WORDS)]
        images = [item for item in items if item not in labels]
        if not labels or not images:
            continue
        in_space = partial(pair_in_space, listing.folder, images, labels, options=options.reading)
        pairing = pair(images, labels, str(listing.folder / folder), in_space=in_space)
        cases += [case_of(p.name, tuple(i.path for i in p.images), (p.labels[0].path,)) for p in pairing.pairs]
        findings += _alone(pairing, folder)
        rules.add(pairing.because)
    if not cases:
        return None
    repeated = {case.name for case in cases if sum(other.name == case.name for other in cases) > 1}
    if repeated:
        what = f"several cases are called {min(repeated)}"
        raise AutosegError.at(listing.folder, what, "say which images and labels are meant with --images and --labels")
    value = f"{len(cases)} pairs side by side"
    return Arrangement(
        layout="suffix",
        cases=tuple(cases),
        channels=numbered_channels(cases),
        inferences=(
            Inference(what="layout", value=value, because="a word such as label or mask in the names of the labels"),
            Inference(what="pairing", value=f"{len(cases)} cases", because="; ".join(sorted(rules))),
        ),
        findings=tuple(findings),
    )


def _alone(pairing: Pairing, folder: str) -> list[Finding]:
    """Return the findings for what has no partner; a file that is not named like the other images is no image."""
    named = all(has_word(p.images[0].stem, IMAGE_WORDS) for p in pairing.pairs)
    findings = []
    for finding, item in zip(lone_findings(pairing, folder), [p.images[0] for p in pairing.images_alone], strict=False):
        if named and not has_word(item.stem, IMAGE_WORDS):
            what, mend = "no label and not named like the images, left aside", "rename it if it is an image"
            findings.append(Finding(severity="warning", where=str(item.path), what=what, mend=mend))
        else:
            findings.append(finding)
    return findings + lone_findings(pairing, folder)[len(pairing.images_alone) :]
